"""``predict`` with models of several labels and of values: what a row says, in every format."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet
import pytest

from finetune_export import Contract, Predictor
from finetune_export.contract import Task

from .conftest import Said, refusal

Cli = Callable[..., Said]
TaskPath = Callable[[Task], Path]


@pytest.fixture
def several(task_path: TaskPath) -> Path:
    return task_path("multi-label")


@pytest.fixture
def values(task_path: TaskPath) -> Path:
    return task_path("regression")


@pytest.fixture
def few(pictures: Path, tmp_path: Path) -> list[Path]:
    """Return three pictures, the second of which is broken."""
    (tmp_path / "broken.png").write_bytes(b"")
    return [pictures / "cat" / "000.jpg", tmp_path / "broken.png", pictures / "dog" / "000.jpg"]


def rows_of_csv(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


READERS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    "csv": lambda path: rows_of_csv(path.read_text("utf-8")),
    "jsonl": lambda path: [json.loads(line) for line in path.read_text("utf-8").splitlines()],
    "parquet": lambda path: pyarrow.parquet.read_table(path).to_pylist(),
}


# ── several labels ──────────────────────────────────────────────────────────────────────────────────


def test_csv_has_the_given_labels_and_the_top_ones_if_asked_for(cli: Cli, several: Path, few: list[Path]) -> None:
    predictor = Predictor(several, threads=1)

    plain, with_top = (
        rows_of_csv(cli("predict", several, *few, *words, "--format", "csv").out) for words in ([], ["--top", 2])
    )

    assert list(plain[0]) == ["path", "labels", "error"]
    assert list(with_top[0]) == ["path", "labels", "error", "label_1", "probability_1", "label_2", "probability_2"]
    for path, row, more in zip(few, plain, with_top, strict=True):
        assert row == {name: more[name] for name in row}
        if path == few[1]:
            assert row == {"path": str(path), "labels": "", "error": "the file is empty"}
            continue
        (expected,) = predictor.predict(path)
        assert row == {"path": str(path), "labels": "|".join(expected.given), "error": ""}
        assert [(more[f"label_{i}"], np.float32(more[f"probability_{i}"])) for i in (1, 2)] == expected.top(2)


def test_json_and_parquet_have_the_given_labels_as_a_list(cli: Cli, several: Path, few: list[Path]) -> None:
    said = cli("predict", several, *few, "--top", 1, "--format", "jsonl")
    assert cli("predict", several, *few, "--top", 1, "--out", "out.parquet", "--quiet").status == said.status == 3

    rows = [json.loads(line) for line in said.out.splitlines()]
    predictor = Predictor(several, threads=1)
    assert [list(row) for row in rows] == [["path", "labels", "top", "error"]] * 3
    assert (rows[1]["labels"], rows[1]["top"]) == (None, [])
    for path, row in ((few[0], rows[0]), (few[2], rows[2])):
        (expected,) = predictor.predict(path)
        assert row["labels"] == list(expected.given)
        assert [each["label"] for each in row["top"]] == [expected.label]
    assert [row["labels"] for row in pyarrow.parquet.read_table("out.parquet").to_pylist()] == [
        row["labels"] for row in rows
    ]


def test_the_table_says_which_labels_are_given(
    cli: Cli,
    make_graph: Callable[..., onnx.ModelProto],
    seal: Callable[..., bytes],
    contract_of: Callable[[Task], Contract],
    write: Callable[[bytes], Path],
    few: list[Path],
) -> None:
    graph = make_graph(np.zeros((48, 3), np.float32), task="multi-label")  # each label has a probability of 0.5
    high = replace(contract_of("multi-label"), thresholds=dict.fromkeys(("ant", "bee", "Käfer 甲"), 0.6))
    for thresholds, said in (({"bee": 0.6}, "ant, Käfer 甲                   "), (high.thresholds, f"–{31 * ' '}")):
        model = write(seal(graph, replace(high, thresholds=thresholds)))
        assert cli("predict", model, few[0]).out == f"{said}  {few[0]}\n"
        assert cli("predict", model, few[0], "--top", 1).out == f"{said}   50.0%  ant        {few[0]}\n"


def test_a_label_that_csv_would_divide_is_refused_before_the_work(
    cli: Cli,
    make_graph: Callable[..., onnx.ModelProto],
    seal: Callable[..., bytes],
    contract_of: Callable[[Task], Contract],
    write: Callable[[bytes], Path],
    few: list[Path],
) -> None:
    odd = replace(contract_of("multi-label"), labels=("ant", "bee", "cat|dog"), thresholds={})
    model = write(seal(make_graph(task="multi-label"), odd))

    line = refusal(cli("predict", model, *few, "--out", "out.csv"), 2)

    assert line == "--format csv separates labels by |, which 'cat|dog' has; take jsonl or parquet"
    assert list(Path().iterdir()) == []
    assert cli("predict", model, few[0], "--format", "jsonl").status == 0


# ── values ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_value_has_a_column(kind: str, cli: Cli, values: Path, few: list[Path]) -> None:
    out = Path(f"out.{kind}")
    assert cli("predict", values, *few, "--out", out, "--quiet").status == 3

    rows = READERS[kind](out)
    expected = Predictor(values, threads=1).answers([few[0], few[2]], batch_size=1)
    assert [list(row) for row in rows] == [["path", "age", "weight in kg", "value_error", "error"]] * 3
    assert rows[1]["error"] == "the file is empty"
    assert [rows[1][name] or None for name in ("age", "weight in kg", "value_error")] == [None] * 3
    found = [[np.float32(row[name]) for name in list(row)[1:-1]] for row in (rows[0], rows[2])]
    assert np.array_equal(found, expected)


def test_the_table_has_values_with_their_names(cli: Cli, values: Path, few: list[Path]) -> None:
    said = cli("predict", values, *few)

    assert said.status == 3
    for line, path in zip(said.out.splitlines(), (few[0], few[2]), strict=True):
        (expected,) = Predictor(values, threads=1).predict(path)
        shown = "".join(f"{name} {value:<12.6g}  " for name, value in expected.values.items())
        assert line == f"{shown}{path}"


def test_the_top_labels_of_values_are_refused(cli: Cli, values: Path, few: list[Path]) -> None:
    line = refusal(cli("predict", values, *few, "--top", 3), 2)

    assert line == f"--top 3: {values} answers with values, not with labels; leave it out"


# ── both ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_embeddings_come_with_every_task(task: Task, cli: Cli, task_path: TaskPath, few: list[Path]) -> None:
    row = json.loads(cli("predict", task_path(task), few[0], "--embeddings", "--format", "jsonl").out)

    assert list(row)[-1] == "embedding"
    assert np.array_equal(np.float32(row["embedding"]), Predictor(task_path(task)).embeddings(few[0])[0])
