"""Learning curves: losses and the monitored metric over the epochs, with the phases by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple, Protocol

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from finetune.charts.style import (
    LETTERS_PT,
    LONGEST_NAME,
    MOST_MARKERS,
    Drawing,
    Theme,
    add_legend,
    blank,
    finite,
    refuse_nothing,
    short,
    style,
)

ROW_PT = 15.0
"""From one row of phase names to the next."""
NAMES_PT = 295.0
"""How wide the axes are that phase names are written over, more or less."""
LONGEST_LABEL = 40
"""Letters of a label; a metric of a plugin may be called anything."""
_FONT = FontProperties(size=LETTERS_PT)


class EpochScores(Protocol):
    """What is drawn of an epoch; a score is NaN where the metric was undefined."""

    @property
    def phase(self) -> str:
        """The name of the phase that it belongs to."""

    @property
    def train_loss(self) -> float:
        """The loss on training pictures."""

    @property
    def valid_loss(self) -> float:
        """The loss on validation pictures."""

    @property
    def score(self) -> float:
        """The monitored metric."""


def learning_curve(
    history: Sequence[EpochScores], monitor: str, is_share: bool = False, kept: int | None = None
) -> Drawing:
    """Return the losses and the monitored metric, a share in percent, over all epochs, with the phases by name.

    ``kept`` is the index of the epoch whose weights were kept, which gets a ring. What was never finite has no place:
    no losses or no scores leave one panel. Raises ``ValueError`` where there is neither.
    """
    losses = {name: finite([getattr(epoch, name) for epoch in history]) for name in ("train_loss", "valid_loss")}
    scores = finite([epoch.score for epoch in history])
    has_losses = any(bool(np.isfinite(each).any()) for each in losses.values())
    has_scores = bool(np.isfinite(scores).any())
    refuse_nothing(has_losses or has_scores, "epochs")
    names = _placed(history)

    def draw(theme: Theme) -> Figure:
        rows = 1 + max(name.row for name in names)
        figure, panels = _panels(theme, (has_losses, has_scores), rows * ROW_PT / 72)
        if has_losses:
            _draw_losses(panels[0], losses, theme)
        if has_scores:
            _draw_scores(panels[-1], scores, monitor, is_share, kept, theme)
        _mark_phases(panels, names, len(history), theme)
        return figure

    return Drawing(draw)


def _panels(theme: Theme, wanted: Sequence[bool], above_in: float) -> tuple[Figure, list[Any]]:
    count = sum(wanted)
    figure = blank(theme, 0.4 + 2.1 * count + above_in)
    panels = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    for axes in panels:
        style(axes, theme)
    panels[-1].set_xlabel("epoch")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure, panels


def _draw_losses(axes: Any, losses: dict[str, NDArray[np.float64]], theme: Theme) -> None:
    epochs = np.arange(1, len(losses["train_loss"]) + 1)
    small = len(epochs) <= MOST_MARKERS
    axes.plot(epochs, losses["train_loss"], "o-" if small else "-", color=theme.first, ms=4, label="training")
    axes.plot(epochs, losses["valid_loss"], "s--" if small else "--", color=theme.second, ms=4, label="validation")
    both = np.stack(list(losses.values()))
    axes.set_ylabel("loss")
    if 0 <= np.nanmin(both) < np.nanmax(both) / 3:
        axes.set_ylim(0, None)
    add_legend(axes, theme)


def _draw_scores(
    axes: Any, scores: NDArray[np.float64], monitor: str, is_share: bool, kept: int | None, theme: Theme
) -> None:
    epochs, form = np.arange(1, len(scores) + 1), "o-" if len(scores) <= MOST_MARKERS else "-"
    axes.plot(epochs, scores, form, color=theme.third, ms=4, label=short(f"validation {monitor}", LONGEST_LABEL))
    if kept is not None and np.isfinite(scores[kept]):
        ring = {"ms": 11, "mfc": "none", "mec": theme.ink, "mew": 1.4, "ls": "none"}
        axes.plot([kept + 1], [scores[kept]], "o", label="kept", **ring)
    axes.set_ylabel("score")
    add_legend(axes, theme)
    if is_share:
        low = math.floor(10 * (np.nanmin(scores) - 0.02)) / 10
        axes.set_ylim(max(0.0, low) - 0.01, min(1.0, math.ceil(10 * (np.nanmax(scores) + 0.02)) / 10) + 0.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))


class _Name(NamedTuple):
    """The name of a phase: it begins after ``start`` epochs, at ``x_pt`` in one of the rows above the axes."""

    text: str
    start: int
    x_pt: float
    row: int


def _placed(history: Sequence[EpochScores]) -> list[_Name]:
    """Return a place for the name of each phase: above where it begins, and on no other name or the line to one.

    A name that is longer than its phase ends with it, and the next one goes a row higher.
    """
    lengths = [(name, len(list(epochs))) for name, epochs in groupby(epoch.phase for epoch in history)]
    start, names, ends_pt = 0, list[_Name](), list[float]()
    for name, length in lengths:
        text, scale = short(name, LONGEST_NAME), NAMES_PT / len(history)
        width = _width_pt(text) + LETTERS_PT / 2
        x_pt = max(0.0, min(start * scale, (start + length) * scale - width))
        row = max((other.row + 1 for other, end in zip(names, ends_pt, strict=True) if end > x_pt), default=0)
        names.append(_Name(text, start, x_pt, row))
        ends_pt.append(x_pt + width)
        start += length
    return names


def _width_pt(text: str) -> float:
    width, _height, _descent = TextToPath().get_text_width_height_descent(text, _FONT, ismath=False)
    return float(width)


def _mark_phases(panels: Sequence[Any], names: Sequence[_Name], epochs: int, theme: Theme) -> None:
    panels[0].set_xlim(0.5, epochs + 0.5)
    for name in names:
        for axes in panels:
            if name.start:
                axes.axvline(name.start + 0.5, color=theme.quiet, ls=":", lw=1.2, zorder=1)
        _write_name(panels[0], name, epochs, theme)


def _write_name(axes: Any, name: _Name, epochs: int, theme: Theme) -> None:
    """Write the name of a phase above the axes, on a line that comes up from where the phase begins."""
    above = {"xy": (name.start + 0.5, 1), "xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
    up_pt = 4 + name.row * ROW_PT
    line = {"arrowstyle": "-", "color": theme.quiet, "ls": ":", "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    if name.row:
        axes.annotate("", xytext=(0, up_pt), arrowprops=line, **above)
    beside_pt, box = name.x_pt - name.start / epochs * NAMES_PT, {"fc": theme.paper, "ec": "none", "pad": 0.5}
    text = axes.annotate(name.text, xytext=(beside_pt, up_pt), bbox=box, zorder=4, parse_math=False, **above)
    text.set(color=theme.quiet, fontsize=LETTERS_PT)
