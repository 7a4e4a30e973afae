"""The plot of what transferring is worth, for a light page and for a dark one."""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter, ScalarFormatter

COLOURS, MARKERS = ("#D55E00", "#009E73", "#2E8BC9"), "sDo"
"""Told apart by the colour-blind, too (after Okabe & Ito 2008), and by their form where there is no colour."""
INK = "#808080"
"""Reads on white and on black alike; what is behind it shines through."""


def plot(series: Mapping[str, Mapping[int, Sequence[float]]]) -> bytes:
    """Return a PNG: mean accuracy (0..1) with standard deviation over pictures per class, one line for each name."""
    colours = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK)
    with rc_context({**colours, "font.size": 11}):
        figure = Figure(figsize=(7, 4.4), dpi=120, layout="constrained")
        axes = figure.subplots()
        for (name, by_size), colour, marker in zip(series.items(), COLOURS, MARKERS, strict=False):
            sizes = [*by_size]
            means = [statistics.fmean(values) for values in by_size.values()]
            deviations = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in by_size.values()]
            axes.errorbar(sizes, means, deviations, color=colour, marker=marker, capsize=4, linewidth=2, label=name)
        axes.set(xlabel="training pictures per breed", ylabel="accuracy on held-out pictures", ylim=(0, 1.02))
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(sizes))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(axis="y", color=INK, alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(frameon=False, loc="outside upper center", ncols=len(series))
        return _png(figure)


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", transparent=True)
    return picture.getvalue()
