"""The curves of a run as PNG files; drawn with matplotlib's objects, so no window and no global state is touched."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

if TYPE_CHECKING:
    from finetune.training.history import Epoch
    from finetune.types import RateCurve

TRAIN_COLOUR, VALID_COLOUR, SCORE_COLOUR = "#4C72B0", "#DD8452", "#2E8B57"


def learning_curve(history: Sequence[Epoch], monitor: str, is_share: bool = False) -> bytes:
    """Return a PNG with the losses and the monitored metric, a share in percent, over all epochs, phases marked."""
    figure = Figure(figsize=(9, 3.6), dpi=110, layout="constrained")
    losses, scores = figure.subplots(1, 2)
    epochs = range(1, len(history) + 1)
    losses.plot(epochs, [epoch.train_loss for epoch in history], "o-", color=TRAIN_COLOUR, label="training")
    losses.plot(epochs, [epoch.valid_loss for epoch in history], "o-", color=VALID_COLOUR, label="validation")
    losses.set(ylabel="loss", ylim=(0, None))
    losses.legend(frameon=False)
    scores.plot(epochs, [epoch.score for epoch in history], "o-", color=SCORE_COLOUR)
    scores.set(ylabel=f"validation {monitor}")
    if is_share:
        scores.set(ylim=(0, 1.02))
        scores.yaxis.set_major_formatter(PercentFormatter(1.0))
    for axes in (losses, scores):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _mark_phases(axes, history)
    return _png(figure)


def _mark_phases(axes: Any, history: Sequence[Epoch]) -> None:
    start = 0.5
    for name, epochs in groupby(history, key=lambda epoch: epoch.phase):
        length = len(list(epochs))
        if start > 1:
            axes.axvline(start, color="grey", linestyle="--", linewidth=0.8)
        axes.annotate(
            name, (start + length / 2, 1.01), xycoords=("data", "axes fraction"), ha="center", fontsize=8, color="grey"
        )
        start += length
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(0.5, len(history) + 0.5)


def rate_curve(curve: RateCurve) -> bytes:
    """Return a PNG with the loss over the learning rate and the suggested rate marked."""
    figure = Figure(figsize=(6, 3.8), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.plot(curve.rates, curve.losses, color=TRAIN_COLOUR)
    nearest = min(range(len(curve.rates)), key=lambda index: abs(curve.rates[index] - curve.suggestion))
    axes.plot(
        curve.suggestion, curve.losses[nearest], "o", color=VALID_COLOUR, label=f"suggested: {curve.suggestion:.2g}"
    )
    axes.set(xscale="log", xlabel="learning rate", ylabel="smoothed loss")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
