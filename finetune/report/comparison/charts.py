"""The learning curves of several runs in one chart, told apart by letter, marker and line before colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from finetune.charts.style import LETTERS_PT, MOST_MARKERS, Drawing, Theme, blank, refuse_nothing, short, style

LOSS = "validation loss"
MARKERS = "os^DvPX*<>"
LINES = ("-", "--")
LONGEST_NAME = 30
"""Letters of a metric's name; a metric of a plugin may be called anything."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The epochs of a run: validation ``losses`` and ``scores``, float64 (E,) each, NaN where undefined."""

    letter: str
    losses: NDArray[np.float64]
    scores: NDArray[np.float64]


def compared_curves(curves: Sequence[Curve], metric: str, is_share: bool) -> Drawing:
    """Return the validation losses of runs over their epochs and, where ``metric`` is not "", their scores below.

    A run's place among ``curves`` decides its marker, line and colour: ten can be told apart. Its letter is where its
    line ends. Raises ``ValueError`` where no number is finite.
    """
    panels = _panels(curves, metric)
    refuse_nothing(panels, "epochs")
    letters = [each.letter for each in curves]

    def draw(theme: Theme) -> Figure:
        figure = blank(theme, 0.8 + 2.4 * len(panels))
        drawn = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, lines) in zip(drawn, panels.items(), strict=True):
            _draw(axes, letters, lines, theme)
            style(axes, theme)
            axes.set_ylabel(short(name, LONGEST_NAME), parse_math=False)
            if is_share and name != LOSS:
                axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        drawn[-1].set(xlabel="epoch", xlim=(0.5, None))
        drawn[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        _add_legend(figure, drawn[0], theme)
        return figure

    return Drawing(draw)


def _panels(curves: Sequence[Curve], metric: str) -> dict[str, list[NDArray[np.float64]]]:
    """Return the lines of each panel by what they are, without panels that no number is finite in."""
    panels = {LOSS: [each.losses for each in curves]}
    if metric:
        panels[f"validation {metric}"] = [each.scores for each in curves]
    return {name: lines for name, lines in panels.items() if any(np.isfinite(line).any() for line in lines)}


def _add_legend(figure: Figure, axes: Any, theme: Theme) -> None:
    """Name the runs above all panels, once."""
    handles, texts = axes.get_legend_handles_labels()
    form = {"ncols": min(len(texts), 5), "frameon": False, "labelcolor": theme.ink, "fontsize": LETTERS_PT}
    figure.legend(handles, texts, loc="outside upper left", **form)


def _draw(axes: Any, letters: Sequence[str], lines: Sequence[NDArray[np.float64]], theme: Theme) -> None:
    colours = (theme.first, theme.second, theme.third, theme.ink, theme.quiet)
    small = max(map(len, lines)) <= MOST_MARKERS
    for at, (letter, line) in enumerate(zip(letters, lines, strict=True)):
        epochs, style = np.arange(1, len(line) + 1), LINES[at // len(colours) % len(LINES)]
        colour, marker = colours[at % len(colours)], MARKERS[at % len(MARKERS)]
        every = 1 if small else max(1, len(line) // 10)
        axes.plot(
            epochs, line, style, marker=marker, markevery=every, color=colour, ms=5, lw=1.5, label=f"run {letter}"
        )
        if np.isfinite(line).any():
            last = np.flatnonzero(np.isfinite(line))[-1]
            place = {"xytext": (6, 0), "textcoords": "offset points", "va": "center"}
            axes.annotate(letter, (epochs[last], line[last]), color=colour, fontsize=LETTERS_PT, weight="bold", **place)
