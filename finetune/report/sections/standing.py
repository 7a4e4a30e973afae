"""The chart that the page begins with: the model's score and its interval, above what it is held against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from finetune.charts import DPI, LETTERS_PT, LONGEST_NAME, WIDTH_IN, Drawing, Theme
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
        height = 0.75 + RUNG_IN * len(rungs)
        figure = Figure((WIDTH_IN, height), DPI, facecolor=theme.paper, layout="constrained")
        axes = figure.subplots()
        for at, rung in enumerate(rungs):
            _draw(axes, at, rung, is_share, theme)
        _style(axes, rungs, metric, is_share, theme)
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


def _style(axes: Any, rungs: Sequence[Rung], metric: str, is_share: bool, theme: Theme) -> None:
    names = [rung.name if len(rung.name) <= LONGEST_NAME else rung.name[: LONGEST_NAME - 1] + "…" for rung in rungs]
    axes.set_yticks(range(len(rungs)), names, parse_math=False)
    axes.set_ylim(len(rungs) - 0.5, -0.5)
    axes.set_xlabel(metric[:LONGEST_NAME], parse_math=False, color=theme.ink, fontsize=LETTERS_PT + 1)
    axes.set_facecolor(theme.paper)
    axes.grid(axis="x", color=theme.line, lw=0.7)
    axes.tick_params(colors=theme.quiet, labelcolor=theme.ink, labelsize=LETTERS_PT)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(theme.quiet)
    if is_share:
        axes.set_xlim(0, 1.16)  # the values of what is nearly perfect have room on the right
        axes.set_xticks(np.linspace(0, 1, 6))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    else:
        axes.margins(x=0.2)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
