"""The search for a learning rate: the loss while the rate grows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from finetune.charts.style import Drawing, Theme, add_legend, blank, finite, refuse_nothing, style

if TYPE_CHECKING:
    from finetune.types import RateCurve


def rate_curve(curve: RateCurve, used: float | None = None) -> Drawing:
    """Return the loss over the learning rate, with the suggested rate and, where it is another, the one ``used``.

    Raises ``ValueError`` where no loss is finite.
    """
    rates, losses = finite(curve.rates), finite(curve.losses)
    there = np.isfinite(losses) & (rates > 0)
    refuse_nothing(there.any(), "losses")
    rates, losses = rates[there], losses[there]

    def draw(theme: Theme) -> Figure:
        figure = blank(theme, 3.0)
        axes = figure.subplots()
        axes.plot(rates, losses, color=theme.first, lw=2)
        nearest = losses[np.abs(np.log(rates / curve.suggestion)).argmin()]
        axes.plot(curve.suggestion, nearest, "o", color=theme.second, ms=8, label=f"suggested: {curve.suggestion:.2g}")
        if used is not None and not math.isclose(used, curve.suggestion, rel_tol=1e-3):
            axes.axvline(used, color=theme.third, ls="--", lw=1.6, label=f"used: {used:.2g}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="smoothed loss")
        style(axes, theme)
        add_legend(axes, theme)
        return figure

    return Drawing(draw)
