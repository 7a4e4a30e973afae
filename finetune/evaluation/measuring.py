"""Registered metrics, asked about answers: they are given what they cannot change, and their faults are their own."""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from finetune.errors import FinetuneError, PluginError
from finetune.evaluation.decisions import Answers, Targets
from finetune.evaluation.metrics import BUILT_IN
from finetune.plugins import blaming, load_function
from finetune.types import Answered, Metric, Task


class Measured(NamedTuple):
    """The metrics that are defined, by name, and a note for each of a plugin's that was left out."""

    values: dict[str, float]
    notes: tuple[str, ...]


def answered(
    task: Task,
    labels: tuple[str, ...],
    answers: Answers,
    targets: Targets,
    thresholds: NDArray[np.float64] | None = None,
) -> Answered:
    """Return answers (N, K) beside what is right, as a metric is given them: none of the arrays can be written to."""
    return Answered(
        task=task,
        labels=labels,
        answers=_read_only(answers),
        targets=_read_only(targets),
        thresholds=None if thresholds is None else _read_only(thresholds),
    )


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.setflags(write=False)
    return view


def measured(metric: Metric, about: Answered) -> float:
    """Return what a metric is; NaN where it is undefined, infinite, or asked about answers that are not finite.

    Raises ``PluginError`` for one that cannot be loaded, raises something, or returns no float.
    """
    what = f"The metric '{metric.name}'"
    measure = load_function(metric.measure, what)
    if not np.isfinite(about.answers).all():
        return math.nan
    with blaming(what):
        value = measure(about)
    if not isinstance(value, float | np.floating):
        raise PluginError(f"{what} is broken: {metric.measure} returned {type(value).__name__} instead of float.")
    return float(value) if math.isfinite(value) else math.nan


def all_measured(metrics: Sequence[Metric], monitor: str, about: Answered) -> Measured:
    """Return all metrics in their order, without those that are undefined, or that fail.

    Raises as ``measured`` does for the one that is monitored; of the others each is told in a note.
    """
    found = {metric.name: _value_or_why_not(metric, metric.name == monitor, about) for metric in metrics}
    values = {name: value for name, (value, _) in found.items() if not math.isnan(value)}
    return Measured(values, tuple(why for _, why in found.values() if why))


def _value_or_why_not(metric: Metric, is_monitored: bool, about: Answered) -> tuple[float, str]:
    """Return a metric, or NaN and why; of the built-in ones it is known when they are undefined."""
    left_out = f"Left '{metric.name}' out of the scores: "
    try:
        value = measured(metric, about)
    except FinetuneError as error:
        if is_monitored:
            raise
        if os.environ.get("FINETUNE_DEBUG"):  # as the error promises
            traceback.print_exception(error)
        return math.nan, f"{left_out}{error}"
    if metric.name in BUILT_IN or not math.isnan(value):
        return value, ""
    return value, f"{left_out}it is undefined for these {len(about.targets)} pictures."
