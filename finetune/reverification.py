"""The proof of an export, again: from a run's folder, at any time, wherever its pictures are now."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from finetune import run_folder
from finetune.config import RunConfig, read_file, resolve
from finetune.data.pictures import Pictures
from finetune.errors import ConfigError, DataError, ModelError
from finetune.evaluation.metrics import accuracy
from finetune.networks.network import Network, assemble, build_backbone, keep_up_to
from finetune.networks.weights import load_network
from finetune.plugins import load_function, load_plugins
from finetune.types import Artifact, DatasetRequest, Example, ExportTarget, Reporter, Verification
from finetune.verification import verify
from finetune_export import Contract, Predictor
from finetune_export.image import PICTURE_SUFFIXES

NEEDED = (run_folder.STATUS, run_folder.CONFIG, run_folder.WEIGHTS, run_folder.SPLIT, run_folder.VERIFICATION)
BATCH_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class Recheck:
    """What was found: always the file's own checks, and one of the other two where there were pictures for it.

    ``accuracy`` (0..1) is over ``pictures`` labelled pictures when there was no run to compare with.
    """

    model: Path
    labels: int
    verification: Verification | None = None
    accuracy: float | None = None
    pictures: int = 0
    notes: tuple[str, ...] = ()

    def rows(self) -> list[tuple[str, str]]:
        """Return the findings as the rows of a two-column table."""
        rows = [("model", str(self.model)), ("file", f"graph, hash and golden pairs are right, {self.labels} labels")]
        if found := self.verification:
            same = f"the same label on {round(found.agreement * found.compared)} of {found.compared} pictures"
            rows += [
                ("network", f"{same}, largest difference {found.max_difference:.1e}"),
                ("accuracy", f"trained {found.value:.1%}, exported {found.exported_value:.1%}"),
            ]
        elif self.accuracy is not None:
            rows.append(("accuracy", f"{self.accuracy:.1%} of {self.pictures} pictures"))
        else:
            rows.append(("network", "not compared: give --run (the run's folder) or --data (labelled pictures)"))
        rows += [("note", note) for note in self.notes]
        return rows


def verify_again(model: Path, *, run: Path | None, data: Path | None, reporter: Reporter) -> Recheck:
    """Check a model, a file or the folder that a target wrote, and hold it against its run where there is one.

    It is judged as its target says, by its answers or by the metric and the run's own ``--max-drop``. Raises
    ``ModelError`` when any check fails, ``DataError`` for pictures that are missing, ``ConfigError`` for a
    ``run`` that is no run folder.
    """
    predictor = Predictor(model)
    _check_graph(predictor.path)
    checked = Recheck(model=model, labels=len(predictor.labels), notes=predictor.notes)
    if folder := _run_folder(model, run):
        return replace(checked, verification=_against_run(model, predictor, folder, data, reporter))
    if data:
        score, pictures = _score(predictor, data, reporter)
        return replace(checked, accuracy=score, pictures=pictures)
    return checked


def _check_graph(model: Path) -> None:
    try:
        onnx.checker.check_model(model.read_bytes(), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        cause = str(error).strip().splitlines()[0]
        raise ModelError(f"{model}: onnx {onnx.__version__} refuses its graph ({cause}); export it again") from error


def _run_folder(model: Path, run: Path | None) -> Path | None:
    folder = run or model.resolve().parent
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing and run:
        raise ConfigError(
            f"--run {run} is no run folder: it has no {missing[0]}. Give the folder that the model was made in."
        )
    return None if missing else folder


def _against_run(
    model: Path, predictor: Predictor, folder: Path, data: Path | None, reporter: Reporter
) -> Verification:
    _refuse_foreign_model(predictor, folder)
    examples = _validation_examples(folder, data)
    target = _target_of(model, folder)
    config = resolve(read_file(folder / run_folder.CONFIG))
    network = _rebuild(config, folder, predictor.contract)
    hashes = [_sha256(example.path) for example in examples]
    pictures = Pictures(examples, hashes, predictor.labels, predictor.contract.preprocessing)
    reporter.begin("Asking the trained network", len(examples))
    reference = _probabilities(network, pictures, predictor.contract.calibration.temperature, reporter)
    reporter.begin("Asking the exported file")
    artifact = Artifact(path=predictor.path, answers=predictor.probabilities)
    paths = [example.path for example in examples]
    found = verify(artifact, target, paths, pictures.targets.numpy(), reference, config.max_drop)
    reporter.end()
    if not found.passed:
        raise ModelError(
            f"{predictor.path} answers differently from the network in {folder}: {'; '.join(found.problems)}."
        )
    return found


def _refuse_foreign_model(predictor: Predictor, folder: Path) -> None:
    owner = json.loads((folder / run_folder.STATUS).read_text(encoding="utf-8"))["id"]
    if predictor.contract.run_id != owner:
        raise ModelError(
            f"{predictor.path} was made by the run {predictor.contract.run_id}, and {folder} holds the run {owner}. "
            "Give --run the folder that the model was made in."
        )


def _target_of(model: Path, folder: Path) -> ExportTarget:
    """Return the target that wrote the file or folder, which says how it is judged."""
    verified = json.loads((folder / run_folder.VERIFICATION).read_text(encoding="utf-8"))
    targets = {found["file"]: found["target"] for found in verified}
    if model.name not in targets:
        raise ModelError(
            f"{model} is none of the files that the run in {folder} verified: {', '.join(targets)}. Give one of them."
        )
    return load_plugins().find_target(targets[model.name])


def _rebuild(config: RunConfig, folder: Path, contract: Contract) -> Network:
    backbone = load_plugins().find_backbone(config.backbone)
    size = contract.preprocessing.image_size_px
    model = keep_up_to(build_backbone(backbone, size), config.layer)
    network = assemble(model, len(contract.labels), size, config.head)
    load_network(network, folder / run_folder.WEIGHTS)
    return network.eval()


def _probabilities(network: Network, pictures: Pictures, temperature: float, reporter: Reporter) -> NDArray[np.float32]:
    answers = []
    with torch.inference_mode():
        for start in range(0, len(pictures), BATCH_SIZE):
            images = pictures.images([(index, 0) for index in range(len(pictures))[start : start + BATCH_SIZE]])
            answers.append((network(images) / temperature).softmax(dim=1).numpy())
            reporter.advance(len(images))
    return np.concatenate(answers)


def _validation_examples(folder: Path, data: Path | None) -> list[Example]:
    with (folder / run_folder.SPLIT).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "valid"]
    moved = _by_content(data) if data else {}
    examples = [Example(path=moved.get(row["sha256"], Path(row["path"])), label=row["label"]) for row in rows]
    missing = [example.path for example in examples if not example.path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(rows)} validation pictures are gone, first {missing[0]}. "
            "Give --data, the folder where they are now."
        )
    return examples


def _by_content(data: Path) -> dict[str, Path]:
    """Return every picture below the folder by the sha256 of its content: how moved pictures are found again."""
    if not data.is_dir():
        raise DataError(f"--data {data} is not a folder. Give the folder where the pictures are now.")
    pictures = (path for path in data.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file())
    return {_sha256(path): path for path in pictures}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _score(predictor: Predictor, data: Path, reporter: Reporter) -> tuple[float, int]:
    spec = load_plugins().find_dataset("folder")
    request = DatasetRequest(source=spec.sources[0].name, data=data, cache=data, reporter=reporter)
    dataset = load_function(spec.load, "The data set 'folder'")(request)
    examples = [e for e in dataset.examples if e.part == "valid"] or list(dataset.examples)
    _refuse_foreign_labels(predictor, examples)
    reporter.begin("Asking the exported file")
    answers = predictor.probabilities([example.path for example in examples])
    reporter.end()
    targets = np.array([predictor.labels.index(example.label) for example in examples])
    return accuracy(answers, targets), len(examples)


def _refuse_foreign_labels(predictor: Predictor, examples: Sequence[Example]) -> None:
    foreign = sorted({example.label for example in examples} - set(predictor.labels))
    if foreign:
        raise DataError(f"The model has no label '{foreign[0]}'; it knows {', '.join(predictor.labels)}.")
