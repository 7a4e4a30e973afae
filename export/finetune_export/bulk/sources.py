"""Which pictures are meant: files, folders, patterns and lists become paths, one after the other.

Only one folder's names at a time are held in memory (and those of the folders above it). The order depends on the
names alone, so that the same sources give the same rows in the same order.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from finetune_export.errors import UsageError
from finetune_export.image_gate import PICTURE_SUFFIXES

STDIN = "-"
_ANYTHING = frozenset({("*",)})

Pattern = tuple[str, ...]
"""What names on the way down have to match, one each; ``**`` stands for any number of folders."""


class Entry(NamedTuple):
    """One picture to be classified: its path as it was given or found, or ``problem``, why there is none."""

    path: str
    problem: str = ""


def entries(sources: Iterable[str], *, null: bool = False) -> Iterator[Entry]:
    """Yield every picture that ``sources`` mean; a source that means none is an entry with a problem.

    A source is a file, a folder (all pictures below it), a pattern with ``*``, ``?`` or ``[`` (if no file is called
    so), or ``-``: one file or folder in each line of stdin, or up to each NUL with ``null``. Raises ``UsageError``
    for ``-`` where stdin is closed.
    """
    for source in sources:
        if source == STDIN:
            for listed in _listed(null):
                yield from _entries_of(listed)
        elif _is_pattern(source):
            yield from _matching(source)
        else:
            yield from _entries_of(source)


def below(folder: str) -> Iterator[Entry]:
    """Yield the pictures below a folder, by name; one that cannot be read is an entry with a problem.

    Hidden ones are left out, and no linked folder is followed.
    """
    return _walk(folder, _ANYTHING)


def _entries_of(source: str) -> Iterator[Entry]:
    if os.path.isdir(source):  # noqa: PTH112 - which takes any text for a path
        kinds = ", ".join(PICTURE_SUFFIXES)
        yield from _or(below(source), Entry(source, f"a folder without pictures; they end with {kinds}"))
    else:
        yield Entry(source)


def _matching(pattern: str) -> Iterator[Entry]:
    """Yield the pictures that a pattern means, and those in the folders that it means."""
    parts = Path(pattern).parts
    first = next(i for i, part in enumerate(parts) if _has_magic(part))
    top = os.path.join(*parts[:first]) if first else ""  # noqa: PTH118
    yield from _or(_walk(top, frozenset({parts[first:]})), Entry(pattern, "no picture matches this pattern"))


def _or(found: Iterator[Entry], otherwise: Entry) -> Iterator[Entry]:
    yield next(found, otherwise)
    yield from found


def _walk(folder: str, patterns: frozenset[Pattern]) -> Iterator[Entry]:
    """Yield the pictures below a folder that match a pattern, by name; no hidden ones, and through no linked folder."""
    try:
        with os.scandir(folder or ".") as listing:
            found = sorted((item.name, item.is_dir(follow_symlinks=False)) for item in listing if item.name[0] != ".")
    except OSError as exc:
        yield Entry(folder, f"the folder cannot be read ({exc.strerror})")
        return
    for name, is_folder in found:
        path, left = os.path.join(folder, name), _left(patterns, name)  # noqa: PTH118 - a hundred thousand times
        if is_folder and left:
            yield from _walk(path, _ANYTHING if () in left else left)
        elif () in left and not is_folder and os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES:  # noqa: PTH122
            yield Entry(path)


def _left(patterns: Iterable[Pattern], name: str) -> frozenset[Pattern]:
    """Return what is left of the patterns after a name; the empty pattern says that the name matches to the end."""
    left = set()
    for pattern in patterns:
        while pattern[0] == "**" and len(pattern) > 1:
            left.add(pattern)
            pattern = pattern[1:]  # "**" stands for no folder, too
        if fnmatchcase(name, pattern[0]):
            left.add(pattern[1:])
    return frozenset(left)


def _listed(null: bool) -> Iterator[str]:
    """Yield the lines of stdin as the system spells paths, empty ones left out."""
    if sys.stdin is None:
        raise UsageError("- stands for a list of paths on stdin, which is closed; pipe one in, or name the pictures")
    end = b"\0" if null else b"\n"
    rest = b""
    while block := os.read(sys.stdin.fileno(), 2**16):  # what there is, while a buffer waits for more
        *whole, rest = (rest + block).split(end)
        yield from (os.fsdecode(path) for path in whole if path)
    if rest:
        yield os.fsdecode(rest)


def _is_pattern(source: str) -> bool:
    return _has_magic(source) and not os.path.lexists(source)


def _has_magic(text: str) -> bool:
    return any(sign in text for sign in "*?[")
