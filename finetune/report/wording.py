"""How a report puts things in words: values of metrics, their intervals and differences, names where there are many."""

from __future__ import annotations

import math
from collections.abc import Sequence

from finetune.evaluation.catalogue import shown
from finetune.types import RunRecords

UNDEFINED = "–"
"""What stands where there is no number, or no text."""
PARTS = {"valid": "validation", "test": "test"}
"""The parts that the model is scored on, as people call them."""
MOST_NAMED = 20
"""Names in a sentence; a data set may have thousands."""


def value_of(records: RunRecords, metric: str, value: float | None) -> str:
    """Return a metric's value as people read it, a share in percent."""
    return UNDEFINED if value is None or math.isnan(value) else shown(value, metric in records.shares)


def interval_of(records: RunRecords, metric: str, interval: tuple[float, float] | None) -> str:
    """Return both ends of a 95 % interval in brackets, with a space before them; nothing where there is none."""
    bounds = " to ".join(value_of(records, metric, bound) for bound in interval or ())
    return f" (95 % interval: {bounds})" if bounds else ""


def difference_of(records: RunRecords, metric: str, difference: float) -> str:
    """Return a difference of two values of a metric with its sign; of shares it is one of percentage points."""
    if math.isnan(difference):
        return UNDEFINED
    return f"{100 * difference:+.1f} points" if metric in records.shares else f"{difference:+.4g}"


def named(names: Sequence[str]) -> str:
    """Return names in quotation marks, and how many more there are."""
    return few([f"'{name}'" for name in names], MOST_NAMED)


def few(texts: Sequence[str], most: int) -> str:
    """Return the first texts, ``most`` of them, and how many more there are; nothing of none."""
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more:,} more" if more > 0 else "")


def counted(number: int, noun: str = "picture") -> str:
    """Return a number of things."""
    return f"{number:,} {noun}" + ("s" if number != 1 else "")
