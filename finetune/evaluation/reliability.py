"""How often answers are right that are so and so sure, and what they were before a temperature.

Shapes: ``N`` pictures, ``K`` labels. Answers are probabilities float32 (N, K), targets those of
``finetune.data.targets``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax

from finetune.evaluation.calibration import BINS
from finetune.evaluation.decisions import Answers, Targets
from finetune.types import Task


@dataclass(frozen=True, kw_only=True, eq=False)
class Reliability:
    """Of each bin of confidence: how many answers are in it, their mean ``confidence``, and which share is ``right``.

    ``counts`` is int64 (bins,), the others float64 (bins,) between 0 and 1, NaN in a bin that is empty.
    """

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    right: NDArray[np.float64]


def reliability(task: Task, answers: Answers | NDArray[np.float64], targets: Targets, bins: int = BINS) -> Reliability:
    """Return the bins whose gaps ``calibration.expected_calibration_error`` is the mean of.

    A single label's confidence is that of the most probable one; of several labels, each one's probability is held
    against whether the picture shows it, over all labels of all pictures. What is drawn of them is a reliability
    diagram (Niculescu-Mizil and Caruana 2005, "Predicting good probabilities with supervised learning").
    """
    confidence, right = answers.astype(np.float64), np.asarray(targets, dtype=np.float64)
    if task == "single-label":
        confidence, right = confidence.max(axis=1), (answers.argmax(axis=1) == targets).astype(np.float64)
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1).ravel()
    counts = np.bincount(bin_of, minlength=bins)
    return Reliability(
        counts=counts.astype(np.int64),
        confidence=_means(confidence, bin_of, counts),
        right=_means(right, bin_of, counts),
    )


def _means(values: NDArray[Any], bin_of: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    sums = np.bincount(bin_of, weights=values.ravel(), minlength=len(counts))
    return np.asarray(np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0))


def without_temperature(task: Task, answers: Answers, temperature: float) -> NDArray[np.float64]:
    """Return what the answers, float64 (N, K), were had the logits not been divided by a temperature.

    The softmax of logits is that of their logarithmic probabilities, which differ from them by a constant: so of
    answers p at temperature T it is softmax(T · log p), and for several labels sigmoid(T · logit(p)).
    """
    with np.errstate(divide="ignore"):  # a probability of 0 stays 0
        if task == "single-label":
            return np.asarray(softmax(temperature * np.log(answers.astype(np.float64)), axis=1))
        return np.asarray(expit(temperature * logit(answers.astype(np.float64))))
