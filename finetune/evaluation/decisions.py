"""Answers as decisions: which pictures were given which labels, which show them, and how often the two agree.

Shapes: ``N`` pictures, ``K`` labels, ``R`` ways to count the pictures. Answers are probabilities float32 (N, K);
targets are those of ``finetune.data.targets``. Counts are float64 (R, N): how often each picture counts, which is once
for a score and differs from one resample of a bootstrap to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from finetune.types import Task
from finetune_export.contract import DEFAULT_THRESHOLD

Answers = NDArray[np.float32]
Targets = NDArray[Any]
Counts = NDArray[np.float64]
Values = NDArray[np.float64]
Thresholds = Sequence[float] | NDArray[np.float64] | None


def reached(answers: Answers, thresholds: Thresholds) -> NDArray[np.bool_]:
    """Return which of several labels reach their thresholds (K,), ``DEFAULT_THRESHOLD`` where None: (N, K)."""
    return np.asarray(answers >= (DEFAULT_THRESHOLD if thresholds is None else np.asarray(thresholds)))


def shows(task: Task, targets: Targets, label: int) -> NDArray[np.bool_]:
    """Return which pictures show a label: (N,)."""
    return np.asarray(targets == label if task == "single-label" else targets[:, label] > 0)


def ratio(part: Values, whole: Values) -> Values:
    """Return part / whole, and NaN where the whole is 0 or less."""
    found: Values = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return found


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How many pictures were given a label, show it, and both: float64 (R, K) each.

    What has nothing to be measured on is NaN: the precision of a label that was given to no picture, the recall of one
    that no picture shows, the F1 of one that is both.
    """

    given: Values
    shown: Values
    both: Values

    @property
    def precision(self) -> Values:
        """The share (0..1) of the pictures given a label that show it: (R, K)."""
        return ratio(self.both, self.given)

    @property
    def recall(self) -> Values:
        """The share (0..1) of the pictures that show a label that were given it: (R, K)."""
        return ratio(self.both, self.shown)

    @property
    def f1(self) -> Values:
        """The harmonic mean (0..1) of precision and recall; 0 for a label that is only given or only shown: (R, K)."""
        return ratio(2 * self.both, self.given + self.shown)


class Decisions:
    """Which label each picture was given and shows: the most probable one, or each that reaches its threshold."""

    def __init__(self, task: Task, answers: Answers, targets: Targets, thresholds: Thresholds = None) -> None:
        if task == "single-label":
            self._given = _one_each(answers.argmax(axis=1), answers.shape)
            self._shown = _one_each(targets, answers.shape)
        else:
            self._given = csr_array(reached(answers, thresholds).astype(np.float64))
            self._shown = csr_array((targets > 0).astype(np.float64))
        self._both = self._given.multiply(self._shown)

    def counted(self, counts: Counts) -> Agreement:
        """Return how often decisions and targets agree, each picture counted as ``counts`` (R, N) say."""
        return Agreement(given=counts @ self._given, shown=counts @ self._shown, both=counts @ self._both)


def _one_each(labels: NDArray[np.int64], shape: tuple[int, ...]) -> Any:
    return csr_array((np.ones(len(labels)), (np.arange(len(labels)), labels)), shape=shape)
