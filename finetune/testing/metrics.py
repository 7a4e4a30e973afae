"""What metrics promise: a number that means what it says, and that looks at nothing but the answers it is given.

Every trial has three labels, or three values: a run may have any number, so a metric is not for two classes alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from finetune.plugins import load_function
from finetune.testing.plugin import called
from finetune.testing.rules import Broken, Rule
from finetune.types import Answered, Metric, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LABELS = ("small", "medium", "large")
_PICTURES = 24
_TOLERANCE = 1e-6
"""Sums of the same numbers in another order differ by less, as a share of the larger."""


@dataclass(frozen=True)
class MetricSubject:
    """A metric, and one of the tasks that it is for."""

    metric: Metric
    task: Task

    def measure(self, answered: Answered) -> float:
        """Return what the metric says; raise ``Broken`` for what is no number."""
        found = self.function(answered)
        if isinstance(found, bool) or not isinstance(found, float | np.floating):
            raise Broken(f"{type(found).__name__} {found!r}")
        return float(found)

    @property
    def function(self) -> Callable[[Answered], object]:
        """The metric's function."""
        return load_function(self.metric.measure, f"the {called('metric', self.metric.name)}")


# ── what models may answer ──────────────────────────────────────────────────────────────────────────


def _targets(task: Task) -> NDArray[np.int64] | NDArray[np.float32]:
    """Return what is right: every label as often as the others, or values that differ."""
    kinds = np.arange(_PICTURES) % len(_LABELS)
    if task == "single-label":
        return kinds.astype(np.int64)
    if task == "multi-label":
        return np.stack([kinds == 0, kinds != 1, kinds > 0], axis=1).astype(np.float32)
    return np.stack([kinds, 10.0 * kinds, np.arange(_PICTURES)], axis=1).astype(np.float32)


def _right(task: Task) -> NDArray[np.float32]:
    """Return the answers of a model that is right, and sure of it."""
    targets = _targets(task)
    if task == "regression":
        return targets.astype(np.float32)
    sure = np.eye(len(_LABELS))[targets.astype(int)] if task == "single-label" else targets
    return (0.02 + 0.94 * sure).astype(np.float32)


def _wrong(task: Task) -> NDArray[np.float32]:
    """Return the answers of a model that is wrong everywhere, and as sure of it."""
    right = _right(task)
    if task == "single-label":
        return np.roll(right, 1, axis=1)
    return right[::-1] + 50 if task == "regression" else 1 - right


def _so_so(task: Task) -> NDArray[np.float32]:
    """Return the answers of a model that is right about half of the pictures."""
    half = (np.arange(_PICTURES) // len(_LABELS) % 2 == 0)[:, None]
    return np.where(half, _right(task), _wrong(task)).astype(np.float32)


def answered(task: Task, answers: NDArray[np.float32], pictures: slice = slice(None)) -> Answered:
    """Return what a model answered to small pictures of three labels or values, beside what is right."""
    thresholds = np.full(len(_LABELS), 0.5) if task == "multi-label" else None
    return Answered(
        task=task,
        labels=_LABELS,
        answers=answers[pictures].copy(),
        targets=_targets(task)[pictures].copy(),
        thresholds=thresholds,
    )


# ── rules ───────────────────────────────────────────────────────────────────────────────────────────


def _returns_a_number(subject: MetricSubject) -> None:
    for answers in (_right, _so_so, _wrong):
        found = subject.measure(answered(subject.task, answers(subject.task)))
        if not math.isfinite(found):
            raise Broken(f"{found} of {_PICTURES} pictures of every label")


def _takes_what_is_undefined(subject: MetricSubject) -> None:
    one = answered(subject.task, _right(subject.task), slice(0, 1))
    if math.isinf(subject.measure(one)):
        raise Broken("inf of one picture")


def _prefers_what_is_right(subject: MetricSubject) -> None:
    sign = 1 if subject.metric.higher_is_better else -1
    right, half, wrong = (
        subject.measure(answered(subject.task, answers(subject.task))) for answers in (_right, _so_so, _wrong)
    )
    if not (sign * right > sign * wrong and sign * right >= sign * half):
        better = "higher" if sign > 0 else "lower"
        raise Broken(f"{right:g} where all is right, {half:g} for half and {wrong:g} for none, and {better} is better")


def _is_a_share(subject: MetricSubject) -> None:
    if subject.metric.is_share:
        for answers in (_right, _so_so, _wrong):
            found = subject.measure(answered(subject.task, answers(subject.task)))
            if not 0 <= found <= 1:
                raise Broken(f"{found:g}")


def _changes_nothing(subject: MetricSubject) -> None:
    given = answered(subject.task, _so_so(subject.task))
    before = answered(subject.task, _so_so(subject.task))
    subject.measure(given)
    for name in ("answers", "targets", "thresholds"):
        if not np.array_equal(getattr(given, name), getattr(before, name)):
            raise Broken(f"that it changes the {name} it is given")


def _is_the_same_again(subject: MetricSubject) -> None:
    first, second = (subject.measure(answered(subject.task, _so_so(subject.task))) for _ in range(2))
    if first != second:
        raise Broken(f"{first!r}, and then {second!r}")


def _has_no_order(subject: MetricSubject) -> None:
    given = answered(subject.task, _so_so(subject.task))
    order = np.random.default_rng(0).permutation(_PICTURES)
    first = subject.measure(given)
    second = subject.measure(replace(given, answers=given.answers[order], targets=given.targets[order]))
    if not math.isclose(first, second, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
        raise Broken(f"{first!r}, and {second!r} of the same pictures in another order")


_METRIC = "finetune.types.Metric"
_RULES = (
    ("returns-a-number", "a finite float of three labels or values, where nothing is undefined", _returns_a_number),
    ("takes-what-is-undefined", "a float, NaN where it is undefined, of a single picture", _takes_what_is_undefined),
    ("prefers-what-is-right", "a better value for better answers", _prefers_what_is_right),
    ("is-a-share", "a value between 0 and 1, because is_share is set", _is_a_share),
    ("changes-nothing", "that answers, targets and thresholds are left as they are", _changes_nothing),
    ("is-the-same-again", "the same value for the same answers", _is_the_same_again),
    ("has-no-order", "a value that the order of the pictures does not change", _has_no_order),
)
RULES = tuple(
    Rule(name=name, kind="metric", expects=expects, read=_METRIC, hold=hold) for name, expects, hold in _RULES
)
"""What every metric is held against, once for each of its tasks."""
