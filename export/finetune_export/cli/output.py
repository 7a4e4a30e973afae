"""What commands tell people and scripts: tables that are never cut, and JSON, on stdout; notes on stderr."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

_BEYOND_ASCII = r"\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
CONTROL = re.compile(rf"[\x00-\x1f{_BEYOND_ASCII}]")
"""Unicode's control characters, line and paragraph separators, and what turns the direction of writing around."""
_RAW_IN_JSON = re.compile(f"[{_BEYOND_ASCII}]")


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with aligned columns; the last column is as long as it needs to be."""
    rows = [[visible(text) for text in row] for row in rows]
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)][:-1]
    for row in rows:
        padded = [pad(text, width) for text, width in zip(row, widths, strict=False)]
        print("  ".join([*padded, row[-1]]).rstrip())


def visible(text: str) -> str:
    r"""Return a text with control characters escaped (``\x1b``, ``\n``): for people, none may move the cursor."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def pad(text: str, width: int) -> str:
    """Return a text with spaces behind it, so that it takes ``width`` terminal columns."""
    return text + " " * (width - cells(text))


def cells(text: str) -> int:
    """Return how many terminal columns a text takes: wide East Asian letters two, combining marks none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def print_json(content: object) -> None:
    """Print one JSON document, non-ASCII as it is but for ``CONTROL``; dataclasses become objects, paths text."""
    text = json.dumps(content, indent=2, ensure_ascii=False, default=_plain)
    print(_RAW_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def print_note(arguments: argparse.Namespace, text: object) -> None:
    """Print one line on stderr, after the program's name."""
    print(f"{arguments.program}: {visible(str(text))}", file=sys.stderr)


def _plain(value: object) -> object:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else str(value)
