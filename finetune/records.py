"""What a run writes down about itself: inputs before training, figures after it, and the result."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from finetune import report, run_folder
from finetune.charts import learning_curve
from finetune.clock import Clock
from finetune.config import RunConfig, to_toml
from finetune.data.augmented_batch import augmented_batch
from finetune.data.findings import as_record, first_of_each_kind
from finetune.data.targets import text_of
from finetune.evaluating import Evaluation, Scores
from finetune.exporting import Export
from finetune.given_weights import architecture_behind
from finetune.networks.weight_files import serialised
from finetune.plugins import OWN_DISTRIBUTION
from finetune.preparation import Job
from finetune.run_folder import RunFolder
from finetune.training.history import Epoch
from finetune.training.journal import Outcome
from finetune.training.objective import Objective
from finetune.training.trainer import Trainer
from finetune.training.transfer import verdict
from finetune.types import RunResult
from finetune_export.contract import BackboneOrigin, Contract, DatasetOrigin, PluginOrigin

CHECKPOINTS = "checkpoints"
METRICS = report.METRICS
AUGMENTED = "augmented.png"
MAY_CHANGE = ("data", "cache_gb", "checkpoint_seconds", "max_minutes", "metric", "target", "max_drop", "track")
"""Options without a say in the weights: where pictures are, how the run is kept safe, what is measured and exported."""
VIEWS_DRAWN = 3
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


def write_inputs(folder: RunFolder, job: Job, said: Sequence[str] = ()) -> None:
    """Write the resolved options, the versions, the state of the data and the split.

    ``said`` are words that the command needs beside the options to be repeated.
    """
    folder.write(run_folder.CONFIG, to_toml(job.config, folder.job, said))
    folder.record(identity=identity_of(job.config))
    folder.write_json(run_folder.VERSIONS, {**versions(), "plugins": plugins_of(job)})
    folder.write_json(run_folder.DATA, _data(job))
    folder.write_csv(run_folder.SPLIT, ("part", "label", "path", "sha256"), list(split_rows(job)))


def identity_of(config: RunConfig) -> str:
    """Return the sha256 of all options that have a say in the weights: what a run is, however often it is resumed."""
    lines = [line for line in to_toml(config).splitlines() if line.partition(" = ")[0] not in MAY_CHANGE]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_views(folder: RunFolder, trainer: Trainer) -> None:
    """Draw some training pictures in several views: what the augmentation makes of them."""
    folder.write(AUGMENTED, augmented_batch(trainer.training_pictures, VIEWS_DRAWN))


def write_training(folder: RunFolder, job: Job, trainer: Trainer) -> None:
    """Write the history, its curve, and the weights under the published network's own key names."""
    monitor, history = trainer.objective.monitor, trainer.history
    columns = [monitor if field.name == "score" else field.name for field in dataclasses.fields(Epoch)]
    folder.write_csv(run_folder.HISTORY, columns, [dataclasses.astuple(epoch) for epoch in history])
    if history:  # a classic classifier has no epochs
        folder.write(run_folder.CURVE, learning_curve(history, monitor, trainer.objective.metric.is_share).light)
    folder.write(run_folder.WEIGHTS, serialised(job.network, licence=job.weights.licence or "unknown"))


def write_answers(folder: RunFolder, evaluation: Evaluation) -> None:
    """Write the network's answers to the validation pictures, float32 (N, K) in the order of ``split.csv``."""
    content = io.BytesIO()
    np.save(content, np.ascontiguousarray(evaluation.answers, dtype=np.float32), allow_pickle=False)
    folder.write(report.ANSWERS, content.getvalue())


def versions() -> dict[str, str]:
    """Return the versions of Python and of every package that shapes the result."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def split_rows(job: Job) -> Iterator[tuple[str, str, Path, str]]:
    """Yield part, label, path and sha256 of every picture, as the run divides them."""
    hashes = {checked.example.path: checked.sha256 for checked in job.audit.checked}
    for part, examples in (("train", job.split.train), ("valid", job.split.valid), ("test", job.split.test)):
        yield from ((part, text_of(e, job.dataset.task), e.path, hashes[e.path]) for e in examples)


def plugins_of(job: Job) -> dict[str, str]:
    """Return the distribution, with its version, that each registered thing in use comes from.

    The keys are "dataset" and "backbone", of which a run names one each, and of others the kind and the name; so of
    the architecture behind a backbone with carried weights.
    """
    named = ("dataset", job.intent.spec.name), ("backbone", job.intent.backbone.name)
    return {
        kind if (kind, name) in named else f"{kind} {name}": job.intent.plugins.origin(kind, name)
        for kind, name in _registered_in_use(job)
    }


def _registered_in_use(job: Job) -> Iterator[tuple[str, str]]:
    """Yield kind and name of each registered thing in use."""
    config = job.config
    yield "dataset", job.intent.spec.name
    yield "backbone", job.intent.backbone.name
    if architecture := architecture_behind(job.intent.backbone, job.intent.plugins):
        yield "backbone", architecture.name
    yield from (("target", name) for name in ("onnx", *config.target))
    yield from (("callback", name) for name in config.callback)
    yield from (("metric", name) for name in dict.fromkeys((*config.metric, config.monitor)) if name is not None)


def strangers_of(job: Job) -> tuple[PluginOrigin, ...]:
    """Return the distributions, other than finetune's own, that something in use comes from."""
    used: dict[tuple[str, str, str, str], list[str]] = {}
    for kind, name in _registered_in_use(job):
        owner = job.intent.plugins.owner(kind, name)
        if owner.distribution != OWN_DISTRIBUTION:
            facts = (owner.distribution, owner.version, owner.licence, owner.origin)
            used.setdefault(facts, []).append(f"{kind} {name}")
    return tuple(
        PluginOrigin(distribution=distribution, version=version, licence=licence, origin=origin, used_for=tuple(names))
        for (distribution, version, licence, origin), names in used.items()
    )


def _data(job: Job) -> dict[str, Any]:
    return {
        "name": job.dataset.name,
        "source": job.dataset.source,
        "licence": job.dataset.licence,
        "fingerprint": job.audit.fingerprint,
        "labels": job.dataset.labels,
        "weights_sha256": job.weights.sha256,
        "preprocessing": job.preprocessing,
        "train_images": len(job.split.train),
        "valid_images": len(job.split.valid),
        "test_images": len(job.split.test),
        "task": job.dataset.task,
        "refused": [
            {"path": str(r.example.path), "label": text_of(r.example, job.dataset.task), "reason": r.reason}
            for r in job.audit.refused
        ],
        "findings": [as_record(finding, job.dataset.task) for finding in first_of_each_kind(job.audit.findings)],
        "ignored": [str(path) for path in job.dataset.ignored],
        "notes": job.notes,
    }


def contract(folder: RunFolder, job: Job, objective: Objective, evaluation: Evaluation) -> Contract:
    """Return the contract of the trained model; its metrics are those of the validation pictures."""
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
        metrics=evaluation.scores.values,
        calibration=evaluation.calibration,
        thresholds=evaluation.thresholds,
        scaling=objective.scaling,
        task=objective.task,
        plugins=strangers_of(job),
        versions=versions(),
    )


def result(
    folder: RunFolder,
    job: Job,
    objective: Objective,
    outcome: Outcome,
    evaluation: Evaluation,
    exports: dict[str, Export],
    tested: Scores | None,
    clock: Clock,
) -> RunResult:
    """Return what the run came to, and record it as done."""
    onnx, scores = exports["onnx"], evaluation.scores
    found = RunResult(
        run=folder.path,
        onnx=onnx.path,
        task=objective.task,
        metric=onnx.verification.metric,
        value=onnx.verification.value,
        interval=bounds(scores),
        exported_value=onnx.verification.exported_value,
        compared=onnx.verification.compared,
        agreement=onnx.verification.agreement,
        max_difference=onnx.verification.max_difference,
        scores=scores.values,
        test_scores=tested.values if tested else {},
        test_interval=bounds(tested),
        temperature=evaluation.calibration.temperature,
        ece_before=evaluation.ece_before,
        ece_after=evaluation.ece_after,
        strategy=job.strategy,
        monitor=objective.monitor,
        phases=outcome.scores,
        kept=outcome.kept,
        verdict=verdict(outcome, objective),
        reasons=outcome.reasons,
        dataset=job.dataset.name,
        backbone=job.intent.backbone.name,
        weights=job.weights.name,
        labels=len(job.dataset.labels),
        train_images=len(job.split.train),
        valid_images=len(job.split.valid),
        test_images=len(job.split.test),
        onnx_bytes=onnx.path.stat().st_size,
        artifacts={name: export.path for name, export in exports.items()},
        seconds=clock.total(),
        notes=(*job.notes, *evaluation.notes),
    )
    folder.write_json(METRICS, {"valid": scores, "test": tested})
    folder.record(result=found)
    return found


def bounds(scores: Scores | None) -> tuple[float, float] | None:
    """Return both ends of the headline metric's interval, where there is one."""
    return (scores.interval.low, scores.interval.high) if scores and scores.interval else None
