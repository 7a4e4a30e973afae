"""The chart that the page begins with: the model's score and its interval, above what it is held against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from finetune.charts.style import LETTERS_PT, LONGEST_NAME, Drawing, Theme, blank, short, style
from finetune.evaluation.catalogue import shown

RUNG_IN = 0.34


class Rung(NamedTuple):
    """One score: its ``name``, its ``value``, both ends of its 95 % ``interval`` where it has one, and whose it is."""

    name: str
    value: float
    interval: tuple[float, float] | None = None
    is_model: bool = False


def standings(rungs: Sequence[Rung], metric: str, is_share: bool) -> Drawing:
    """Return scores as dots on one axis, the first on top, with their intervals as lines and their values as texts.

    A share is read in percent, and its axis ends at 1. Raises ``ValueError`` where there is no score.
    """
    if not rungs:
        raise ValueError("a chart needs scores that are finite")

    def draw(theme: Theme) -> Figure:
        figure = blank(theme, 0.75 + RUNG_IN * len(rungs))
        axes = figure.subplots()
        for at, rung in enumerate(rungs):
            _draw(axes, at, rung, is_share, theme)
        _scale(axes, rungs, metric, is_share, theme)
        return figure

    return Drawing(draw)


def _draw(axes: Any, at: int, rung: Rung, is_share: bool, theme: Theme) -> None:
    colour = theme.first if rung.is_model else theme.quiet
    end = rung.value
    if rung.interval and np.isfinite(rung.interval).all():
        axes.plot(rung.interval, (at, at), color=colour, lw=3, alpha=0.5, solid_capstyle="round")
        end = max(end, rung.interval[1])
    axes.plot(rung.value, at, "o" if rung.is_model else "s", color=colour, ms=8 if rung.is_model else 6)
    weight = "bold" if rung.is_model else "normal"
    place = {"xytext": (9, 0), "textcoords": "offset points", "va": "center", "annotation_clip": False}
    said = shown(rung.value, is_share)
    axes.annotate(said, (end, at), color=theme.ink, fontsize=LETTERS_PT, weight=weight, **place)


def _scale(axes: Any, rungs: Sequence[Rung], metric: str, is_share: bool, theme: Theme) -> None:
    style(axes, theme)
    axes.set_yticks(range(len(rungs)), [short(rung.name, LONGEST_NAME) for rung in rungs], parse_math=False)
    axes.set_ylim(len(rungs) - 0.5, -0.5)
    axes.set_xlabel(metric[:LONGEST_NAME], parse_math=False)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    if is_share:
        axes.set_xlim(0, 1.16)  # the values of what is nearly perfect have room on the right
        axes.set_xticks(np.linspace(0, 1, 6))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    else:
        axes.margins(x=0.2)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
