"""Do two models answer alike? The comparison that decides whether an exported file may leave the house.

Shapes: ``N`` pictures, ``K`` labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetune_export.errors import ModelError


@dataclass(frozen=True)
class Tolerance:
    """What still counts as alike: the share of equal top-1 labels, and the largest difference of a probability."""

    min_agreement: float = 1.0
    max_difference: float = 1e-4


@dataclass(frozen=True)
class Agreement:
    """How alike two models answered ``compared`` pictures; ``worst`` is the index of the one they differ on most.

    ``agreement`` is the share of pictures with the same top-1 label. ``max_difference`` is NaN if any answer is.
    """

    compared: int
    agreement: float
    max_difference: float
    worst: int

    def within(self, tolerance: Tolerance) -> bool:
        """Return whether the models are alike enough; never with a NaN among the answers."""
        return self.agreement >= tolerance.min_agreement and self.max_difference <= tolerance.max_difference


def compare(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> Agreement:
    """Compare two models' probabilities, each float (N, K), N >= 1, for the same pictures in the same order.

    Where several labels share the highest probability exactly, each of them counts as top-1: two models agree on a
    picture when they have a top-1 label in common. Raises ``ModelError`` if the shapes differ or nothing is compared.
    """
    if reference.shape != candidate.shape or reference.ndim != 2 or reference.size == 0:
        raise ModelError(
            f"answers of the shapes {reference.shape} and {candidate.shape} cannot be compared; "
            "both have to be (pictures, labels), with at least one of each"
        )
    with np.errstate(invalid="ignore"):  # infinity minus infinity: the NaN is the answer
        differences = np.abs(reference.astype(np.float64) - candidate).max(axis=1)  # (N,)
    same = (_is_top(reference) & _is_top(candidate)).any(axis=1)  # (N,)
    worst = int(differences.argmax())  # the first NaN, if there is one
    return Agreement(len(reference), float(same.mean()), float(differences[worst]), worst)


def _is_top(probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where a label has its picture's highest probability, ties included: bool (N, K); nowhere beside a NaN."""
    top: NDArray[np.bool_] = probabilities == probabilities.max(axis=1, keepdims=True)
    return top
