"""Where answers are wrong: which labels are taken for which others, and which pictures the model is worst at.

Shapes: ``N`` pictures, ``K`` labels. Answers and targets are those of ``finetune.evaluation.metrics``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from finetune.evaluation.decisions import Answers, Targets, Thresholds, reached
from finetune.types import Task

_LEAST_PROBABILITY = float(np.finfo(np.float32).eps)


class Pair(NamedTuple):
    """Two labels by their indices, and how many pictures of the first were given the second."""

    truth: int
    answer: int
    pictures: int


def confusion(answers: Answers, targets: Targets) -> NDArray[np.int64]:
    """Return how many pictures of each label were given each label: int64 (K, K), rows are what they show."""
    labels = answers.shape[1]
    cells = targets * labels + answers.argmax(axis=1)
    return np.bincount(cells, minlength=labels**2).reshape(labels, labels).astype(np.int64)


def confused_pairs(answers: Answers, targets: Targets) -> list[Pair]:
    """Return which labels were taken for which others, most pictures first, without those that never were.

    It needs memory for the mistakes alone, so that a thousand labels are no matter.
    """
    said = answers.argmax(axis=1)
    wrong = said != targets
    pairs, counts = np.unique(np.stack([targets[wrong], said[wrong]], axis=1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [Pair(int(pairs[at, 0]), int(pairs[at, 1]), int(counts[at])) for at in order]


def right(task: Task, answers: Answers, targets: Targets, thresholds: Thresholds = None) -> NDArray[np.bool_]:
    """Return which pictures were given their label, or exactly their labels: bool (N,).

    ``thresholds`` (K,) decide several labels, as in ``reached``. Values are near or far, and never right.
    """
    if task == "single-label":
        return np.asarray(answers.argmax(axis=1) == targets)
    if task == "multi-label":
        return np.asarray((reached(answers, thresholds) == (targets > 0)).all(axis=1))
    return np.zeros(len(targets), dtype=np.bool_)


def losses(task: Task, answers: Answers, targets: Targets) -> NDArray[np.float64]:
    """Return the loss of each picture, float64 (N,): how far the answer is from what is right.

    The negative log-likelihood of probabilities, a mean over labels where there may be several; for values the mean
    absolute error in units of each value's standard deviation among these pictures, so that all values weigh alike.
    """
    if task == "regression":
        deviations = targets.std(axis=0, dtype=np.float64)
        errors = np.abs(answers.astype(np.float64) - targets)
        return np.asarray((errors / np.where(deviations > 0, deviations, 1.0)).mean(axis=1))
    likely = np.clip(answers.astype(np.float64), _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    if task == "single-label":
        return np.asarray(-np.log(likely[np.arange(len(likely)), targets]))
    return np.asarray(-np.log(np.where(targets > 0, likely, 1 - likely)).mean(axis=1))
