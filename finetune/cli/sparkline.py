"""Curves of one line of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
"""Eight heights, from low to high."""
MARKS = ".:-=+*#@"
"""The same for terminals that know ASCII only: from little ink to much."""
MANIFOLD = 10.0
"""What differs by a larger factor is drawn in orders of magnitude."""
LONGEST = 24
"""How many points a curve has at most."""


def sparkline(values: Sequence[float], levels: str = BLOCKS) -> str:
    """Return a text of as many characters as there are values, each as high as its value among them.

    The lowest finite value is the first of ``levels``, the highest the last; where all are the same, they are in the
    middle. Positive values that differ by more than a factor of ``MANIFOLD`` are drawn in orders of magnitude, as a
    loss falls. What is no finite number leaves a gap.
    """
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = math.log if 0 < low < high / MANIFOLD else _half
    span = scale(high) - scale(low) if low < high else 0.0

    def level(value: float) -> str:
        if not math.isfinite(value):
            return " "
        share = (scale(value) - scale(low)) / span if span else 0.5
        return levels[round(share * (len(levels) - 1))]

    return "".join(map(level, values))


def _half(value: float) -> float:
    """Return half of a value: the span of the largest floats is none itself."""
    return value / 2


class Curve:
    """What a value has been so far, in at most ``LONGEST`` points.

    A point is one value as long as there is room for all. Where there is none left, neighbours are averaged, so that
    the whole course stays in sight, and a point stands for twice as many values from then on; those that are no finite
    numbers are left out of it.
    """

    def __init__(self) -> None:
        self.points: tuple[float, ...] = ()
        self._values_per_point = 1
        self._waiting: list[float] = []

    def add(self, value: float) -> None:
        """Take one more value."""
        self._waiting.append(value)
        if len(self._waiting) < self._values_per_point:
            return
        if len(self.points) == LONGEST:
            self._thin_out()
            return
        self.points += (_mean(self._waiting),)
        self._waiting = []

    def _thin_out(self) -> None:
        self.points = tuple(map(_mean, zip(self.points[::2], self.points[1::2], strict=True)))
        self._values_per_point *= 2


def _mean(values: Sequence[float]) -> float:
    """Return the mean of the finite values, so that one which is not makes no gap of its neighbours; NaN for none."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(value / len(finite) for value in finite) if finite else math.nan
