"""A sound target, a copy of the file that there is already, and others that break one rule each."""

from __future__ import annotations

import json
import random
import signal
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.errors import ConfigError
from finetune.types import Artifact, ExportRequest, ExportTarget
from finetune_export import Predictor, model_file
from finetune_export.contract import CONTRACT_KEY

SOUND = ExportTarget(name="copy", summary="The same file again.", export="broken.targets:sound")
Answers = NDArray[Any]


def sound(request: ExportRequest) -> Artifact:
    assert request.onnx is not None
    path = request.folder / "copy.onnx"
    path.write_bytes(request.onnx.read_bytes())
    return Artifact(path=path, answers=Predictor(path).answers)


def answering(change: Callable[[Answers], Answers]) -> Callable[[ExportRequest], Artifact]:
    """Return a target whose artifact answers something else."""

    def export(request: ExportRequest) -> Artifact:
        artifact = sound(request)
        return replace(artifact, answers=lambda paths: change(artifact.answers(paths)))

    return export


# ── what it writes ──────────────────────────────────────────────────────────────────────────────────


def failing(request: ExportRequest) -> Artifact:
    raise RuntimeError("no compiler")


def refusing(request: ExportRequest) -> Artifact:
    if request.contract.task != "single-label":
        raise ConfigError(f"--target copy is for single labels, not for {request.contract.task}.")
    return sound(request)


def returning_a_path(request: ExportRequest) -> Any:
    return sound(request).path


def downloading(request: ExportRequest) -> Artifact:
    urllib.request.urlopen("http://compiler.example.org/")
    return sound(request)


def writing_twice(request: ExportRequest) -> Artifact:
    (request.folder / "notes.txt").write_text("calibrated")
    return sound(request)


def writing_elsewhere(request: ExportRequest) -> Artifact:
    Path("calibration.cache").write_text("calibrated")
    return sound(request)


def misplacing(request: ExportRequest) -> Artifact:
    artifact = sound(request)
    (request.folder / "deep").mkdir()
    return replace(artifact, path=artifact.path.rename(request.folder / "deep" / "copy.onnx"))


def touching(request: ExportRequest) -> Artifact:
    assert request.onnx is not None
    artifact = sound(request)
    request.onnx.write_bytes(b"")
    return artifact


def training(request: ExportRequest) -> Artifact:
    request.network.train()
    return sound(request)


def rounding(request: ExportRequest) -> Artifact:
    weight = request.network.head.classifier[2].weight
    weight.data = weight.data.round(decimals=2)
    return sound(request)


def seeding(request: ExportRequest) -> Artifact:
    random.seed(0)
    np.random.seed(0)
    return sound(request)


def importing(request: ExportRequest) -> Artifact:
    import broken.heavy  # type: ignore[import-not-found] # noqa: F401

    return sound(request)


def deaf(request: ExportRequest) -> Artifact:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    return sound(request)


def exiting(request: ExportRequest) -> Artifact:
    raise SystemExit(0)


def talking(request: ExportRequest) -> Artifact:
    print("Converting … done")  # noqa: T201
    return sound(request)


def written(request: ExportRequest, content: bytes) -> Artifact:
    artifact = sound(request)
    artifact.path.write_bytes(content)
    return artifact


def forgetful(request: ExportRequest) -> Artifact:
    assert request.onnx is not None
    return written(request, model_file.with_metadata(request.onnx.read_bytes(), {}))


def renaming(request: ExportRequest) -> Artifact:
    assert request.onnx is not None
    file = model_file.read(request.onnx)
    contract = replace(request.contract, labels=("a", "b", "c", "d"), graph_sha256=file.graph_sha256)
    return written(request, model_file.with_metadata(file.data, {**file.metadata, CONTRACT_KEY: contract.to_json()}))


def foldered(request: ExportRequest, **files: str) -> Artifact:
    artifact = sound(request)
    folder = request.folder / "compiled"
    folder.mkdir()
    artifact.path.rename(folder / "network.bin")
    for name, text in files.items():
        (folder / f"{name}.json").write_text(text)
    return replace(artifact, path=folder)


def in_a_folder(request: ExportRequest) -> Artifact:
    return foldered(request, contract=request.contract.to_json())


def in_a_folder_without_contract(request: ExportRequest) -> Artifact:
    return foldered(request)


def bound_to_its_place(request: ExportRequest) -> Artifact:
    manifest = json.dumps({"model": str(request.folder / "compiled" / "network.bin")})
    return foldered(request, contract=request.contract.to_json(), manifest=manifest)


# ── what it answers ─────────────────────────────────────────────────────────────────────────────────

swapping = answering(lambda answers: answers[:, ::-1].copy())
doubling = answering(lambda answers: answers.astype(np.float64))
forgetting_one = answering(lambda answers: answers[: max(1, len(answers) - 1)])
unsure = answering(lambda answers: answers * np.float32(0.5))
not_a_number = answering(lambda answers: np.where(answers > 0.5, np.float32("nan"), answers))
sociable = answering(lambda answers: (answers + answers.mean(axis=0)) / 2)
imprecise = answering(lambda answers: (answers + np.float32(0.01) * (0.25 - answers)).astype(np.float32))


def drifting(request: ExportRequest) -> Artifact:
    count = iter(range(1000))
    return answering(lambda answers: answers + np.float32(1e-6) * next(count))(request)


def answering_no_more(request: ExportRequest) -> Artifact:
    def answers(paths: Sequence[Path]) -> Answers:
        raise SystemExit(0)

    return replace(sound(request), answers=answers)


def different_each_time(request: ExportRequest) -> Artifact:
    shift = np.float32(1e-6) * len(DONE)
    DONE.append(request.folder)
    return answering(lambda answers: answers + shift)(request)


DONE: list[Path] = []


def of_full_batches(request: ExportRequest) -> Artifact:
    artifact = sound(request)

    def answers(paths: Sequence[Path]) -> Answers:
        if len(paths) % 4:
            raise ValueError(f"a batch of {len(paths)}")
        return artifact.answers(paths)

    return replace(artifact, answers=answers)
