"""What a trained network answers, calibrated, and how good that is.

Shapes: ``N`` pictures, ``K`` labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.config import RunConfig
from finetune.data.targets import Targets
from finetune.evaluation.calibration import (
    abstain_threshold,
    choose_thresholds,
    expected_calibration_error,
    fit_temperature,
)
from finetune.evaluation.catalogue import HEADLINE
from finetune.evaluation.intervals import Interval, interval
from finetune.evaluation.measuring import all_measured, answered
from finetune.evaluation.per_label import per_label, per_value
from finetune.training.history import Epoch
from finetune.training.objective import Objective
from finetune.training.trainer import Trainer
from finetune_export.contract import Calibration

MOST_EMBEDDED = 1_000
"""Of so many validation pictures at most the embeddings are kept: a map of more takes long, and shows no more."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How good answers to some pictures are: every registered metric of the task, and each label by itself.

    ``coverage`` is the share of pictures that a model which may abstain answers, ``precision`` the share of those
    answers that is right; None where it never abstains. ``interval`` is the 95 % interval of the headline metric, None
    where the metric itself is undefined, or where resampling the pictures cannot move it. ``notes`` tell which metrics
    of plugins are not among the ``values``, and why.
    """

    pictures: int
    values: dict[str, float]
    headline: str
    interval: Interval | None
    labels: tuple[Any, ...]
    coverage: float | None = None
    precision: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What the trained network answers to the validation pictures, float32 (N, K), and what follows from it.

    ``thresholds`` are those of the contract. ``ece_before`` and ``ece_after`` are the expected calibration errors
    without and with the temperature, on the pictures that it was fitted to; None for regression. ``embeddings``,
    float32 (M, D), are of the pictures with the numbers in ``embedded``, int64 (M,), rising: all, or a sample.
    """

    answers: NDArray[np.float32]
    calibration: Calibration
    thresholds: dict[str, float]
    scores: Scores
    ece_before: float | None = None
    ece_after: float | None = None
    notes: tuple[str, ...] = ()
    embedded: NDArray[np.int64]
    embeddings: NDArray[np.float32]


def evaluate(trainer: Trainer, config: RunConfig, temperature: float) -> Evaluation:
    """Return the evaluation of a trained network; ``temperature`` is the one that its head came with, 1 for none.

    Raises ``PluginError`` where the monitored metric fails.
    """
    objective, targets = trainer.objective, trainer.valid_targets
    embedded = _sample(len(targets), config.seed)
    logits, embeddings = trainer.outputs(embedded.tolist())
    if config.calibration == "temperature" and objective.task != "regression":
        temperature = fit_temperature(objective.task, logits.numpy(), targets)
    answers = objective.answers(logits, temperature)
    thresholds, notes = _thresholds(objective, config, answers, targets)
    scores = scores_of(objective, answers, targets, thresholds, config.seed)
    return Evaluation(
        answers=answers,
        calibration=Calibration() if temperature == 1 else Calibration(method="temperature", temperature=temperature),
        thresholds=thresholds,
        scores=scores,
        ece_before=_ece(objective, objective.answers(logits), targets),
        ece_after=_ece(objective, answers, targets),
        notes=(*_never_defined(objective, trainer.history), *notes, *scores.notes),
        embedded=embedded,
        embeddings=embeddings.numpy(),
    )


def _sample(count: int, seed: int) -> NDArray[np.int64]:
    """Return the numbers of the pictures whose embeddings are kept, rising: at most ``MOST_EMBEDDED``."""
    chosen = np.random.default_rng(seed).permutation(count)[:MOST_EMBEDDED]
    return np.sort(chosen)


def _never_defined(objective: Objective, history: Sequence[Epoch]) -> tuple[str, ...]:
    """Return what to say where the monitored metric has chosen none of the epochs."""
    if not history or not all(math.isnan(epoch.score) for epoch in history):
        return ()
    return (
        f"The metric '{objective.monitor}' was undefined at every epoch, so that the epochs with the lowest validation "
        "loss were kept. Choose another --monitor, or other validation pictures.",
    )


def scores_of(
    objective: Objective,
    answers: NDArray[np.float32],
    targets: Targets,
    thresholds: dict[str, float],
    seed: int,
) -> Scores:
    """Return how good answers (N, K) are; raise ``PluginError`` where the monitored metric fails."""
    task, headline = objective.task, HEADLINE[objective.task]
    coverage, precision = _answered(objective, answers, targets, thresholds)
    decided = np.array([thresholds.get(label, 0.5) for label in objective.labels]) if task == "multi-label" else None
    found = all_measured(
        objective.metrics, objective.monitor, answered(task, objective.labels, answers, targets, decided)
    )
    is_values = task == "regression"
    return Scores(
        pictures=len(targets),
        values=found.values,
        headline=headline,
        interval=interval(headline, task, answers, targets, seed=seed, thresholds=decided),
        labels=tuple(
            per_value(answers, targets, objective.labels)
            if is_values
            else per_label(task, answers, targets, objective.labels, decided)
        ),
        coverage=coverage,
        precision=precision,
        notes=found.notes,
    )


def _answered(
    objective: Objective, answers: NDArray[np.float32], targets: Targets, thresholds: dict[str, float]
) -> tuple[float | None, float | None]:
    """Return coverage and precision of single labels that may be withheld."""
    if objective.task != "single-label" or not thresholds:
        return None, None
    least = np.array([thresholds.get(label, 0.0) for label in objective.labels])
    chosen = answers.argmax(axis=1)
    given = answers.max(axis=1) >= least[chosen]
    return float(given.mean()), float((chosen == targets)[given].mean()) if given.any() else None


def _ece(objective: Objective, answers: NDArray[np.float32], targets: Targets) -> float | None:
    if objective.task == "regression":
        return None
    return expected_calibration_error(objective.task, answers, targets)


def _thresholds(
    objective: Objective, config: RunConfig, answers: NDArray[np.float32], targets: Targets
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return the contract's thresholds: what decides each of several labels, or where a single one is withheld."""
    if objective.task == "multi-label":
        return dict(zip(objective.labels, choose_thresholds(answers, targets, config.seed), strict=True)), ()
    if objective.task == "regression" or config.abstain_at is None:
        return {}, ()
    point = abstain_threshold(answers, targets, config.abstain_at)
    if point is None:
        note = (
            f"No threshold makes {config.abstain_at:.1%} of the validation answers right, so the model never abstains; "
            "ask for less with --abstain-at."
        )
        return {}, (note,)
    note = (
        f"The model abstains below {point.threshold:.3f}: of the {point.coverage:.1%} of validation pictures that it "
        f"answers, {point.precision:.1%} are right."
    )
    return dict.fromkeys(objective.labels, point.threshold), (note,)
