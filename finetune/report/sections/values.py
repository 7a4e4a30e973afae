"""How near the values of a regression are to the true ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from finetune.report.answers import Finite, finite_of
from finetune.types import Block, Figure, Paragraph, RunRecords, Table

MOST_DRAWN = 6
"""Values that are drawn; the table has them all."""


def values(records: RunRecords) -> Iterator[Block]:
    """Draw predicted over true values, and how the errors are distributed; nothing for other tasks."""
    if records.task != "regression":
        return
    found = finite_of(records)
    yield from found.notes
    if not len(found.targets):
        return
    errors = found.answers.astype(np.float64) - found.targets
    rows = tuple(_row(label, found.targets[:, k], errors[:, k]) for k, label in enumerate(records.labels))
    header = ("value", "lowest", "highest", "error on average", "half are off by at most", "nine of ten by at most")
    yield Table(header, rows, "True values of the validation pictures, and how far the predicted ones are off")
    for number, label in enumerate(records.labels[:MOST_DRAWN]):
        yield from _drawn(label, found, number)
    if len(records.labels) > MOST_DRAWN:
        yield Paragraph(f"The first {MOST_DRAWN} of {len(records.labels):,} values are drawn.")


def _row(label: str, true: NDArray[np.float32], errors: NDArray[np.float64]) -> tuple[str, ...]:
    half, most = np.quantile(np.abs(errors), (0.5, 0.9))
    numbers = (true.min(), true.max(), errors.mean(), half, most)
    return (label, *(f"{number:.4g}" for number in numbers))


def _drawn(label: str, found: Finite, number: int) -> Iterator[Block]:
    from finetune.charts import fit

    drawn = fit(found.targets[:, number], found.answers[:, number])
    yield Paragraph(f"{label}: predicted over true values, exact on the diagonal; and how far they are off.")
    yield Figure(drawn.light, f"Predicted over true values of {label}, and their differences.", drawn.dark)
