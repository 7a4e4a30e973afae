"""The validation pictures that two runs have in common, known by their content, with what both answered to them.

Shapes: ``N`` pictures in common, ``K`` labels.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetune.data.targets import Targets
from finetune.evaluation.decisions import Answers, Thresholds
from finetune.evaluation.mistakes import right
from finetune.report.answers import thresholds_of
from finetune.types import RunRecords


@dataclass(frozen=True, kw_only=True)
class Matched:
    """What two runs answered to the same pictures, labels in the first's order.

    ``first_places`` and ``other_places``, int64 (N,), say which of its validation pictures each is to both runs;
    answers are float32 (N, K), targets those of ``finetune.data.targets``. ``labelled_otherwise`` are pictures that
    both validate on and that show something else to each. ``whole`` says whether neither has any other picture.
    """

    first: RunRecords
    other: RunRecords
    first_places: NDArray[np.int64]
    other_places: NDArray[np.int64]
    first_answers: Answers
    other_answers: Answers
    targets: Targets
    labelled_otherwise: int

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def whole(self) -> bool:
        """Whether neither run has validation pictures beside these."""
        return len(self) == len(self.first.paths) == len(self.other.paths)

    def thresholds(self, at: int) -> Thresholds:
        """Return what decides several labels, float64 (K,), of the first run (0) or the other (1); else None."""
        return thresholds_of((self.first, self.other)[at], self.first.labels)

    def right(self, at: int) -> NDArray[np.bool_]:
        """Return which pictures the first run (0) or the other (1) is right about: bool (N,)."""
        answers = (self.first_answers, self.other_answers)[at]
        return right(self.first.task, answers, self.targets, self.thresholds(at))


def matched(first: RunRecords, other: RunRecords) -> Matched:
    """Return what two runs of the same task and labels answered to the same pictures that show the same.

    Copies of a picture are matched one by one.
    """
    order = [other.labels.index(label) for label in first.labels]
    hashes, shown = _hashes(other), _targets_in(order, other)
    waiting: dict[tuple[str, bytes], list[int]] = defaultdict(list)
    for place in reversed(range(len(hashes))):
        waiting[hashes[place], shown[place].tobytes()].append(place)
    pairs, alone = [], []
    for place, sha256 in enumerate(_hashes(first)):
        same = waiting[sha256, first.targets[place].tobytes()]
        pairs.append((place, same.pop())) if same else alone.append(sha256)
    left = {sha256 for (sha256, _), places in waiting.items() if places}
    return _matched(first, other, order, pairs, sum(sha256 in left for sha256 in alone))


def _matched(
    first: RunRecords, other: RunRecords, order: list[int], pairs: list[tuple[int, int]], labelled_otherwise: int
) -> Matched:
    places = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Matched(
        first=first,
        other=other,
        first_places=places[:, 0],
        other_places=places[:, 1],
        first_answers=first.answers[places[:, 0]],
        other_answers=other.answers[places[:, 1]][:, order],
        targets=first.targets[places[:, 0]],
        labelled_otherwise=labelled_otherwise,
    )


def _hashes(records: RunRecords) -> list[str]:
    return [row["sha256"] for row in records.split if row["part"] == "valid"]


def _targets_in(order: list[int], records: RunRecords) -> Targets:
    """Return a run's targets with the labels in another order: ``order`` holds, for each, its number in the run."""
    if records.task == "single-label":
        return np.argsort(order)[records.targets]
    return np.ascontiguousarray(records.targets[:, order])
