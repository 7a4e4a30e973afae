"""Folders of finished runs of any task, whose answers, pictures and records are what a test says they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from finetune.config import resolve, to_toml
from finetune.data.targets import example_of, targets_of
from finetune.evaluation.catalogue import HEADLINE
from finetune.evaluation.metrics import score
from finetune.evaluation.per_label import per_label, per_value
from finetune.run_folder import sha256_of
from finetune.types import Task
from finetune_export.contract import Scaling
from tests.finetune.report.run_files import drawn_data, model_of, result_of, verified

LABELS = ("ant", "bee", "<b>甲</b>")


def draw(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Write so many small pictures, no two of one content."""
    folder.mkdir(parents=True, exist_ok=True)
    generator, paths = np.random.default_rng(seed), [folder / f"{number}.png" for number in range(count)]
    for path in paths:
        Image.fromarray(generator.integers(256, size=(8, 8, 3), dtype=np.uint8)).save(path)
    return paths


def certain(labels: ArrayLike, sure: float = 0.8) -> np.ndarray:
    """Return the answers of a network that gives these of three labels, and is that sure."""
    wanted = np.asarray(labels)
    answers = np.full((len(wanted), len(LABELS)), (1 - sure) / (len(LABELS) - 1), np.float32)
    answers[np.arange(len(wanted)), wanted] = sure
    return answers


def write_run(
    folder: Path,
    pictures: Sequence[Path],
    shown: Sequence[str],
    answers: ArrayLike,
    *,
    task: Task = "single-label",
    labels: Sequence[str] = LABELS,
    options: Mapping[str, Any] | None = None,
    backbone: str = "tiny",
    epochs: int = 2,
    **changes: Any,
) -> Path:
    """Write the folder of a finished run that was validated on these pictures, and return it.

    ``shown`` are the labels as ``split.csv`` has them, ``changes`` are of the result.
    """
    folder.mkdir(parents=True)
    value, each = _scores(task, labels, shown, np.asarray(answers, np.float32))
    facts = {"job": "run", "status": "done", "result": asdict(result_of(folder, value, len(pictures), task, **changes))}
    contents = {
        "run.json": facts,
        "data.json": {"refused": [], "ignored": [], "findings": []},
        "metrics.json": {"valid": {"values": {HEADLINE[task]: value}, "labels": each}, "test": None},
        "versions.json": {"python": "3.11", "plugins": {"backbone": f"{backbone} 1.0"}},
        "verification.json": [asdict(verified(len(pictures), seconds=0.5))],
    }
    for file, content in contents.items():
        (folder / file).write_text(json.dumps(content, default=str))
    rows = [f'valid,"{text}","{path}",{sha256_of(path)}' for path, text in zip(pictures, shown, strict=True)]
    (folder / "split.csv").write_text("\n".join(["part,label,path,sha256", *rows]), encoding="utf-8")
    epoch_rows = [f"frozen,{epoch},{1 / epoch},{1.5 / epoch},{value}" for epoch in range(1, epochs + 1)]
    header = f"phase,epoch,train_loss,valid_loss,{changes.get('monitor', HEADLINE[task])}"
    (folder / "history.csv").write_text("\n".join([header, *epoch_rows]) + "\n")
    (folder / "config.toml").write_text(to_toml(resolve({"data": Path("pictures"), **(options or {})})))
    scaling = Scaling(offset=(0.0,) * len(labels), scale=(1.0,) * len(labels)) if task == "regression" else None
    data = drawn_data("insects", 1, len(pictures))
    (folder / "model.onnx").write_bytes(model_of(labels, data, backbone, task=task, scaling=scaling))
    np.save(folder / "answers.npy", np.asarray(answers, np.float32))
    return folder


def _scores(
    task: Task, labels: Sequence[str], shown: Sequence[str], answers: np.ndarray
) -> tuple[float, list[dict[str, Any]]]:
    targets = targets_of([example_of(Path("x"), text, task) for text in shown], labels, task)
    is_values = task == "regression"
    each = per_value(answers, targets, labels) if is_values else per_label(task, answers, targets, labels)
    return score(HEADLINE[task], task, answers, targets), [asdict(label) for label in each]


def insects(folder: Path, wrong: Sequence[int] = (), pictures: Sequence[Path] = (), **more: Any) -> Path:
    """Write the run of a network that takes these of 12 insects, or of the ``pictures``, for the next label."""
    pictures = pictures or draw(folder.parent / "pictures", 12)
    truth = np.arange(len(pictures)) % len(LABELS)
    answered = [(label + (at in wrong)) % len(LABELS) for at, label in enumerate(truth)]
    return write_run(folder, pictures, [LABELS[label] for label in truth], certain(answered), **more)


def cross_validation(folder: Path, folds: Sequence[Path], at: Path | None = None) -> Path:
    """Make a folder the one of a cross-validation that once was ``at`` another place."""
    names = [str((at or folder) / fold.name) for fold in folds]
    (folder / "folds.json").write_text(json.dumps({"folds": names}))
    return folder
