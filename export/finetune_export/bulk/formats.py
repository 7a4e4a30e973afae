r"""Answers as text that scripts read: CSV, JSON Lines and JSON, one row for each picture.

A row begins with ``path``. What follows depends on the task:

- single labels: ``label``, ``probability``, ``abstains`` and ``top``, the most probable labels with their
  probabilities, best first;
- several labels: ``labels``, those that are given, and ``top`` if it was asked for;
- regression: a column for each value.

Then comes ``error``: of a picture that was refused there are ``path`` and ``error`` alone. CSV separates labels by
``|``, has no embeddings, and has ``top`` in columns ``label_2``, ``probability_2`` and so on; of several labels it
begins with ``label_1``.

Bytes of a file name that are not UTF-8 are escaped as JSON does it (``\udcff``).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from finetune_export.bulk.answers import Answer, Question
from finetune_export.errors import UsageError

PARQUET = "parquet"
SEPARATOR = "|"
_OF_EVERY_ROW = ("path", "error", "embedding")


def row(answer: Answer, question: Question) -> dict[str, Any]:
    """Return an answer's columns by their names, in their order."""
    top = [{"label": label, "probability": probability} for label, probability in answer.top]
    return {
        "path": answer.path,
        **_of_the_task(answer, question),
        **({"top": top} if question.top else {}),
        "error": answer.error,
        **({"embedding": answer.embedding} if question.embeddings else {}),
    }


def _of_the_task(answer: Answer, question: Question) -> dict[str, Any]:
    if question.task == "regression":
        columns = value_columns(question.labels)
        return dict(zip(columns, answer.values or [None] * len(columns), strict=True))
    if question.task == "multi-label":
        return {"labels": answer.labels}
    return {"label": answer.label, "probability": answer.probability, "abstains": answer.abstains}


def value_columns(names: Sequence[str]) -> list[str]:
    """Return the columns of values: their names, with ``value_`` before one that every row has a column of."""
    return [_free(f"value_{name}", names) if name in _OF_EVERY_ROW else name for name in names]


def _free(column: str, names: Sequence[str]) -> str:
    return _free(f"value_{column}", names) if column in names else column


def _json_lines(answers: Iterable[Answer], question: Question) -> Iterator[str]:
    return (_json_row(answer, question) + "\n" for answer in answers)


def _json(answers: Iterable[Answer], question: Question) -> Iterator[str]:
    before = "[\n"
    for answer in answers:
        yield before + _json_row(answer, question)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _json_row(answer: Answer, question: Question) -> str:
    return json.dumps(row(answer, question), ensure_ascii=False)


def _csv(answers: Iterable[Answer], question: Question) -> Iterator[str]:
    first = 2 if question.task == "single-label" else 1  # the best single label is in columns of its own
    further = [f"{name}_{rank}" for rank in range(first, question.top + 1) for name in ("label", "probability")]
    columns = [*_flat(Answer(""), question), *further]
    yield _csv_line(columns)
    for answer in answers:
        fields = [_cell(value) for value in _flat(answer, question).values()]
        fields += [field for pair in answer.top[first - 1 :] for field in pair]
        yield _csv_line(fields + [None] * (len(columns) - len(fields)))


def _flat(answer: Answer, question: Question) -> dict[str, Any]:
    return {"path": answer.path, **_of_the_task(answer, question), "error": answer.error}


def _cell(value: Any) -> Any:
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return SEPARATOR.join(value)
    return value


def _csv_line(fields: list[Any]) -> str:
    # Before Python 3.13 a carriage return goes unquoted, and reads back as the end of the row.
    all_quoted = any("\r" in str(field) for field in fields)
    text = io.StringIO(newline="")
    quoting: Literal[0, 1] = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator="\n", quoting=quoting).writerow(fields)
    return text.getvalue()


TEXT_FORMATS: Mapping[str, Callable[[Iterable[Answer], Question], Iterator[str]]] = MappingProxyType(
    {"csv": _csv, "jsonl": _json_lines, "json": _json}
)


def refuse_unfit(kind: str, question: Question) -> None:
    """Raise ``UsageError`` where a format cannot tell the labels of a picture apart."""
    odd = [label for label in question.labels if SEPARATOR in label]
    if kind == "csv" and question.task == "multi-label" and odd:
        raise UsageError(f"--format csv separates labels by {SEPARATOR}, which {odd[0]!r} has; take jsonl or parquet")


def write(kind: str, path: Path, answers: Iterable[Answer], question: Question) -> None:
    """Write a file of one of ``TEXT_FORMATS``, or Parquet, in constant memory."""
    if kind == PARQUET:
        from finetune_export.bulk import parquet

        parquet.write(path, answers, question)
        return
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        file.writelines(TEXT_FORMATS[kind](answers, question))
