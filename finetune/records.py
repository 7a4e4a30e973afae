"""What a run writes down about itself: inputs before training, figures after it, and the result."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from finetune import run_folder
from finetune.clock import Clock
from finetune.config import to_toml
from finetune.evaluation.plots import learning_curve
from finetune.exporting import Export
from finetune.networks.weights import serialised
from finetune.preparation import Job
from finetune.run_folder import RunFolder
from finetune.training.learner import Epoch
from finetune.training.transfer import Outcome
from finetune.types import RunResult
from finetune_export.contract import BackboneOrigin, Calibration, Contract, DatasetOrigin

PACKAGES = (
    "finetune",
    "finetune-export",
    "fastai",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "pillow",
    "torch",
    "torchvision",
)


def write_inputs(folder: RunFolder, job: Job) -> None:
    """Write the resolved options, the versions, the state of the data and the split."""
    folder.write(run_folder.CONFIG, to_toml(job.config))
    folder.write_json(run_folder.VERSIONS, {**versions(), "plugins": _plugins(job)})
    folder.write_json(run_folder.DATA, _data(job))
    folder.write_csv(run_folder.SPLIT, ("part", "label", "path", "sha256"), list(_split_rows(job)))


def write_training(folder: RunFolder, job: Job, history: list[Epoch]) -> None:
    """Write the history, its curve, and the weights under the published network's own key names."""
    columns = [field.name for field in dataclasses.fields(Epoch)]
    folder.write_csv(run_folder.HISTORY, columns, [dataclasses.astuple(epoch) for epoch in history])
    if history:  # a classic classifier has no epochs
        folder.write(run_folder.CURVE, learning_curve(history))
    folder.write(run_folder.WEIGHTS, serialised(job.network, licence=job.weights.licence or "unknown"))


def versions() -> dict[str, str]:
    """Return the versions of Python and of every package that shapes the result."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def _split_rows(job: Job) -> Iterator[tuple[str, str, Path, str]]:
    hashes = {checked.example.path: checked.sha256 for checked in job.audit.checked}
    for part, examples in (("train", job.split.train), ("valid", job.split.valid)):
        yield from ((part, example.label, example.path, hashes[example.path]) for example in examples)


def _plugins(job: Job) -> dict[str, str]:
    plugins, config = job.intent.plugins, job.config
    used = {"dataset": job.intent.spec.name, "backbone": job.intent.backbone.name}
    targets = {name: plugins.origin("target", name) for name in ("onnx", *config.target)}
    return {kind: plugins.origin(kind, name) for kind, name in used.items()} | targets


def _data(job: Job) -> dict[str, Any]:
    return {
        "name": job.dataset.name,
        "source": job.dataset.source,
        "licence": job.dataset.licence,
        "fingerprint": job.audit.fingerprint,
        "labels": job.dataset.labels,
        "train_images": len(job.split.train),
        "valid_images": len(job.split.valid),
        "refused": [
            {"path": str(r.example.path), "label": r.example.label, "reason": r.reason} for r in job.audit.refused
        ],
        "ignored": [str(path) for path in job.dataset.ignored],
        "notes": job.notes,
    }


def contract(folder: RunFolder, job: Job, value: float, temperature: float) -> Contract:
    """Return the contract of the trained model; ``value`` is its validation accuracy (0..1).

    ``temperature`` divides its logits; 1 leaves them as they are.
    """
    calibration = Calibration() if temperature == 1 else Calibration(method="temperature", temperature=temperature)
    return Contract(
        labels=job.dataset.labels,
        preprocessing=job.preprocessing,
        backbone=BackboneOrigin(
            name=job.intent.backbone.name,
            weights=job.weights.name,
            licence=job.weights.licence,
            sha256=job.weights.sha256 or None,
        ),
        dataset=DatasetOrigin(
            name=job.dataset.name,
            source=job.dataset.source,
            licence=job.dataset.licence,
            fingerprint=job.audit.fingerprint,
            train_images=len(job.split.train),
            valid_images=len(job.split.valid),
        ),
        run_id=folder.run_id,
        metrics={"accuracy": value},
        calibration=calibration,
        versions=versions(),
    )


def result(folder: RunFolder, job: Job, outcome: Outcome, exports: dict[str, Export], clock: Clock) -> RunResult:
    """Return what the run came to, and record it as done."""
    onnx = exports["onnx"]
    found = RunResult(
        run=folder.path,
        onnx=onnx.path,
        metric=onnx.verification.metric,
        value=onnx.verification.value,
        exported_value=onnx.verification.exported_value,
        compared=onnx.verification.compared,
        agreement=onnx.verification.agreement,
        max_difference=onnx.verification.max_difference,
        strategy=job.strategy,
        phases=outcome.accuracies,
        kept=outcome.kept,
        verdict=outcome.verdict,
        reasons=outcome.reasons,
        dataset=job.dataset.name,
        backbone=job.intent.backbone.name,
        weights=job.weights.name,
        labels=len(job.dataset.labels),
        train_images=len(job.split.train),
        valid_images=len(job.split.valid),
        onnx_bytes=onnx.path.stat().st_size,
        artifacts={name: export.path for name, export in exports.items()},
        seconds=clock.total(),
        notes=job.notes,
    )
    folder.record(result=found)
    return found
