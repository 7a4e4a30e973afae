"""The answers to the validation pictures as they can be counted with: those that are numbers, what decides them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from finetune.evaluation.decisions import Thresholds
from finetune.report.wording import counted
from finetune.types import Block, Paragraph, RunRecords


class Finite(NamedTuple):
    """Answers float32 (N, K) that are finite numbers, and their targets; ``notes`` say how many others there are."""

    answers: NDArray[np.float32]
    targets: NDArray[Any]
    notes: tuple[Block, ...]


def finite_of(records: RunRecords) -> Finite:
    """Return the validation pictures' answers that can be counted with, and what to say where there are others.

    Of a network that has lost its way, some may be none.
    """
    if not len(records.answers):
        return Finite(records.answers, records.targets, (Paragraph("There are no validation pictures."),))
    there = np.asarray(np.isfinite(records.answers).all(axis=1))
    others = int((~there).sum())
    said = f"{counted(others)} got answers that are no finite numbers, and are left out here."
    return Finite(records.answers[there], records.targets[there], (Paragraph(said),) if others else ())


def thresholds_of(records: RunRecords, labels: Sequence[str] = ()) -> Thresholds:
    """Return what decides several labels, float64 (K,), in the order of ``labels`` or of the run's; None elsewhere."""
    if records.task != "multi-label":
        return None
    return np.array([records.contract.threshold_of(label) for label in labels or records.labels])
