"""How far confidence can be trusted: what share of answers is right, over how sure they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from finetune.charts.style import Drawing, Theme, add_legend, blank, refuse_nothing, style, whole

if TYPE_CHECKING:
    from finetune.evaluation.reliability import Reliability

MOST_UNEVEN = 50
"""From so many times as many answers in the fullest bin as in the median one, counts are drawn as logarithms."""


def reliability_diagram(answered: Reliability, before: Reliability | None = None) -> Drawing:
    """Return how often answers of each confidence are right, and how many there are; ``before`` without temperature.

    On the diagonal confidence is what it says. Raises ``ValueError`` where there are no answers.
    """
    refuse_nothing(answered.counts.sum(), "answers")

    def draw(theme: Theme) -> Figure:
        figure = blank(theme, 5.6)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.plot([0, 1], [0, 1], color=theme.quiet, ls=":", lw=1.2, label="as right as it is sure")
        if before is not None:
            _draw_bins(top, bottom, before, theme.second, "s--", "without temperature")
        _draw_bins(top, bottom, answered, theme.first, "o-", "as answered")
        _scale(top, bottom, answered.counts)
        for axes in (top, bottom):
            style(axes, theme)
        add_legend(top, theme)
        return figure

    return Drawing(draw)


def _scale(top: Any, bottom: Any, counts: NDArray[np.int64]) -> None:
    """Say what is on the axes; where one bin has almost all answers, the others can still be seen."""
    top.set(ylabel="share that is right", xlim=(-0.02, 1.02), ylim=(-0.03, 1.03))
    bottom.set(xlabel="confidence", ylabel="answers", ylim=(0, None))
    if counts.max() > MOST_UNEVEN * np.median(counts[counts > 0]):
        bottom.set(yscale="log", ylim=(0.5, None))
    else:
        bottom.yaxis.set_major_locator(whole())
    for axis in (top.xaxis, bottom.xaxis, top.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))


def _draw_bins(top: Any, bottom: Any, found: Reliability, colour: str, form: str, label: str) -> None:
    """Draw one line of dots, the larger the more answers, and below it how many there are."""
    there = found.counts > 0
    top.plot(found.confidence[there], found.right[there], form[1:], color=colour, lw=1.2, alpha=0.5)
    sizes = 10 + 110 * np.sqrt(found.counts[there] / found.counts.max())
    top.scatter(found.confidence[there], found.right[there], s=sizes, marker=form[0], color=colour, label=label)
    edges = np.linspace(0, 1, len(found.counts) + 1)
    bottom.stairs(found.counts, edges, color=colour, ls=form[1:], lw=1.6, fill=False)
