"""Text that stays text: names of any kind in Markdown and in YAML, where nothing of them becomes markup."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite

from finetune.report.wording import UNDEFINED
from finetune_export.cli.output import visible

Scalar = str | float | int
Tree = Scalar | Sequence["Tree"] | Mapping[str, "Tree"]

_MARKUP = re.compile(r"[&<>|*_`\[\]\\~#$@]|(?<=:/)/|(?<=www)\.", re.IGNORECASE)
_A_LIST = re.compile(r"^(\d*)([-+=.)])")
_PIPE = re.compile(r"(\\?)\|")
_NOT_IN_YAML = re.compile("[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""All that YAML takes for no printable character or for the end of a line, and the byte order mark."""


# ── Markdown ────────────────────────────────────────────────────────────────────────────────────────


def code(text: object) -> str:
    """Return a name as a code span, whose fence is longer than any in it; control characters are escaped."""
    said = visible(str(text))
    if not said:
        return UNDEFINED
    fence = "`" * (1 + max(map(len, re.findall("`+", said)), default=0))
    is_stripped = said.strip(" ") and said[0] == said[-1] == " "
    room = " " if "`" in (said[0], said[-1]) or is_stripped else ""
    return f"{fence}{room}{said}{room}{fence}"


def plain(text: object) -> str:
    """Return a sentence as one line in which nothing is markup, not even at its beginning."""
    said = _MARKUP.sub(lambda found: _escaped(found[0]), visible(str(text)).strip())
    return _A_LIST.sub(lambda found: f"{found[1]}\\{found[2]}", said)


def _escaped(character: str) -> str:
    # A backslash would do for all, but readers differ in what it means before a bar in a table.
    return f"&#{ord(character)};" if character in "|\\" else f"\\{character}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of cells that are Markdown themselves."""
    lines = (header, ["---"] * len(header), *rows)
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    # Readers differ in what a backslash before an escaped bar means; such a bar is shown as its number.
    return _PIPE.sub(lambda found: f"{found[1]}x7c" if found[1] else r"\|", text)


def bullets(texts: Sequence[str]) -> str:
    """Return a list of texts that are Markdown themselves."""
    return "\n".join(f"- {text}" for text in texts)


# ── YAML ────────────────────────────────────────────────────────────────────────────────────────────


def front_matter(facts: Mapping[str, Tree]) -> str:
    """Return facts as YAML between two lines of dashes; raises ``ValueError`` for numbers that are not finite.

    Texts are quoted as in JSON, which YAML reads alike (YAML 1.2.2, 1.3), whatever is in them.
    """
    return "\n".join(("---", *_block(facts), "---"))


def _block(tree: Tree) -> Iterator[str]:
    """Yield the lines of a tree in block style."""
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _entry(f"{name}:", value)
    elif isinstance(tree, Sequence) and not isinstance(tree, str):
        for value in tree:
            first, *rest = _block(value)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield scalar(tree)


def _entry(name: str, value: Tree) -> Iterator[str]:
    if isinstance(value, str | float | int):
        yield f"{name} {scalar(value)}"
    else:
        yield name
        yield from (f"  {line}" for line in _block(value))


def scalar(value: Scalar) -> str:
    """Return one value as YAML reads it back; raises ``ValueError`` for a number that is not finite."""
    if isinstance(value, str):
        return _NOT_IN_YAML.sub(_numbered, json.dumps(value, ensure_ascii=False))
    if not isfinite(value):
        raise ValueError(f"{value} has no place in a model card")
    text = repr(value)
    mantissa, has_exponent, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}" if has_exponent and "." not in mantissa else text  # else YAML 1.1 reads a text


def _numbered(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
