"""Records of finished runs, of every task, as sections are given them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from finetune.data.targets import text_of
from finetune.evaluation.metrics import score
from finetune.evaluation.per_label import per_label, per_value
from finetune.report.reading import read_records
from finetune.types import Block, Example, Paragraph, RunRecords, Table, Task

SHARES = ("accuracy", "top-5", "balanced-accuracy", "macro-f1", "mean-auroc", "mean-average-precision", "ece")
NAMES = {
    "single-label": ("accuracy", "log-loss"),
    "multi-label": ("mean-average-precision", "macro-f1"),
    "regression": ("r2", "rmse"),
}
LETTERS = ("a", "b", "c")

Made = Callable[..., RunRecords]


@pytest.fixture
def made(run_of: Callable[..., Path]) -> Made:
    """Return the records of a run whose network gave these ``answers`` (N, K) where ``targets`` are right."""

    def records(
        task: Task, answers: Any, targets: Any, train: Any = None, labels: tuple[str, ...] = LETTERS, **result: Any
    ) -> RunRecords:
        read = read_records(run_of(), SHARES)
        answers = np.asarray(answers, np.float32).reshape(-1, len(labels))
        dtype = np.int64 if task == "single-label" else np.float32
        targets, learned = (np.asarray(each, dtype) for each in (targets, targets if train is None else train))
        values = _values(task, answers, targets)
        headline = NAMES[task][0]
        known = {"task": task, "metric": headline, "monitor": headline, "value": values.get(headline, float("nan"))}
        is_finite = len(targets) and np.isfinite(answers).all()
        each = (
            (per_value(answers, targets, labels) if task == "regression" else per_label(task, answers, targets, labels))
            if is_finite
            else []
        )
        found = {"values": values, "labels": list(map(asdict, each)), "coverage": None, "precision": None}
        return replace(
            read,
            **{"task": task, "labels": labels, "answers": answers, "targets": targets},
            paths=tuple(Path(f"{number}.png") for number in range(len(targets))),
            split=_split(task, labels, learned),
            contract=replace(read.contract, task=task, labels=labels),
            metrics=MappingProxyType({"valid": found if is_finite else None, "test": None}),
            result=replace(read.result, **{**known, "interval": None, "valid_images": len(targets), **result}),
        )

    return records


def _values(task: Task, answers: Any, targets: Any) -> dict[str, float]:
    found = {name: score(name, task, answers, targets) for name in NAMES[task]} if len(targets) else {}
    return {name: value for name, value in found.items() if not np.isnan(value)}


def _split(task: Task, labels: tuple[str, ...], targets: Any) -> tuple[Any, ...]:
    return tuple(
        {"part": "train", "label": text_of(_example(task, labels, target), task), "path": "x.png", "sha256": ""}
        for target in targets
    )


def _example(task: Task, labels: tuple[str, ...], target: Any) -> Example:
    if task == "single-label":
        return Example(path=Path("x.png"), label=labels[target])
    if task == "multi-label":
        return Example(path=Path("x.png"), labels=tuple(labels[k] for k in np.flatnonzero(target)))
    return Example(path=Path("x.png"), values=tuple(target.tolist()))


def with_history(records: RunRecords, text: str) -> RunRecords:
    """Return records with a history, given as its file has it."""
    return replace(records, history=tuple(csv.DictReader(text.split())))


def said(blocks: Iterable[Block]) -> list[str]:
    """Return the texts of all paragraphs."""
    return [f"{block.text} {block.command}".strip() for block in blocks if isinstance(block, Paragraph)]


def table(blocks: Iterable[Block], caption: str) -> Table:
    """Return the one table whose caption begins so."""
    (found,) = [block for block in blocks if isinstance(block, Table) and block.caption.startswith(caption)]
    return found
