"""CSV and TSV as Python's csv module reads them, strictly: UTF-8, one delimiter, rows as long as the header."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from finetune.builtin.table.problems import Kind, Problems, UnfitError
from finetune.builtin.table.reading import Line, checked_header
from finetune.errors import DataError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
FOREIGN_BEGINNINGS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # begins as UTF-16 does, so it is asked first
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
    b"PK\x03\x04": "a zip archive or spreadsheet",
    b"\x1f\x8b": "compressed",
}
OTHER_LENGTH = Kind("of another length", "Give every row as many fields as the header, in quotes where they need it.")


class DelimitedTable:
    """A CSV or TSV file. Lines are counted with the header, and empty ones, which are skipped."""

    unit = "line"

    def __init__(self, path: Path, delimiter: str | None = None) -> None:
        """Read the header; the delimiter is the one that divides it, unless it is given. Raises ``DataError``."""
        self.path = path
        _refuse_foreign(path)
        first = next(filter(str.strip, self._text()), None)
        if first is None:
            raise DataError(f"{path} is empty. Its first line has to name its columns.")
        self._delimiter = delimiter or _detected(path, first)
        self.header = checked_header(path, next(self._rows(self._delimiter))[1])

    def lines(self, columns: Sequence[str], problems: Problems | None = None) -> Iterator[Line]:
        """Yield the lines below the header; one of another length is added to the problems."""
        positions = [self.header.index(column) for column in columns]
        rows = self._rows(self._delimiter)
        next(rows)
        for number, row in rows:
            if len(row) == len(self.header):
                yield number, tuple(row[position] for position in positions)
            elif problems is not None:
                problems.add(number, _other_length(len(row), len(self.header)))

    def _rows(self, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        number = 1
        try:
            reader = csv.reader(self._text(), delimiter=delimiter, strict=True)
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield number, row
                number = reader.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"{self.path}, line {number}: {error}. A quoted field begins and ends with a quote, and one inside it "
                "is doubled."
            ) from error

    def _text(self) -> Iterator[str]:
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:  # csv knows the ends of lines itself
                for number, text in enumerate(file, 1):
                    if "\0" in text:
                        raise DataError(
                            f"{self.path}, line {number} has a NUL byte, as text in UTF-16 has. Save it as 'CSV UTF-8'."
                        )
                    yield text
        except UnicodeDecodeError as error:
            raise DataError(_not_utf8(self.path)) from error


def _refuse_foreign(path: Path) -> None:
    with path.open("rb") as file:
        beginning = file.read(4)
    for mark, kind in FOREIGN_BEGINNINGS.items():
        if beginning.startswith(mark):
            raise DataError(f"{path} is {kind}, and a table is text in UTF-8. Save it as 'CSV UTF-8'.")


def _detected(path: Path, header: str) -> str:
    unquoted = re.sub(r'"[^"]*"', "", header)
    found = [delimiter for delimiter in DELIMITERS if delimiter in unquoted]
    if len(found) != 1:
        kinds = " and ".join(DELIMITERS[d] for d in found) or "no commas, semicolons or tabs"
        raise DataError(
            f"{path}: its first line has {kinds} between its columns, and exactly one kind is allowed: "
            f"{header.strip()[:80]!r}. Put names that hold another into quotes."
        )
    return found[0]


def _not_utf8(path: Path) -> str:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f"{path}, line {number} is not UTF-8: byte {line[error.start]:#04x}. Save it as 'CSV UTF-8'."
    return f"{path} is not UTF-8. Save it as 'CSV UTF-8'."  # lines of another kind hide where


def _other_length(found: int, expected: int) -> UnfitError:
    return UnfitError(OTHER_LENGTH, f"it has {found} field(s), and the header {expected}")
