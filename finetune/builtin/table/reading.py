"""A table's file as lines of text: which columns it has, and the cells of those that are asked for, one line at a time.

What is wrong with the file as a whole raises ``DataError``; what is wrong with one line is added to ``Problems``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from finetune.builtin.labels import composed, has_control_character
from finetune.builtin.table.problems import Problems
from finetune.errors import DataError
from finetune.intent import TABLE_SUFFIXES

Line = tuple[int, tuple[str, ...]]
"""The number of a line, from 1, and the cells of the columns that were asked for."""


class Table(Protocol):
    """An open table; ``unit`` is what its lines are called: 'line', counted with the header, or 'row'."""

    path: Path
    header: tuple[str, ...]
    unit: str

    def lines(self, columns: Sequence[str], problems: Problems | None = None) -> Iterator[Line]:
        """Yield every line that can be read, from the first; what cannot is added to the problems."""


def open_table(path: Path) -> Table:
    """Return the table at ``path``.

    Raises ``DataError`` for a file that is none, ``ResourceError`` where it needs a package that is not installed.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(
            f"The table {path} {state}. Give --data a {', '.join(TABLE_SUFFIXES[:2])} or {TABLE_SUFFIXES[2]} file."
        )
    if suffix not in TABLE_SUFFIXES:
        raise DataError(f"{path} is no table by its name; a table's ends with {', '.join(TABLE_SUFFIXES)}.")
    try:
        return _opened(path, suffix)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}. Check its permissions.") from error


def _opened(path: Path, suffix: str) -> Table:
    if suffix in (".parquet", ".pq"):
        from finetune.builtin.table.parquet import ParquetTable

        return ParquetTable(path)
    from finetune.builtin.table.delimited import DelimitedTable

    return DelimitedTable(path, "\t" if suffix == ".tsv" else None)


def checked_header(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns' names, stripped and composed; raise ``DataError`` where two are alike or one is no name."""
    header = tuple(composed(name.strip()) for name in names)
    for position, name in enumerate(header):
        if name in header[:position]:
            raise DataError(f"{path} has two columns called '{name}'. Rename or remove one of them.")
        if has_control_character(name):
            raise DataError(f"{path}: the column name {name!r} has a line break or control character. Rename it.")
    return header
