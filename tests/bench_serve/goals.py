"""What a section of the benchmark found: tables, and what was to be reached held against what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A figure that has to be at least, or at most, ``target``: the median of the ``values`` of several runs.

    ``worst`` holds the goal against the worst run instead, for what may not happen once. Without values it was not
    measured.
    """

    what: str
    values: Sequence[float]
    target: float
    at_least: bool = False
    unit: str = ""
    digits: int = 0
    worst: bool = False

    @property
    def value(self) -> float | None:
        """The figure that is judged."""
        if not self.values:
            return None
        if self.worst:
            return min(self.values) if self.at_least else max(self.values)
        return median(self.values)

    @property
    def verdict(self) -> str:
        """Reached, missed or not measured; decided on the figure before it is rounded."""
        if self.value is None:
            return "not measured"
        reached = self.value >= self.target if self.at_least else self.value <= self.target
        return "reached" if reached else "**missed**"

    def cells(self) -> list[str]:
        """Return the row of a table: what, measured, goal, verdict."""
        bound = "at least" if self.at_least else "at most"
        target = shown([self.target], self.digits, self.unit)
        return [self.what, shown(self.values, self.digits, self.unit), f"{bound} {target}", self.verdict]


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """Return the table in Markdown."""
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


@dataclass
class Found:
    """What one section found; ``figures`` are the raw numbers, by name, for machines."""

    title: str
    about: str
    tables: list[Table] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        """Return title, what has to be known, tables, goals and notes."""
        goals = [Table(("", "measured", "goal", ""), [goal.cells() for goal in self.goals])] if self.goals else []
        tables = [table.markdown() for table in (*self.tables, *goals)]
        return "\n\n".join([f"### {self.title}", self.about, *tables, *self.notes])


def shown(values: Iterable[float | None], digits: int = 0, unit: str = "") -> str:
    """Return the median of several runs with minimum and maximum, or a dash."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    middle, low, high = (f"{value:,.{digits}f}" for value in (median(known), min(known), max(known)))
    spread = f" ({low} to {high})" if len(known) > 1 else ""
    return f"{middle} {unit}".strip() + spread
