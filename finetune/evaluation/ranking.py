"""How well a label's probability ranks the pictures that show it before those that do not.

Shapes: ``N`` pictures, ``R`` ways to count them; counts are float64 (R, N), see ``finetune.evaluation.decisions``.
The definitions are scikit-learn's ``roc_auc_score`` and ``average_precision_score`` with ``sample_weight``. Those sort
anew for every resample of a bootstrap; here, a label is sorted once for all of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from finetune.evaluation.decisions import Counts, Values, ratio

Rows = NDArray[np.intp]


class Ranking:
    """The pictures from the most probable to the least; those of equal probability share a place."""

    def __init__(self, probabilities: NDArray[np.float32], shown: NDArray[np.bool_]) -> None:
        """Rank the pictures by the probability of one label, float32 (N,), which ``shown`` (N,) of them show."""
        self._order = np.argsort(-probabilities, kind="stable")
        self._shown = shown[self._order]
        new_place = np.diff(probabilities[self._order], prepend=np.inf) != 0
        starts = np.flatnonzero(new_place)
        place = np.cumsum(new_place)[self._shown] - 1  # of the pictures that show it
        self._starts: Rows = starts[place]
        self._ends: Rows = np.append(starts[1:], len(shown))[place]

    def auroc(self, counts: Counts) -> Values:
        """Return the area under the ROC curve (0..1), (R,); NaN where all pictures show the label, or none."""
        counts = counts[:, self._order]
        others = _running(np.where(self._shown, 0, counts))
        before = (others[:, self._starts] + others[:, self._ends]) / 2  # those of the same place count half
        total = others[:, -1]
        right = counts[:, self._shown]
        wins = (right * (total[:, None] - before)).sum(axis=1)
        return ratio(wins, right.sum(axis=1) * total)

    def average_precision(self, counts: Counts) -> Values:
        """Return the mean of the precision at each picture that shows the label (0..1), (R,); NaN where none does."""
        counts = counts[:, self._order]
        right = counts[:, self._shown]
        shown = _running(np.where(self._shown, counts, 0))[:, self._ends]
        precision = np.nan_to_num(ratio(shown, _running(counts)[:, self._ends]))  # 0 of 0: in front of all that count
        return ratio((right * precision).sum(axis=1), right.sum(axis=1))


def _running(counts: Counts) -> Values:
    """Return the sum before each picture and, last, of all: (R, N) to (R, N + 1)."""
    sums: Values = np.cumsum(np.pad(counts, ((0, 0), (1, 0))), axis=1)
    return sums
