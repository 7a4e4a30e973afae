"""What a run finds out for people to look at: no part of its model, and no reason to lose it.

Each finding is a record of its own in the run's folder; where one cannot be made, the report goes without.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from finetune import run_folder
from finetune.clock import Clock
from finetune.data.targets import Targets
from finetune.evaluating import Evaluation
from finetune.evaluation.mistakes import losses
from finetune.insights.label_errors import BY_ANSWERS, BY_FEATURES, MOST_FITTED, find_errors, held_out_probabilities
from finetune.insights.picture_map import places
from finetune.preparation import Job
from finetune.run_folder import RunFolder
from finetune.training.strategies import PROBES, Phase, Step
from finetune.training.trainer import Trainer, pictures_of
from finetune.types import HeatMap, Place, Reporter, Task

LOOK_S = 5.0
"""Where less of --max-minutes is left, nothing more is looked at; in seconds."""
MOST_HEAT_MAPS = 24
LABEL_ERRORS = "labels that are likely wrong"


def look_before_training(
    folder: RunFolder, job: Job, trainer: Trainer, first: Step, clock: Clock, reporter: Reporter
) -> None:
    """Look at what only an untrained network can tell: how it would learn, and which labels it would not believe.

    Only where the ``first`` step leaves the body as it is, so that what this goes by is at hand; once for a run, at
    its beginning. It changes nothing about what is learned: every step seeds itself.
    """
    if first.name not in PROBES or trainer.journal.has_begun:
        return
    with clock(first.name):  # which needs it in any case
        features = trainer.frozen_features(first)
    with clock("look"):
        if isinstance(first, Phase) and job.config.lr != "find" and job.config.max_minutes is None:
            with _dispensable("the curve of the learning rate", reporter):
                folder.write_json(run_folder.RATE_CURVE, trainer.find_rate(first))
        if job.dataset.task == "single-label" and not job.is_random and trainer.cost_of_fitting <= MOST_FITTED:
            with _dispensable(LABEL_ERRORS, reporter):
                _look_at_all_labels(folder, job, trainer, features, reporter)


def look(folder: RunFolder, job: Job, trainer: Trainer, evaluation: Evaluation, reporter: Reporter) -> None:
    """Look at what the trained network makes of the validation pictures, unless the time is up."""
    if trainer.stop.remaining_s() < LOOK_S:
        minutes = f"--max-minutes {job.config.max_minutes:g}"
        reporter.note(f"The report goes without heat maps and a map of the pictures: the time is up ({minutes}).")
        return
    if not (folder / run_folder.LABEL_ERRORS).exists():
        with _dispensable(LABEL_ERRORS, reporter):
            _look_at_answers(folder, job, trainer, evaluation)
    with _dispensable("a map of the pictures", reporter):
        _draw_map(folder, job, evaluation, reporter)
    with _dispensable("heat maps", reporter):
        _draw_heat_maps(folder, job, trainer, evaluation, reporter)


@contextmanager
def _dispensable(what: str, reporter: Reporter) -> Iterator[None]:
    """Note what the report has to go without, and why; whatever fails in here, the run does not.

    The libraries that look are many, and raise what they like; signals, which end a run, are no ``Exception``.
    """
    try:
        yield
    except Exception as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        reporter.note(f"The report goes without {what}: {cause}")
    finally:
        reporter.end()


# ── labels ──────────────────────────────────────────────────────────────────────────────────────────


def _look_at_all_labels(
    folder: RunFolder, job: Job, trainer: Trainer, features: NDArray[np.float32], reporter: Reporter
) -> None:
    """Hold every label against classifiers of frozen features that were fitted without it."""
    reporter.begin("Looking at the labels")
    targets = np.concatenate([trainer.train_targets, trainer.valid_targets])
    probabilities = held_out_probabilities(features, targets, len(job.dataset.labels), job.config.seed)
    pictures = [("train", example) for example in job.split.train] + [("valid", example) for example in job.split.valid]
    found = find_errors("single-label", job.dataset.labels, pictures, probabilities, targets, BY_FEATURES)
    if found:
        folder.write_json(run_folder.LABEL_ERRORS, found)


def _look_at_answers(folder: RunFolder, job: Job, trainer: Trainer, evaluation: Evaluation) -> None:
    """Hold the labels of the validation pictures against what the trained network says of them."""
    pictures = [("valid", example) for example in job.split.valid]
    known = job.dataset.task, job.dataset.labels, pictures
    found = find_errors(*known, evaluation.answers, trainer.valid_targets, BY_ANSWERS)
    if found:
        folder.write_json(run_folder.LABEL_ERRORS, found)


# ── pictures ────────────────────────────────────────────────────────────────────────────────────────


def _draw_map(folder: RunFolder, job: Job, evaluation: Evaluation, reporter: Reporter) -> None:
    reporter.begin("Drawing the map of the pictures")
    found = zip(evaluation.embedded.tolist(), places(evaluation.embeddings, job.config.seed).tolist(), strict=True)
    rows = [Place(picture=picture, x=round(x, 4), y=round(y, 4)) for picture, (x, y) in found]
    folder.write_json(run_folder.PICTURE_MAP, rows)


def _draw_heat_maps(folder: RunFolder, job: Job, trainer: Trainer, evaluation: Evaluation, reporter: Reporter) -> None:
    """Look for what the network went by in the pictures that it is furthest off at."""
    from finetune.insights.grad_cam import heat_maps  # its library takes a moment to load

    reporter.begin("Drawing heat maps")
    task, targets = trainer.objective.task, trainer.valid_targets
    worst = np.argsort(-losses(task, evaluation.answers, targets), kind="stable")[:MOST_HEAT_MAPS]
    labels = explained(task, evaluation.answers[worst], targets[worst])
    images = pictures_of(job, job.split.valid).images([(picture, 0) for picture in worst.tolist()])
    maps = heat_maps(job.network, images, torch.from_numpy(labels))
    if maps is None:
        reporter.note(f"The report goes without heat maps: {job.intent.backbone.name} hands on no map of a picture.")
        return
    found = zip(worst.tolist(), labels.tolist(), maps.tolist(), strict=True)
    folder.write_json(run_folder.HEAT_MAPS, [HeatMap(picture=p, label=label, cells=cells) for p, label, cells in found])


def explained(task: Task, answers: NDArray[np.float32], targets: Targets) -> NDArray[np.int64]:
    """Return the number of the answer to look into for each picture, int64 (N,), of answers (N, K).

    That is the label that was given; where there may be several, and of values, the one that is furthest off.
    """
    furthest = answers if task == "single-label" else np.abs(answers - targets)
    return np.asarray(furthest.argmax(axis=1))
