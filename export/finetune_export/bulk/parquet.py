"""Answers as a Parquet file; the only room that needs pyarrow, the extra ``finetune-export[parquet]``."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from finetune_export.bulk import formats
from finetune_export.bulk.answers import Answer, Question
from finetune_export.errors import ResourceError

ROWS_IN_A_GROUP = 4096


def load_pyarrow() -> Any:
    """Return the module ``pyarrow``; raise ``ResourceError`` if it is not installed."""
    try:
        return import_module("pyarrow")
    except ImportError as exc:
        hint = 'pip install "finetune-export[parquet]"'
        raise ResourceError(f"Parquet needs pyarrow, which cannot be imported ({exc}); {hint}") from exc


def write(path: Path, answers: Iterable[Answer], question: Question) -> None:
    """Write a row for each answer; the columns are those of ``formats``, ``top`` is a list of structs."""
    pyarrow = load_pyarrow()
    schema = _schema(pyarrow, question)
    remaining = iter(answers)
    with import_module("pyarrow.parquet").ParquetWriter(path, schema) as writer:
        while rows := [_row(answer, question) for answer in islice(remaining, ROWS_IN_A_GROUP)]:
            writer.write_table(pyarrow.Table.from_pylist(rows, schema))


def _schema(pyarrow: Any, question: Question) -> Any:
    text, number = pyarrow.string(), pyarrow.float32()
    kinds = {
        "path": text,
        "label": text,
        "labels": pyarrow.list_(text),
        "probability": number,
        "abstains": pyarrow.bool_(),
        "top": pyarrow.list_(pyarrow.struct({"label": text, "probability": number})),
        "error": text,
        "embedding": pyarrow.list_(number),
    }
    if question.task == "regression":
        kinds |= dict.fromkeys(formats.value_columns(question.labels), number)
    return pyarrow.schema({column: kinds[column] for column in formats.row(Answer(""), question)})


def _row(answer: Answer, question: Question) -> dict[str, Any]:
    path = answer.path.encode(errors="backslashreplace").decode()
    return {**formats.row(answer, question), "path": path}
