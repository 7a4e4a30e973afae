"""How training went: losses and the monitored metric over the epochs, and how the learning rate was found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from finetune.report.wording import UNDEFINED, counted, value_of
from finetune.types import Block, Figure, Paragraph, RunRecords


class _Epoch(NamedTuple):
    phase: str
    train_loss: float
    valid_loss: float
    score: float


def curves(records: RunRecords) -> Iterator[Block]:
    """Show losses and the monitored metric over the epochs, and the search for a rate; nothing without either."""
    monitor = records.result.monitor
    epochs = [
        _Epoch(row["phase"], float(row["train_loss"]), float(row["valid_loss"]), float(row[monitor]))
        for row in records.history
    ]
    if epochs:
        yield from _learning(records, epochs)
    if records.rate_curve:
        yield from _rates(records)


# ── epochs ──────────────────────────────────────────────────────────────────────────────────────────


def _learning(records: RunRecords, epochs: Sequence[_Epoch]) -> Iterator[Block]:
    from finetune.charts import learning_curve

    monitor, kept = records.result.monitor, _kept(records, epochs)
    if kept is not None:
        phase = epochs[kept].phase
        yield Paragraph(f"The weights after epoch {kept + 1} of {len(epochs)} were kept, of phase '{phase}'.")
    if not any(math.isfinite(epoch.score) for epoch in epochs):
        yield Paragraph(f"{monitor} was undefined after every epoch.")
    try:
        drawn = learning_curve(epochs, monitor, monitor in records.shares, kept)
    except ValueError:
        yield Paragraph("No loss was a finite number, so there is no curve to draw.")
        return
    yield Figure(drawn.light, _described(records, epochs), drawn.dark)


def _kept(records: RunRecords, epochs: Sequence[_Epoch]) -> int | None:
    """Return which epoch's weights were kept; None where an average of several was, or the metric was undefined."""
    result = records.result
    reached = result.phases.get(result.kept, math.nan)
    equal = [number for number, epoch in enumerate(epochs) if epoch.phase == result.kept and epoch.score == reached]
    return min(equal, key=lambda number: epochs[number].valid_loss, default=None)


def _described(records: RunRecords, epochs: Sequence[_Epoch]) -> str:
    last, monitor = epochs[-1], records.result.monitor
    ends = (*(_loss(loss) for loss in (last.train_loss, last.valid_loss)), value_of(records, monitor, last.score))
    return (
        f"Training loss, validation loss and validation {monitor} over {counted(len(epochs), 'epoch')}, which end at "
        f"{ends[0]}, {ends[1]} and {ends[2]}. Phases: {', '.join(_phases(epochs))}."
    )


def _phases(epochs: Sequence[_Epoch]) -> Iterator[str]:
    begin = 0
    for name, group in groupby(epochs, key=lambda epoch: epoch.phase):
        end = begin + len(list(group))
        yield f"{name}, epoch {end}" if end == begin + 1 else f"{name}, epochs {begin + 1} to {end}"
        begin = end


def _loss(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else UNDEFINED


# ── learning rates ──────────────────────────────────────────────────────────────────────────────────


def _rates(records: RunRecords) -> Iterator[Block]:
    from finetune.charts import rate_curve

    curve, asked = records.rate_curve, records.options.get("lr", "find")
    assert curve is not None, "asked for where there is one"
    used = curve.suggestion if asked == "find" else float(asked)
    yield Paragraph(
        f"To see which learning rate suits the head, it was raised step by step until the loss rose. Fastai's rule "
        f"'valley' suggests {curve.suggestion:.2g}; the head was trained with {used:.2g}."
    )
    try:
        drawn = rate_curve(curve, used)
    except ValueError:
        yield Paragraph("No loss was a finite number, so there is no curve to draw.")
        return
    said = f"The loss over learning rates from {curve.rates[0]:.1g} to {curve.rates[-1]:.1g}"
    yield Figure(drawn.light, f"{said}; {curve.suggestion:.2g} is suggested, {used:.2g} was used.", drawn.dark)
