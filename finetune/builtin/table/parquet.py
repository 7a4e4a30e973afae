"""Parquet as pyarrow reads it, a batch of rows at a time; the only room of the core that needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from finetune.builtin.table.problems import Problems
from finetune.builtin.table.reading import Line, checked_header
from finetune.errors import DataError, ResourceError

WRITTEN_AS = {True: "true", False: "false", None: ""}


class ParquetTable:
    """A Parquet file. Rows are counted from 1; numbers and truth values become the text that a CSV file has."""

    unit = "row"

    def __init__(self, path: Path) -> None:
        """Read the schema; raise ``DataError`` for a damaged file, ``ResourceError`` where pyarrow is missing."""
        self.path = path
        self._pyarrow = _load_pyarrow()
        with self._reading() as file:
            self._schema = file.schema_arrow
        self.header = checked_header(path, self._schema.names)

    def lines(self, columns: Sequence[str], problems: Problems | None = None) -> Iterator[Line]:  # noqa: ARG002
        """Yield every row; no row of a Parquet file can be of another length."""
        fields = [self._schema.field(self.header.index(column)) for column in columns]
        for field in fields:
            self._refuse_other_types(field)
        number = 0
        with self._reading() as file:
            for batch in self._batches(file, [field.name for field in fields]):
                read = {name: batch.column(name).to_pylist() for name in batch.schema.names}
                for cells in zip(*(read[field.name] for field in fields), strict=True):
                    number += 1
                    yield number, tuple(map(_text, cells))

    def _reading(self) -> Any:
        try:
            return import_module("pyarrow.parquet").ParquetFile(self.path)
        except self._pyarrow.ArrowException as error:
            raise self._damaged(error) from error

    def _batches(self, file: Any, names: list[str]) -> Iterator[Any]:
        try:
            yield from file.iter_batches(columns=names)
        except (self._pyarrow.ArrowException, OSError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DataError:
        reason = " ".join(str(error).split())[:200]
        return DataError(f"{self.path} cannot be read as Parquet: {reason} Write it again.")

    def _refuse_other_types(self, field: Any) -> None:
        types = self._pyarrow.types
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
        number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
        if not (text or number or types.is_decimal(kind) or types.is_null(kind)):
            raise DataError(
                f"{self.path}: the column '{field.name}' holds {str(kind)[:60]}, and neither text nor numbers. Sets "
                "that hold their pictures themselves are read by the plugin 'hf'."
            )


def _text(cell: object) -> str:
    if cell is None or isinstance(cell, bool):
        return WRITTEN_AS[cell]
    return str(cell)


def _load_pyarrow() -> Any:
    try:
        return import_module("pyarrow")
    except ImportError as error:
        raise ResourceError(
            "Tables in Parquet need pyarrow: pip install 'finetune[parquet]', or save the table as CSV."
        ) from error
