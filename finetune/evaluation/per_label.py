"""The metrics of each label, and of each value of a regression, on its own.

Shapes: ``N`` pictures, ``K`` labels. Answers are float32 (N, K); targets are those of ``finetune.data.targets``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetune.evaluation.decisions import Answers, Decisions, Targets, Thresholds, Values, shows
from finetune.evaluation.metrics import score
from finetune.evaluation.ranking import Ranking
from finetune.types import Task


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """How well one label is told (0..1 each); ``pictures`` show it. None is what has nothing to be measured on.

    ``precision`` is None where no picture was given the label, ``recall`` and ``average_precision`` where none shows
    it, ``f1`` where both is so, ``auroc`` where none shows it or all do.
    """

    label: str
    pictures: int
    precision: float | None
    recall: float | None
    f1: float | None
    auroc: float | None
    average_precision: float | None


@dataclass(frozen=True, kw_only=True)
class ValueScore:
    """How well one value is told: errors in its own units; ``r2`` (at most 1) is None where its targets are equal."""

    label: str
    mae: float
    rmse: float
    r2: float | None


def per_label(
    task: Task, answers: Answers, targets: Targets, labels: Sequence[str], thresholds: Thresholds = None
) -> list[LabelScore]:
    """Return the scores of each label, in the order of ``labels``; for single labels, each against all the others.

    A single label is given where it is the most probable, several where they reach ``thresholds`` (0.5 where None).
    Raises ``ValueError`` for no pictures.
    """
    _refuse_none(targets)
    once = np.ones((1, len(targets)))
    agreement = Decisions(task, answers, targets, thresholds).counted(once)
    rankings = [Ranking(column, shows(task, targets, k)) for k, column in enumerate(answers.T)]
    return [
        LabelScore(
            label=label,
            pictures=int(agreement.shown[0, k]),
            precision=_defined(agreement.precision[0, k]),
            recall=_defined(agreement.recall[0, k]),
            f1=_defined(agreement.f1[0, k]),
            auroc=_defined(rankings[k].auroc(once)[0]),
            average_precision=_defined(rankings[k].average_precision(once)[0]),
        )
        for k, label in enumerate(labels)
    ]


def per_value(answers: Answers, targets: NDArray[np.float32], labels: Sequence[str]) -> list[ValueScore]:
    """Return the scores of each value, in the order of ``labels``; raise ``ValueError`` for no pictures."""
    _refuse_none(targets)
    return [_value_score(label, answers[:, [k]], targets[:, [k]]) for k, label in enumerate(labels)]


def _value_score(label: str, answers: Answers, targets: NDArray[np.float32]) -> ValueScore:
    mae, rmse, r2 = (score(name, "regression", answers, targets) for name in ("mae", "rmse", "r2"))
    return ValueScore(label=label, mae=mae, rmse=rmse, r2=_defined(r2))


def _refuse_none(targets: Targets) -> None:
    if not len(targets):
        raise ValueError("scores of no pictures are undefined")


def _defined(value: Values | float) -> float | None:
    return None if np.isnan(value) else float(value)
