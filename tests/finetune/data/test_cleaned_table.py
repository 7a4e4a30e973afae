"""The table of several labels and of values; that of single labels is the command's own test."""

from __future__ import annotations

import csv
import shlex
from pathlib import Path
from typing import Any

import pytest

from finetune.data.audit import Audit, Checked
from finetune.data.cleaned_table import cleaned, command_for, rows_of
from finetune.intent import discover
from finetune.loading import load_dataset
from finetune.reporting import SILENT
from finetune.types import Dataset, Example, Task


@pytest.mark.parametrize(
    ("task", "shown", "header", "cells"),
    [
        ("multi-label", [{"labels": ("x", "y")}, {"labels": ()}], ("labels",), [("x|y",), ("",)]),
        (
            "regression",
            [{"values": (0.1, 2.0)}, {"values": (1e-9, -3.0)}],
            ("x", "y"),
            [("0.1", "2.0"), ("1e-09", "-3.0")],
        ),
    ],
)
def test_each_task_has_its_columns(
    tmp_path: Path, task: Task, shown: list[dict[str, Any]], header: tuple[str, ...], cells: list[tuple[str, ...]]
) -> None:
    examples = tuple(Example(path=tmp_path / f"{i}.png", **what) for i, what in enumerate(shown))
    data = Dataset(name="set", examples=examples, labels=("x", "y"), source="", licence="", task=task)

    rows = list(rows_of(tmp_path / "table.csv", examples, data, lambda _: None))

    assert rows == [("image", *header), *((f"{i}.png", *row) for i, row in enumerate(cells))]


def test_all_of_a_contradiction_goes_however_many_agree() -> None:
    values = [("same", 1.0), ("same", 1.0), ("same", 2.0), ("other", 1.0), ("other", 1.0)]
    checked = [
        Checked(example=Example(path=Path(f"{i}"), values=(value,)), sha256=content)
        for i, (content, value) in enumerate(values)
    ]

    kept = cleaned(Audit(checked=tuple(checked), refused=(), fingerprint=""))

    assert [str(example.path) for example in kept] == ["3"]


def loaded(command: str) -> Dataset:
    """Return what the table plugin makes of the options of a command."""
    words = iter(shlex.split(command)[2:])
    options: dict[str, Any] = {"label_col": ()}
    for word, value in zip(words, words, strict=True):
        name = word.removeprefix("--").replace("-", "_")
        options[name] = (*options[name], value) if name == "label_col" else Path(value) if name == "data" else value
    return load_dataset(discover(options), SILENT)


@pytest.mark.parametrize(
    ("task", "shown"),
    [
        ("single-label", [{"label": "x"}, {"label": "y"}]),
        ("multi-label", [{"labels": ("x", "y")}, {"labels": ()}]),
        ("regression", [{"values": (0.1, 2.0)}, {"values": (1e-9, -3.0)}]),
    ],
)
def test_a_run_reads_from_the_table_what_went_into_it(pictures: Path, task: Task, shown: list[dict[str, Any]]) -> None:
    paths = sorted(pictures.rglob("*.*"))
    given = [
        Example(path=path, part=part, group=group, **what)
        for path, part, group, what in zip(paths, ("train", "valid"), ("g", "h"), shown, strict=False)
    ]
    data = Dataset(name="set", examples=tuple(given), labels=("x", "y"), source="", licence="", task=task)
    table = pictures / "cleaned.csv"
    with table.open("w", newline="", encoding="utf-8") as text:
        csv.writer(text).writerows(rows_of(table, given, data, lambda example: example.group))

    found = loaded(command_for(table, data))

    assert (found.task, found.labels, list(found.examples)) == (task, ("x", "y"), given)
