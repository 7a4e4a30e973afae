"""The proof of an export, again: from a run's folder, at any time, wherever its pictures are now."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from finetune import run_folder
from finetune.data.moved import by_content
from finetune.data.pictures import Pictures
from finetune.data.targets import example_of, targets_of
from finetune.errors import ConfigError, DataError, ModelError
from finetune.evaluation.catalogue import HEADLINE, shown
from finetune.evaluation.metrics import score
from finetune.intent import discover
from finetune.loading import load_dataset
from finetune.networks.answering import Answering
from finetune.networks.network import Network
from finetune.plugins import load_plugins
from finetune.run_folder import sha256_of
from finetune.trained_network import NEEDED as NETWORK_FILES
from finetune.trained_network import config_of, refuse_foreign_model, run_of, trained_network
from finetune.types import Artifact, Example, ExportTarget, Reporter, Task, Verification
from finetune.verification import verify
from finetune_export import Contract, Predictor

NEEDED = (*NETWORK_FILES, run_folder.SPLIT, run_folder.VERIFICATION)
BATCH_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class Recheck:
    """What was found: always the file's own checks, and one of the other two where there were pictures for it.

    ``value`` is the task's headline ``metric`` over labelled ``pictures`` when there was no run to compare with;
    ``is_share``: the metric is read in percent.
    """

    model: Path
    labels: int
    metric: str
    is_share: bool
    verification: Verification | None = None
    value: float | None = None
    pictures: int = 0
    notes: tuple[str, ...] = ()

    def rows(self) -> list[tuple[str, str]]:
        """Return the findings as the rows of a two-column table."""
        outputs = "values" if self.metric == HEADLINE["regression"] else "labels"
        rows = [
            ("model", str(self.model)),
            ("file", f"graph, hash and golden pairs are right, {self.labels} {outputs}"),
        ]
        if found := self.verification:
            same = f"the same answer on {round(found.agreement * found.compared)} of {found.compared} pictures"
            trained, exported = (shown(value, self.is_share) for value in (found.value, found.exported_value))
            rows += [
                ("network", f"{same}, largest difference {found.max_difference:.1e}"),
                (found.metric, f"trained {trained}, exported {exported}"),
            ]
        elif self.value is not None:
            rows.append((self.metric, f"{shown(self.value, self.is_share)} of {self.pictures} pictures"))
        else:
            rows.append(("network", "not compared: give --run (the run's folder) or --data (labelled pictures)"))
        rows += [("note", note) for note in self.notes]
        return rows


def verify_again(model: Path, *, run: Path | None, data: Path | None, reporter: Reporter) -> Recheck:
    """Check a model, a file or the folder that a target wrote, and hold it against its run where there is one.

    It is judged as its target says, by its answers or by the metric and the run's own ``--max-drop``. Raises
    ``ModelError`` when any check fails, ``DataError`` for pictures that are missing or not of the model's labels,
    ``ConfigError`` for a ``run`` that is no run folder and for ``data`` of another form than the task needs.
    """
    predictor = Predictor(model)
    _check_graph(predictor.path)
    metric = load_plugins().metrics[HEADLINE[predictor.contract.task]]
    checked = Recheck(
        model=model,
        labels=len(predictor.labels),
        metric=metric.name,
        is_share=metric.is_share,
        notes=predictor.notes,
    )
    if folder := run_of(model, run, NEEDED):
        return replace(checked, verification=_against_run(model, predictor, folder, data, reporter))
    if data:
        value, pictures = _scored(metric.name, predictor, data, reporter)
        return replace(checked, value=value, pictures=pictures)
    return checked


def _check_graph(model: Path) -> None:
    try:
        onnx.checker.check_model(model.read_bytes(), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        cause = str(error).strip().splitlines()[0]
        raise ModelError(f"{model}: onnx {onnx.__version__} refuses its graph ({cause}); export it again") from error


def _against_run(
    model: Path, predictor: Predictor, folder: Path, data: Path | None, reporter: Reporter
) -> Verification:
    refuse_foreign_model(predictor.path, predictor.contract, folder)
    examples = _validation_examples(folder, data, predictor.contract.task)
    target = _target_of(model, folder)
    network = trained_network(predictor.path, predictor.contract, folder)
    hashes = [sha256_of(example.path) for example in examples]
    pictures = Pictures(examples, hashes, predictor.contract.preprocessing)
    reporter.begin("Asking the trained network", len(examples), "pictures")
    reference = _answers(network, pictures, predictor.contract, reporter)
    reporter.begin("Asking the exported file")
    artifact = Artifact(path=predictor.path, answers=predictor.answers)
    paths = [example.path for example in examples]
    targets = targets_of(examples, predictor.labels, predictor.contract.task)
    found = verify(artifact, target, paths, targets, reference, predictor.contract, config_of(folder).max_drop)
    reporter.end()
    if not found.passed:
        raise ModelError(
            f"{predictor.path} answers differently from the network in {folder}: {'; '.join(found.problems)}."
        )
    return found


def _target_of(model: Path, folder: Path) -> ExportTarget:
    """Return the target that wrote the file or folder, which says how it is judged."""
    verified = json.loads((folder / run_folder.VERIFICATION).read_text(encoding="utf-8"))
    targets = {found["file"]: found["target"] for found in verified}
    if model.name not in targets:
        raise ModelError(
            f"{model} is none of the files that the run in {folder} verified: {', '.join(targets)}. Give one of them."
        )
    return load_plugins().find_target(targets[model.name])


def _answers(network: Network, pictures: Pictures, contract: Contract, reporter: Reporter) -> NDArray[np.float32]:
    answering = Answering(contract.task, contract.calibration.temperature, contract.scaling)
    answers = []
    with torch.inference_mode():
        for start in range(0, len(pictures), BATCH_SIZE):
            images = pictures.images([(index, 0) for index in range(len(pictures))[start : start + BATCH_SIZE]])
            answers.append(answering(network(images)).numpy())
            reporter.advance(len(images))
    return np.concatenate(answers)


def _validation_examples(folder: Path, data: Path | None, task: Task) -> list[Example]:
    with (folder / run_folder.SPLIT).open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "valid"]
    moved = by_content(data) if data else {}
    examples = [example_of(moved.get(row["sha256"], Path(row["path"])), row["label"], task) for row in rows]
    missing = [example.path for example in examples if not example.path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(rows)} validation pictures are gone, first {missing[0]}. "
            "Give --data, the folder where they are now."
        )
    return examples


def _scored(metric: str, predictor: Predictor, data: Path, reporter: Reporter) -> tuple[float, int]:
    """Return a metric over the pictures that are held out, or all where none are, and how many these are."""
    contract, examples = predictor.contract, _labelled(predictor, data, reporter)
    held_out = next(filter(None, ([e for e in examples if e.part == part] for part in ("valid", "test"))), examples)
    reporter.begin("Asking the exported file")
    answers = predictor.answers([example.path for example in held_out])
    reporter.end()
    value = score(metric, contract.task, answers, targets_of(held_out, contract.labels, contract.task))
    if np.isnan(value):
        raise DataError(f"The {metric} of --data {data} is undefined: its pictures all show the same. Give others.")
    return value, len(held_out)


def _labelled(predictor: Predictor, data: Path, reporter: Reporter) -> list[Example]:
    """Return the pictures of a folder or a table; of several labels or values each has a column of its own."""
    task, labels = predictor.contract.task, predictor.labels
    intent = discover({"data": data, "task": task})
    if task == "single-label":
        examples = list(load_dataset(intent, reporter).examples)
        _refuse_foreign_labels(labels, examples)
        return examples
    if not intent.source.has_columns:
        raise ConfigError(
            f"--data {data} is no table, and folders hold single labels; the task of the model is {task}. Give a table "
            f"with a column for each of {', '.join(labels)}."
        )
    columns = replace(intent.config, label_col=labels)
    return list(load_dataset(replace(intent, config=columns), reporter).examples)


def _refuse_foreign_labels(labels: Sequence[str], examples: Sequence[Example]) -> None:
    foreign = sorted({example.label for example in examples} - set(labels))
    if foreign:
        raise DataError(f"The model has no label '{foreign[0]}'; it knows {', '.join(labels)}.")
