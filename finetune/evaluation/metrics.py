"""Metrics over probabilities float32 (N, K) and targets int64 (N,)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def accuracy(probabilities: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """Return the share (0..1) of pictures whose most probable class is the target; raise ValueError for none."""
    if len(targets) == 0:
        raise ValueError("accuracy of no pictures is undefined")
    return float((probabilities.argmax(axis=1) == targets).mean())
