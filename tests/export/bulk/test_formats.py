"""Rows and their columns, whatever the values are called."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_export.bulk import formats
from finetune_export.bulk.answers import Answer, Question
from finetune_export.errors import UsageError

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
taken = st.sampled_from(["path", "error", "embedding", "top", "label", "value_error", "value_value_error"])
names = st.lists(texts | taken, min_size=1, max_size=6, unique=True)
singles = st.floats(allow_nan=False, allow_infinity=False, width=32)


def csv_rows(answers: list[Answer], question: Question) -> list[list[str]]:
    return list(csv.reader(io.StringIO("".join(formats.TEXT_FORMATS["csv"](answers, question)), newline="")))


@given(names)
def test_every_value_has_a_column_of_its_own_whatever_it_is_called(names: list[str]) -> None:
    columns = formats.value_columns(names)
    assert len(columns) == len({*columns}) == len(names)
    assert not {*columns} & {"path", "error", "embedding"}
    assert [column for column, name in zip(columns, names, strict=True) if column == name] == [
        name for name in names if name not in ("path", "error", "embedding")
    ]


def test_a_value_that_is_called_like_a_column_of_every_row_is_told_from_it() -> None:
    assert formats.value_columns(["age", "error", "path"]) == ["age", "value_error", "value_path"]
    assert formats.value_columns(["error", "value_error"]) == ["value_value_error", "value_error"]


@given(names, st.data())
def test_values_are_read_back_from_csv_and_json_as_they_were(names: list[str], data: st.DataObject) -> None:
    question = Question(model="m.onnx", task="regression", labels=tuple(names))
    values = tuple(data.draw(st.lists(singles, min_size=len(names), max_size=len(names))))
    found = Answer("a.jpg", values=values)

    columns, fields = csv_rows([found], question)
    (line,) = formats.TEXT_FORMATS["jsonl"]([found], question)

    assert columns == ["path", *formats.value_columns(names), "error"] == list(json.loads(line))
    assert tuple(map(float, fields[1:-1])) == values == tuple(json.loads(line).values())[1:-1]


@given(st.lists(texts.filter(lambda label: "|" not in label), max_size=4, unique=True))
def test_given_labels_are_one_field_in_csv_and_a_list_in_json(labels: list[str]) -> None:
    question = Question(model="m.onnx", task="multi-label", labels=("a",))
    found = Answer("a.jpg", labels=tuple(labels))

    _, fields = csv_rows([found], question)
    (line,) = formats.TEXT_FORMATS["jsonl"]([found], question)

    assert [label for label in fields[1].split("|") if label] == labels
    assert json.loads(line) == {"path": "a.jpg", "labels": labels, "error": None}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_label_that_csv_would_divide_is_refused_there_alone(kind: str) -> None:
    question = Question(model="m.onnx", task="multi-label", labels=("cat", "dog|wolf"))
    formats.refuse_unfit(kind, question)
    formats.refuse_unfit("csv", Question(model="m.onnx", labels=question.labels))
    with pytest.raises(UsageError, match=r"--format csv separates labels by \|, which 'dog\|wolf' has; take jsonl or"):
        formats.refuse_unfit("csv", question)


def test_parquet_has_the_types_of_the_task(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    several = Question(model="m.onnx", task="multi-label", labels=("a", "b"), top=1, embeddings=True)
    rows = [
        Answer("a.jpg", labels=("b", "a"), top=(("b", 0.75),), embedding=(0.5,)),
        Answer("b.jpg", labels=(), top=(("a", 0.25),), embedding=(1.0,)),
        Answer("c.jpg", error="the file is empty"),
    ]
    formats.write("parquet", out, rows, several)
    table = pyarrow.parquet.read_table(out)
    assert table.column_names == ["path", "labels", "top", "error", "embedding"]
    assert table["labels"].to_pylist() == [["b", "a"], [], None]
    assert str(table.schema.field("labels").type).startswith("list<")

    values = Question(model="m.onnx", task="regression", labels=("age", "error"))
    formats.write("parquet", out, [Answer("a.jpg", values=(1.5, -2.0)), Answer("c.jpg", error="why")], values)
    table = pyarrow.parquet.read_table(out)
    assert [str(kind) for kind in table.schema.types] == ["string", "float", "float", "string"]
    assert table.to_pylist() == [
        {"path": "a.jpg", "age": 1.5, "value_error": -2.0, "error": None},
        {"path": "c.jpg", "age": None, "value_error": None, "error": "why"},
    ]
