"""Folders of finished runs of any task, whose answers, pictures and records are what a test says they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from onnx import TensorProto, helper
from PIL import Image

from finetune.config import resolve, to_toml
from finetune.data.targets import example_of, targets_of
from finetune.evaluation.catalogue import HEADLINE
from finetune.evaluation.metrics import score
from finetune.evaluation.per_label import per_label, per_value
from finetune.run_folder import sha256_of
from finetune.types import RunResult, Task, Verification
from finetune_export import model_file
from finetune_export.contract import (
    CONTRACT_KEY,
    BackboneOrigin,
    Contract,
    DatasetOrigin,
    Preprocessing,
    Scaling,
)

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


def model_of(labels: Sequence[str], task: Task, backbone: str, valid_images: int) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["probabilities"])],
        "none",
        *([helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"])] for name in ("image", "probabilities")),
    )
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    contract = Contract(
        labels=tuple(labels),
        task=task,
        preprocessing=Preprocessing(image_size_px=8, crop_fraction=1.0, mean=(0.5,) * 3, std=(0.5,) * 3),
        backbone=BackboneOrigin(name=backbone, weights="none", licence="Apache-2.0"),
        dataset=DatasetOrigin(
            **{"name": "insects", "source": "drawn", "licence": "CC0-1.0", "fingerprint": "0" * 64},
            **{"train_images": 1, "valid_images": valid_images},
        ),
        **{"run_id": "a-run", "metrics": {}, "versions": {}, "graph_sha256": model_file.read(data).graph_sha256},
        scaling=Scaling(offset=(0.0,) * len(labels), scale=(1.0,) * len(labels)) if task == "regression" else None,
    )
    return model_file.with_metadata(data, {CONTRACT_KEY: contract.to_json()})


def result_of(folder: Path, task: Task, value: float, pictures: int, **changes: Any) -> RunResult:
    metric, is_values = HEADLINE[task], task == "regression"
    made = RunResult(
        **{"run": folder, "onnx": folder / "model.onnx", "task": task, "metric": metric, "value": value},
        **{"interval": (value - 0.1, value + 0.1), "exported_value": value, "compared": pictures, "agreement": 1.0},
        **{"max_difference": 1e-7, "scores": {metric: value}, "test_scores": {}, "test_interval": None},
        **{"temperature": 1.25, "ece_before": None if is_values else 0.21, "ece_after": None if is_values else 0.11},
        **{"strategy": "probe", "monitor": metric, "phases": {"frozen": value}, "kept": "frozen", "verdict": "Kept."},
        **{"reasons": (), "dataset": "insects", "backbone": "tiny", "weights": "none", "labels": 3, "notes": ()},
        **{"train_images": 1, "valid_images": pictures, "test_images": 0, "onnx_bytes": 1},
        **{"seconds": {"prepare": 1.0, "total": 3.0}, "artifacts": {"onnx": folder / "model.onnx"}},
    )
    return replace(made, **changes)


def verified(pictures: int) -> Verification:
    return Verification(
        **{"target": "onnx", "file": "model.onnx", "compared": pictures, "agreement": 1.0, "min_agreement": 1.0},
        **{"max_difference": 1e-7, "max_difference_allowed": 1e-4, "worst": "0.png", "metric": "accuracy"},
        **{"value": 0.5, "exported_value": 0.5, "max_drop_allowed": None, "seconds": 0.5},
    )


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
    facts = {"job": "run", "status": "done", "result": asdict(result_of(folder, task, value, len(pictures), **changes))}
    contents = {
        "run.json": facts,
        "data.json": {"refused": [], "ignored": []},
        "metrics.json": {"valid": {"values": {HEADLINE[task]: value}, "labels": each}, "test": None},
        "versions.json": {"python": "3.11", "plugins": {"backbone": f"{backbone} 1.0"}},
        "verification.json": [asdict(verified(len(pictures)))],
    }
    for file, content in contents.items():
        (folder / file).write_text(json.dumps(content, default=str))
    rows = [f'valid,"{text}","{path}",{sha256_of(path)}' for path, text in zip(pictures, shown, strict=True)]
    (folder / "split.csv").write_text("\n".join(["part,label,path,sha256", *rows]), encoding="utf-8")
    epoch_rows = [f"frozen,{epoch},{1 / epoch},{1.5 / epoch},{value}" for epoch in range(1, epochs + 1)]
    header = f"phase,epoch,train_loss,valid_loss,{changes.get('monitor', HEADLINE[task])}"
    (folder / "history.csv").write_text("\n".join([header, *epoch_rows]) + "\n")
    (folder / "config.toml").write_text(to_toml(resolve({"data": Path("pictures"), **(options or {})})))
    (folder / "model.onnx").write_bytes(model_of(labels, task, backbone, len(pictures)))
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
