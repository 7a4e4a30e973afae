"""Round shapes in the plane: chains of discs, which make smooth limbs, and the frame that puts them on paper."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Disc(NamedTuple):
    """A filled circle; x to the right, y upwards, in the units of whoever draws it."""

    x: float
    y: float
    r: float


Chain = tuple[Disc, ...]
"""Discs in a row: joined, they are a limb whose thickness follows the radii."""

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


def smooth(chain: Chain, steps: int = 6) -> Chain:
    """Return the chain with ``steps`` discs per link, along a Catmull-Rom curve through the given ones."""
    ends = (chain[0], *chain, chain[-1])
    curve = [_between(*ends[i : i + 4], t=k / steps) for i in range(len(chain) - 1) for k in range(steps)]
    return (*curve, chain[-1])


def _between(before: Disc, start: Disc, end: Disc, after: Disc, *, t: float) -> Disc:
    # The four weights of the Catmull-Rom spline at t.
    a, b = t * (t * (2 - t) - 1) / 2, (t * t * (3 * t - 5) + 2) / 2
    c, d = t * (t * (4 - 3 * t) + 1) / 2, t * t * (t - 1) / 2
    return Disc(
        a * before[0] + b * start[0] + c * end[0] + d * after[0],
        a * before[1] + b * start[1] + c * end[1] + d * after[1],
        max(1e-3, a * before[2] + b * start[2] + c * end[2] + d * after[2]),
    )


def rotate(chain: Chain, angle: float) -> Chain:
    """Turn the chain about its first disc, counter-clockwise by ``angle`` radians."""
    x0, y0, _ = chain[0]
    cos, sin = math.cos(angle), math.sin(angle)
    return tuple(
        Disc(x0 + cos * (x - x0) - sin * (y - y0), y0 + sin * (x - x0) + cos * (y - y0), r) for x, y, r in chain
    )


def shift(chain: Chain, dx: float, dy: float = 0.0) -> Chain:
    """Move the chain."""
    return tuple(Disc(x + dx, y + dy, r) for x, y, r in chain)


def place(chain: Sequence[tuple[float, float, float]], at: Disc, angle: float = 0.0) -> Chain:
    """Put a chain drawn in units of a disc's radius, about its centre, where that disc is, turned by ``angle``."""
    cos, sin = math.cos(angle), math.sin(angle)
    return tuple(
        Disc(at.x + at.r * (cos * x - sin * y), at.y + at.r * (sin * x + cos * y), at.r * r) for x, y, r in chain
    )


def bounds(discs: Iterable[Disc]) -> Box:
    """Return the box around the discs."""
    at = list(discs)
    return (
        min(d.x - d.r for d in at),
        min(d.y - d.r for d in at),
        max(d.x + d.r for d in at),
        max(d.y + d.r for d in at),
    )


class Frame:
    """Where the plane lies on the paper: the pixel position of (0, 0), pixels per unit, and a tilt in radians."""

    def __init__(self, x: float, y: float, scale: float, tilt: float = 0.0) -> None:
        self.x, self.y, self.scale, self.tilt = x, y, scale, tilt
        self._cos, self._sin = scale * math.cos(tilt), scale * math.sin(tilt)

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Return the pixel position of a point; pixels count downwards."""
        return self.x + self._cos * x - self._sin * y, self.y - self._sin * x - self._cos * y

    def times(self, factor: float) -> Frame:
        """Return the same frame on paper that is ``factor`` times larger."""
        return Frame(factor * self.x, factor * self.y, factor * self.scale, self.tilt)
