"""Answers that are right about as often as they say, with the targets that they are held against."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

Answers = NDArray[np.float32]
Logits = NDArray[np.float64]


def single(pictures: int = 200, labels: int = 8, *, seed: int = 0, spread: float = 2) -> tuple[Answers, Any]:
    """Return single labels that were drawn from the very probabilities that are answered: perfect calibration."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(pictures, labels)) * spread
    targets = (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)  # a draw from the softmax
    return softmax(logits, axis=1).astype(np.float32), targets


def several(pictures: int = 200, labels: int = 8, *, seed: int = 0, spread: float = 2) -> tuple[Answers, Any]:
    """Return several labels, each drawn with the probability that is answered."""
    generator = np.random.default_rng(seed)
    answers = expit(generator.normal(size=(pictures, labels)) * spread - 1).astype(np.float32)
    return answers, (generator.random(answers.shape) < answers).astype(np.float32)


def values(pictures: int = 200, labels: int = 3, *, seed: int = 0, spread: float = 0.5) -> tuple[Answers, Any]:
    """Return values between -3 and 3, more or less, and answers that are off by ``spread``."""
    generator = np.random.default_rng(seed)
    targets = generator.normal(size=(pictures, labels)).astype(np.float32)
    return (targets + generator.normal(size=targets.shape) * spread).astype(np.float32), targets


EXAMPLES = {"single-label": single, "multi-label": several, "regression": values}
