"""Charts of a run as PNG files, for light and dark pages; of matplotlib's objects alone, so without global state.

They hold no names of classes: the page beside them does, in any script. Each is five inches wide, about twice as sharp
as a screen needs, with letters that can still be read on a phone. Numbers that are not finite are left out, and a chart
of nothing is refused with ``ValueError``.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from finetune.evaluation.reliability import Reliability
    from finetune.types import RateCurve

WIDTH_IN = 5.0
DPI = 220
LETTERS_PT = 10.0
_FONT = FontProperties(size=LETTERS_PT)
ROW_PT = 15.0
"""From one row of phase names to the next."""
NAMES_PT = 295.0
"""How wide the axes are that phase names are written over, more or less."""
LONGEST_LABEL = 40
"""Letters of a label; a metric of a plugin may be called anything."""
LONGEST_NAME = 36
"""Letters of a phase's name."""
MOST_MARKERS = 60
"""Epochs up to which each one has a marker."""
MOST_OPAQUE = 300
"""Points up to which each one is drawn in full."""


class Theme(NamedTuple):
    """Colours of a chart; ``first``, ``second`` and ``third`` are told apart without red and green, too."""

    paper: str
    ink: str
    quiet: str
    line: str
    first: str
    second: str
    third: str


LIGHT = Theme("#ffffff", "#1c1e21", "#5a6068", "#d8dce1", "#0072b2", "#d55e00", "#00805f")
DARK = Theme("#16181b", "#e8eaed", "#a3aab3", "#383d43", "#56b4e9", "#f0a04b", "#3ecf9a")


@dataclass(frozen=True)
class Drawing:
    """A chart that is drawn when it is asked for: the bytes of a PNG file for ``light`` pages, or for ``dark`` ones."""

    draw: Callable[[Theme], Figure]

    @property
    def light(self) -> bytes:
        """The chart on white paper."""
        return _png(self.draw(LIGHT))

    @property
    def dark(self) -> bytes:
        """The chart on paper that is almost black."""
        return _png(self.draw(DARK))


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


# ── learning curves ─────────────────────────────────────────────────────────────────────────────────


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
    losses = {name: _finite([getattr(epoch, name) for epoch in history]) for name in ("train_loss", "valid_loss")}
    scores = _finite([epoch.score for epoch in history])
    has_losses = any(bool(np.isfinite(each).any()) for each in losses.values())
    has_scores = bool(np.isfinite(scores).any())
    _refuse_nothing(has_losses or has_scores, "epochs")
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
    figure = _figure(theme, 0.4 + 2.1 * count + above_in)
    panels = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    for axes in panels:
        _style(axes, theme)
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
    _legend(axes, theme)


def _draw_scores(
    axes: Any, scores: NDArray[np.float64], monitor: str, is_share: bool, kept: int | None, theme: Theme
) -> None:
    epochs, form = np.arange(1, len(scores) + 1), "o-" if len(scores) <= MOST_MARKERS else "-"
    axes.plot(epochs, scores, form, color=theme.third, ms=4, label=_short(f"validation {monitor}", LONGEST_LABEL))
    if kept is not None and np.isfinite(scores[kept]):
        ring = {"ms": 11, "mfc": "none", "mec": theme.ink, "mew": 1.4, "ls": "none"}
        axes.plot([kept + 1], [scores[kept]], "o", label="kept", **ring)
    axes.set_ylabel("score")
    _legend(axes, theme)
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
        text, scale = _short(name, LONGEST_NAME), NAMES_PT / len(history)
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


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


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


# ── learning rates ──────────────────────────────────────────────────────────────────────────────────


def rate_curve(curve: RateCurve, used: float | None = None) -> Drawing:
    """Return the loss over the learning rate, with the suggested rate and, where it is another, the one ``used``.

    Raises ``ValueError`` where no loss is finite.
    """
    rates, losses = _finite(curve.rates), _finite(curve.losses)
    there = np.isfinite(losses) & (rates > 0)
    _refuse_nothing(there.any(), "losses")
    rates, losses = rates[there], losses[there]

    def draw(theme: Theme) -> Figure:
        figure = _figure(theme, 3.0)
        axes = figure.subplots()
        axes.plot(rates, losses, color=theme.first, lw=2)
        nearest = losses[np.abs(np.log(rates / curve.suggestion)).argmin()]
        axes.plot(curve.suggestion, nearest, "o", color=theme.second, ms=8, label=f"suggested: {curve.suggestion:.2g}")
        if used is not None and not math.isclose(used, curve.suggestion, rel_tol=1e-3):
            axes.axvline(used, color=theme.third, ls="--", lw=1.6, label=f"used: {used:.2g}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="smoothed loss")
        _style(axes, theme)
        _legend(axes, theme)
        return figure

    return Drawing(draw)


# ── confidence ──────────────────────────────────────────────────────────────────────────────────────


def reliability_diagram(answered: Reliability, before: Reliability | None = None) -> Drawing:
    """Return how often answers of each confidence are right, and how many there are; ``before`` without temperature.

    On the diagonal confidence is what it says. Raises ``ValueError`` where there are no answers.
    """
    _refuse_nothing(answered.counts.sum(), "answers")

    def draw(theme: Theme) -> Figure:
        figure = _figure(theme, 5.6)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.plot([0, 1], [0, 1], color=theme.quiet, ls=":", lw=1.2, label="as right as it is sure")
        if before is not None:
            _draw_bins(top, bottom, before, theme.second, "s--", "without temperature")
        _draw_bins(top, bottom, answered, theme.first, "o-", "as answered")
        top.set(ylabel="share that is right", xlim=(-0.02, 1.02), ylim=(-0.03, 1.03))
        bottom.set(xlabel="confidence", ylabel="answers", ylim=(0, None))
        if answered.counts.max() > 50 * np.median(answered.counts[answered.counts > 0]):
            bottom.set(yscale="log", ylim=(0.5, None))
        for axes in (top, bottom):
            _style(axes, theme)
            axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        top.yaxis.set_major_formatter(PercentFormatter(1.0))
        if bottom.get_yscale() == "linear":
            bottom.yaxis.set_major_locator(_whole())
        _legend(top, theme)
        return figure

    return Drawing(draw)


def _draw_bins(top: Any, bottom: Any, found: Reliability, colour: str, form: str, label: str) -> None:
    """Draw one line of dots, the larger the more answers, and below it how many there are."""
    there = found.counts > 0
    top.plot(found.confidence[there], found.right[there], form[1:], color=colour, lw=1.2, alpha=0.5)
    sizes = 10 + 110 * np.sqrt(found.counts[there] / found.counts.max())
    top.scatter(found.confidence[there], found.right[there], s=sizes, marker=form[0], color=colour, label=label)
    edges = np.linspace(0, 1, len(found.counts) + 1)
    bottom.stairs(found.counts, edges, color=colour, ls=form[1:], lw=1.6, fill=False)


def _whole() -> MaxNLocator:
    return MaxNLocator(nbins=4, integer=True)


# ── values ──────────────────────────────────────────────────────────────────────────────────────────


def fit(true: NDArray[Any], predicted: NDArray[Any]) -> Drawing:
    """Return the predicted over the true values of one kind, (N,) each, and how the errors are distributed.

    Raises ``ValueError`` where no pair is finite.
    """
    pairs = _finite(np.stack([true, predicted]))
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    _refuse_nothing(pairs.size, "values")

    def draw(theme: Theme) -> Figure:
        figure = _figure(theme, 2.6)
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
    _style(axes, theme)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=4))


def _draw_errors(axes: Any, errors: NDArray[np.float64], theme: Theme) -> None:
    axes.hist(errors, bins=min(40, max(5, int(np.sqrt(len(errors))))), color=theme.first)
    axes.axvline(0, color=theme.ink, ls=":", lw=1.2)
    axes.set(xlabel="predicted less true", ylabel="pictures", box_aspect=1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.yaxis.set_major_locator(_whole())
    _style(axes, theme)


# ── what all have in common ─────────────────────────────────────────────────────────────────────────


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    """Return numbers, NaN for those that are not finite."""
    found = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(found), found, np.nan)


def _refuse_nothing(is_something: object, what: str) -> None:
    if not is_something:
        raise ValueError(f"a chart needs {what} whose numbers are finite")


def _figure(theme: Theme, height_in: float) -> Figure:
    return Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout="constrained", facecolor=theme.paper)


def _style(axes: Any, theme: Theme) -> None:
    axes.set_facecolor(theme.paper)
    axes.grid(color=theme.line, lw=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=theme.quiet, labelcolor=theme.ink, labelsize=LETTERS_PT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(theme.quiet)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=theme.ink, fontsize=LETTERS_PT + 1)


def _legend(axes: Any, theme: Theme, loc: str = "best") -> None:
    legend = axes.legend(frameon=False, labelcolor=theme.ink, fontsize=LETTERS_PT, loc=loc)
    for text in legend.get_texts():
        text.set_parse_math(False)
