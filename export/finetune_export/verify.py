"""Do two models answer alike? The comparison that decides whether an exported file may leave the house.

Shapes: ``N`` pictures, ``K`` labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetune_export.contract import Contract
from finetune_export.errors import ModelError

AT_THRESHOLD = 1e-4
"""How near to its threshold a probability counts as on either side of it."""
SAME_VALUE = 1e-3
"""By how much of their scale two values may differ and still count as the same."""
EXCUSED_STEPS = 2
"""How many steps of float32 two values may lie apart before their difference counts."""

Exact = NDArray[np.float64]
"""Answers as Python has them: a threshold is not to be rounded to float32 before it is compared."""


@dataclass(frozen=True)
class Agreement:
    """How alike two models answered ``compared`` pictures; ``worst`` is the index of the one they differ on most.

    ``agreement`` is the share of pictures (0..1) on which they say the same: the same top-1 label, the same labels
    given, or the same values. ``max_difference`` is the largest of their ``differences``; NaN if any answer is.
    """

    compared: int
    agreement: float
    max_difference: float
    worst: int


def compare(reference: NDArray[np.float32], candidate: NDArray[np.float32], contract: Contract) -> Agreement:
    """Compare two models' answers, each float (N, K), N >= 1, for the same pictures in the same order.

    The contract's task decides when they say the same of a picture:

    - Single labels: they have a top-1 label in common. Where several labels share the highest probability exactly,
      each of them counts as top-1.
    - Several labels: the same ones reach their thresholds. A probability within ``AT_THRESHOLD`` of its threshold
      counts as either.
    - Regression: no value differs by more than ``SAME_VALUE`` of its scale, as ``differences`` counts.

    Raises ``ModelError`` if the shapes differ or do not fit the labels, or nothing is compared.
    """
    wide = len(contract.labels)
    if reference.shape != candidate.shape or reference.shape[1:] != (wide,) or not len(reference):
        raise ModelError(
            f"answers of the shapes {reference.shape} and {candidate.shape} cannot be compared; "
            f"both have to be (pictures, {wide}), with at least one picture"
        )
    first, second = reference.astype(np.float64), candidate.astype(np.float64)
    apart = differences(first, second, contract).max(axis=1)  # (N,)
    same = apart <= SAME_VALUE if contract.scaling else _same_labels(first, second, contract)
    worst = int(apart.argmax())  # the first NaN, if there is one
    agreement = float((same & ~np.isnan(apart)).mean())
    return Agreement(len(reference), agreement, float(apart[worst]), worst)


def differences(first: Exact, second: Exact, contract: Contract) -> Exact:
    """Return by how much answers (..., K) differ: probabilities as they are, values in units of their scale.

    Of the difference of two values, ``EXCUSED_STEPS`` of float32 at the larger one do not count. NaN where either is.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # infinity minus infinity: the NaN is the answer
        apart = np.abs(first - second)
        if contract.scaling:
            # Adding a large offset rounds to the steps that float32 has there, and two sound runtimes may end on
            # neighbouring ones: at 300 kelvin a step is 3e-5, of a scale of 0.1 three times what an export may differ.
            larger = np.maximum(np.abs(first), np.abs(second)).astype(np.float32)
            apart = np.maximum(apart - EXCUSED_STEPS * np.spacing(larger).astype(np.float64), 0)
        return np.asarray(apart / contract.units)


def _same_labels(first: Exact, second: Exact, contract: Contract) -> NDArray[np.bool_]:
    """Return of which pictures two models give the same labels: bool (N,)."""
    if contract.task == "single-label":
        return np.asarray((_is_top(first) & _is_top(second)).any(axis=1))
    thresholds = np.array([contract.threshold_of(label) for label in contract.labels])
    either = _is_near(first, thresholds) | _is_near(second, thresholds)
    return np.asarray((((first >= thresholds) == (second >= thresholds)) | either).all(axis=1))


def _is_top(probabilities: Exact) -> NDArray[np.bool_]:
    """Return where a label has its picture's highest probability, ties included: bool (N, K); nowhere beside a NaN."""
    top: NDArray[np.bool_] = probabilities == probabilities.max(axis=1, keepdims=True)
    return top


def _is_near(probabilities: Exact, thresholds: Exact) -> NDArray[np.bool_]:
    near: NDArray[np.bool_] = np.abs(probabilities - thresholds) <= AT_THRESHOLD
    return near
