"""Patterns of paths, as a card names a configuration's files: ``*`` stays in its folder, a part ``**`` does not.

They are a stranger's, so nothing here tries one way after the other: a path is walked once, part by part, with every
part of the pattern that it may have come to.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence

from finetune.errors import DataError

MAX_PATTERN_CHARACTERS = 1000
ANY_FOLDERS = "**"
_CLASS = re.compile(r"\[!?([^\]]+)\]")
_RANGE = re.compile(r"(.)-(.)", re.DOTALL)

Matcher = Sequence[re.Pattern[str] | None]
"""A pattern of each part of a path; None for any number of folders."""


def matcher(pattern: str) -> Matcher:
    """Return a pattern made ready for ``matches``; raise ``DataError`` for one that is none."""
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise _refused(pattern, f"has {len(pattern)} characters, of {MAX_PATTERN_CHARACTERS} allowed")
    for content in _CLASS.findall(pattern):
        for first, last in _RANGE.findall(content):
            if first > last:
                raise _refused(pattern, f"holds the range {first}-{last}, which ends before it begins")
    parts = pattern.split("/")
    if parts[-1] == ANY_FOLDERS:
        parts.append("*")  # what it names are files
    return [None if part == ANY_FOLDERS else re.compile(fnmatch.translate(part)) for part in parts]


def matches(parts: Matcher, name: str) -> bool:
    """Whether a pattern names this file; the time is that of the pattern's parts times those of the name, at most."""
    names = name.split("/")
    reached = {0}
    for part in parts:
        if part is None:
            reached = set(range(min(reached), len(names) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(names) and part.match(names[at])}
        if not reached:
            return False
    return len(names) in reached


def _refused(pattern: str, problem: str) -> DataError:
    shown = " ".join(pattern.split())[:80]
    return DataError(
        f"The card's pattern '{shown}' {problem}. Choose another configuration, or mend the card of a copy and give "
        "--data DIR."
    )
