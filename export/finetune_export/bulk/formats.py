r"""Answers as text that scripts read: CSV, JSON Lines and JSON, one row for each picture.

A row is ``path``, ``label``, ``probability``, ``abstains`` and ``error``, and ``top``: the most probable labels with
their probabilities, best first. Of a picture that was refused there are ``path`` and ``error`` alone. CSV has the
second and further labels of ``top`` in columns ``label_2``, ``probability_2`` and so on, and no embeddings.

Bytes of a file name that are not UTF-8 are escaped as JSON does it (``\udcff``).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from finetune_export.bulk.answers import Answer, Question

PARQUET = "parquet"


def to_json(answer: Answer, question: Question) -> str:
    """Return an answer as one line of JSON."""
    row: dict[str, Any] = {
        "path": answer.path,
        "label": answer.label,
        "probability": answer.probability,
        "abstains": answer.abstains,
        "top": [{"label": label, "probability": probability} for label, probability in answer.top],
        "error": answer.error,
    }
    if question.embeddings:
        row["embedding"] = answer.embedding
    return json.dumps(row, ensure_ascii=False)


def from_json(line: str | bytes) -> Answer:
    """Return the answer that ``to_json`` wrote; raise ``ValueError`` if it did not write this."""
    try:
        row = json.loads(line)
        top = tuple((each["label"], each["probability"]) for each in row.pop("top"))
        embedding = row.pop("embedding", None)
        return Answer(**row, top=top, embedding=None if embedding is None else tuple(embedding))
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError("not an answer") from exc


def _json_lines(answers: Iterable[Answer], question: Question) -> Iterator[str]:
    return (to_json(answer, question) + "\n" for answer in answers)


def _json(answers: Iterable[Answer], question: Question) -> Iterator[str]:
    before = "[\n"
    for answer in answers:
        yield before + to_json(answer, question)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _csv(answers: Iterable[Answer], question: Question) -> Iterator[str]:
    further = [f"{name}_{rank}" for rank in range(2, question.top + 1) for name in ("label", "probability")]
    yield _csv_line(["path", "label", "probability", "abstains", "error", *further])
    for answer in answers:
        fields: list[Any] = [answer.path, answer.label, answer.probability, _yes_or_no(answer.abstains), answer.error]
        fields += [field for pair in answer.top[1:] for field in pair]
        yield _csv_line(fields + [None] * (5 + len(further) - len(fields)))


def _csv_line(fields: list[Any]) -> str:
    # Before Python 3.13 a carriage return goes unquoted, and reads back as the end of the row.
    all_quoted = any("\r" in str(field) for field in fields)
    text = io.StringIO(newline="")
    quoting: Literal[0, 1] = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator="\n", quoting=quoting).writerow(fields)
    return text.getvalue()


def _yes_or_no(abstains: bool | None) -> str | None:
    return None if abstains is None else str(abstains).lower()


TEXT_FORMATS: Mapping[str, Callable[[Iterable[Answer], Question], Iterator[str]]] = MappingProxyType(
    {"csv": _csv, "jsonl": _json_lines, "json": _json}
)


def write(kind: str, path: Path, answers: Iterable[Answer], question: Question) -> None:
    """Write a file of one of ``TEXT_FORMATS``, or Parquet, in constant memory."""
    if kind == PARQUET:
        from finetune_export.bulk import parquet

        parquet.write(path, answers, question)
        return
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        file.writelines(TEXT_FORMATS[kind](answers, question))
