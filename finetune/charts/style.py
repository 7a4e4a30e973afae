"""What all charts have in common: colours on light and dark paper, their size and letters, and their PNG files."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike, NDArray

WIDTH_IN = 5.0
DPI = 220
LETTERS_PT = 10.0
LONGEST_NAME = 36
"""Letters of a name, of a phase or a score."""
MOST_MARKERS = 60
"""Epochs up to which each one has a marker."""


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
    """A chart that is drawn when it is asked for: the bytes of a PNG file for ``light`` pages, or for ``dark`` ones.

    Both have the same layout, so that the dark one takes it over where the light one was drawn before.
    """

    draw: Callable[[Theme], Figure]
    _places: list[Bbox] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def light(self) -> bytes:
        """The chart on white paper."""
        figure = self.draw(LIGHT)
        picture = _png(figure)
        self._places[:] = [axes.get_position(original=True) for axes in figure.axes]
        return picture

    @property
    def dark(self) -> bytes:
        """The chart on paper that is almost black."""
        figure = self.draw(DARK)
        if self._places:
            figure.set_layout_engine("none")
            for axes, place in zip(figure.axes, self._places, strict=True):
                axes.set_position(place)
        return _png(figure)


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(picture)  # draws once, where savefig draws twice
    return picture.getvalue()


def blank(theme: Theme, height_in: float) -> Figure:
    """Return a figure without axes, as wide as all are, which lays its axes out by itself."""
    return Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout="constrained", facecolor=theme.paper)


def style(axes: Any, theme: Theme) -> None:
    """Give axes the colours of a page, a grid behind what is drawn, and letters that can be read."""
    axes.set_facecolor(theme.paper)
    axes.grid(color=theme.line, lw=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=theme.quiet, labelcolor=theme.ink, labelsize=LETTERS_PT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(theme.quiet)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=theme.ink, fontsize=LETTERS_PT + 1)


def add_legend(axes: Any, theme: Theme) -> None:
    """Name the lines of axes where there is most room; names are no formulas."""
    legend = axes.legend(frameon=False, labelcolor=theme.ink, fontsize=LETTERS_PT, loc="best")
    for text in legend.get_texts():
        text.set_parse_math(False)


def short(text: str, longest: int) -> str:
    """Return a text of ``longest`` letters at most; an ellipsis stands for what was cut off."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def whole() -> MaxNLocator:
    """Return what marks few whole numbers on an axis of counts."""
    return MaxNLocator(nbins=4, integer=True)


def finite(values: ArrayLike) -> NDArray[np.float64]:
    """Return numbers, NaN for those that are not finite."""
    found = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(found), found, np.nan)


def refuse_nothing(is_something: object, what: str) -> None:
    """Raise ``ValueError`` where there is nothing to draw, naming ``what`` a chart needs."""
    if not is_something:
        raise ValueError(f"a chart needs {what} whose numbers are finite")
