"""Predicted values over true ones, and how far they are off."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from finetune.charts.style import Drawing, Theme, blank, finite, refuse_nothing, style, whole

MOST_OPAQUE = 300
"""Points up to which each one is drawn in full."""


def fit(true: NDArray[Any], predicted: NDArray[Any]) -> Drawing:
    """Return the predicted over the true values of one kind, (N,) each, and how the errors are distributed.

    Raises ``ValueError`` where no pair is finite.
    """
    pairs = finite(np.stack([true, predicted]))
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    refuse_nothing(pairs.size, "values")

    def draw(theme: Theme) -> Figure:
        figure = blank(theme, 2.6)
        left, right = figure.subplots(1, 2)
        _draw_pairs(left, pairs, theme)
        _draw_errors(right, pairs[1] - pairs[0], theme)
        return figure

    return Drawing(draw)


def _draw_pairs(axes: Any, pairs: NDArray[np.float64], theme: Theme) -> None:
    opacity = max(0.08, min(0.8, MOST_OPAQUE / pairs.shape[1]))
    axes.scatter(*pairs, s=14, color=theme.first, alpha=opacity, linewidths=0)
    low, high = pairs.min(), pairs.max()
    margin = 0.05 * (high - low) or 0.5 * max(1.0, abs(low))
    ends = (low - margin, high + margin)
    axes.plot(ends, ends, color=theme.quiet, ls=":", lw=1.2)
    axes.set(xlabel="true", ylabel="predicted", xlim=ends, ylim=ends, box_aspect=1)
    style(axes, theme)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=4))


def _draw_errors(axes: Any, errors: NDArray[np.float64], theme: Theme) -> None:
    axes.hist(errors, bins=min(40, max(5, int(np.sqrt(len(errors))))), color=theme.first)
    axes.axvline(0, color=theme.ink, ls=":", lw=1.2)
    axes.set(xlabel="predicted less true", ylabel="pictures", box_aspect=1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.yaxis.set_major_locator(whole())
    style(axes, theme)
