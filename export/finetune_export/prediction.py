"""The answer for one picture, in the form that the model's task gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from finetune_export.contract import Contract, Task


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture: ``answers`` in the order of ``labels``; ``source`` names the picture.

    The answers are probabilities of the labels, or for regression values in their own units, of which the labels are
    the names. ``given`` is what the model says: of single labels the most probable one; of several labels those that
    reach their threshold, most probable first, possibly none; none for regression. Where ``abstains`` is true, the
    single label's probability is below its threshold: the model would rather not say.
    """

    source: str
    task: Task
    labels: tuple[str, ...]
    answers: tuple[float, ...]
    given: tuple[str, ...]
    abstains: bool = False

    @classmethod
    def of(cls, source: str, answers: NDArray[np.float32], contract: Contract) -> Self:
        """Return what a model's answers for one picture, float32 (K,), mean under its contract."""
        row, labels = tuple(answers.tolist()), contract.labels
        if contract.task == "regression":
            return cls(source, contract.task, labels, row, ())
        if contract.task == "multi-label":
            ranked = _ranked(labels, row)
            given = tuple(label for label, probability in ranked if probability >= contract.threshold_of(label))
            return cls(source, contract.task, labels, row, given)
        best = row.index(max(row))
        abstains = row[best] < contract.threshold_of(labels[best])
        return cls(source, contract.task, labels, row, (labels[best],), abstains)

    @property
    def label(self) -> str:
        """The most probable label, the first of equals; raises ``ValueError`` for regression."""
        return self.labels[self.answers.index(self.probability)]

    @property
    def probability(self) -> float:
        """The highest probability, 0..1; raises ``ValueError`` for regression."""
        self._expect_probabilities()
        return max(self.answers)

    @property
    def values(self) -> dict[str, float]:
        """The values by their names, in their own units; raises ``ValueError`` where the answers are probabilities."""
        if self.task != "regression":
            raise ValueError(f"a {self.task} prediction has no values; it has label, probability, given and top(k)")
        return dict(zip(self.labels, self.answers, strict=True))

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the ``k`` most probable labels with their probabilities, best first; equals in the labels' order.

        Raises ``ValueError`` for ``k`` below 1, and for regression.
        """
        self._expect_probabilities()
        if k < 1:
            raise ValueError(f"k: {k} is not allowed; it has to be at least 1")
        return _ranked(self.labels, self.answers)[:k]

    def _expect_probabilities(self) -> None:
        if self.task == "regression":
            raise ValueError("a regression prediction has no labels with probabilities; it has values")


def _ranked(labels: tuple[str, ...], probabilities: tuple[float, ...]) -> list[tuple[str, float]]:
    return sorted(zip(labels, probabilities, strict=True), key=lambda pair: -pair[1])
