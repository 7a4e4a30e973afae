"""What commands print on stdout: aligned tables that are never cut, and JSON."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from finetune.run_folder import to_json


def print_table(rows: Sequence[Sequence[str]], indent: int = 0) -> None:
    """Print rows with aligned columns; the last column is as long as it needs to be."""
    widths = [max(map(_cells, column)) for column in zip(*rows, strict=True)][:-1]
    for row in rows:
        padded = [text + " " * (width - _cells(text)) for text, width in zip(row, widths, strict=False)]
        print(" " * indent + "  ".join([*padded, row[-1]]).rstrip())


def _cells(text: str) -> int:
    """Return how many terminal columns a text takes: wide East Asian letters two, combining marks none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def print_json(content: Any) -> None:
    """Print one JSON document; dataclasses become objects, paths become text."""
    print(to_json(content))
