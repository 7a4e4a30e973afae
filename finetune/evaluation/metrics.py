"""The arithmetic of the built-in metrics, which ``finetune.builtin.metrics`` registers.

Shapes: ``N`` pictures, ``K`` labels, ``R`` ways to count the pictures. Answers are float32 (N, K), probabilities or
for regression values; targets are those of ``finetune.data.targets``, thresholds float (K,). A metric is prepared once
for its answers and then measured for any number of ways to count the pictures, float64 (R, N): each once for a score,
some more often than others for the resamples of a bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from finetune.evaluation.calibration import calibration_gaps
from finetune.evaluation.decisions import Answers, Counts, Decisions, Targets, Thresholds, Values, ratio, reached, shows
from finetune.evaluation.ranking import Ranking
from finetune.types import Answered, Task

Measure = Callable[[Counts], Values]

TOP = 5
_LEAST_PROBABILITY = float(np.finfo(np.float32).eps)  # as scikit-learn's log_loss has it for float32
_LEAST_VARIANCE = 1e-12  # of what a mean square is made of: less is rounding


def score(name: str, task: Task, answers: Answers, targets: Targets, thresholds: Thresholds = None) -> float:
    """Return a built-in metric; NaN where these targets leave it undefined, or answers are no finite numbers.

    A mean over labels is that of the labels for which it is defined: an AUROC needs pictures with the label and
    without, an average precision pictures with it, a recall the same, an F1 pictures that show it or were given it, an
    r2 values that differ. Several labels are given where they reach ``thresholds``, 0.5 where those are None; nothing
    else looks at them. Raises ``ValueError`` for no pictures.
    """
    prepare = _preparation(name, targets)
    if not np.isfinite(answers).all():
        return float("nan")
    return float(prepare(_Case(task, answers, targets, thresholds))(np.ones((1, len(targets))))[0])


def measure_of(name: str, task: Task, answers: Answers, targets: Targets, thresholds: Thresholds = None) -> Measure:
    """Return a metric, prepared: from counts float64 (R, N) that each sum to N, to its values float64 (R,).

    Answers have to be finite; else as ``score``.
    """
    return _preparation(name, targets)(_Case(task, answers, targets, thresholds))


class _Case(NamedTuple):
    task: Task
    answers: Answers
    targets: Targets
    thresholds: Thresholds


def _preparation(name: str, targets: Targets) -> Callable[[_Case], Measure]:
    if len(targets) == 0:
        raise ValueError(f"{name} of no pictures is undefined")
    return _MEASURES[name]


# ── means over pictures ─────────────────────────────────────────────────────────────────────────────


def _mean_of(per_picture: Callable[[_Case], NDArray[np.float64]]) -> Callable[[_Case], Measure]:
    def prepared(case: _Case) -> Measure:
        values = per_picture(case)
        return lambda counts: counts @ values / len(values)

    return prepared


def _right(case: _Case) -> NDArray[np.float64]:
    if case.task == "single-label":
        return np.asarray(case.answers.argmax(axis=1) == case.targets, dtype=np.float64)
    right = reached(case.answers, case.thresholds) == (case.targets > 0)
    return np.asarray(right.all(axis=1), dtype=np.float64)


def _in_top(case: _Case) -> NDArray[np.float64]:
    top = np.argsort(-case.answers, axis=1, kind="stable")[:, :TOP]  # of equals the first, as argmax has it
    return np.asarray((top == case.targets[:, None]).any(axis=1), dtype=np.float64)


def _log_losses(case: _Case) -> NDArray[np.float64]:
    answers = np.clip(case.answers.astype(np.float64), _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    if case.task == "single-label":
        return np.asarray(-np.log(answers[np.arange(len(answers)), case.targets]))
    return np.asarray(-np.log(np.where(case.targets > 0, answers, 1 - answers)).mean(axis=1))


def _errors(case: _Case) -> NDArray[np.float64]:
    return np.asarray(case.answers.astype(np.float64) - case.targets)


def _rmse(case: _Case) -> Measure:
    mean_square = _mean_of(lambda case: (_errors(case) ** 2).mean(axis=1))(case)
    return lambda counts: np.sqrt(mean_square(counts))


# ── means over labels ───────────────────────────────────────────────────────────────────────────────


def _mean_of_defined(values: Values) -> Values:
    """Return the mean over the labels that are not NaN; NaN where all are: (R, K) to (R,)."""
    return ratio(np.nansum(values, axis=1), np.isfinite(values).sum(axis=1).astype(np.float64))


def _balanced_accuracy(case: _Case) -> Measure:
    decisions = Decisions(case.task, case.answers, case.targets)
    return lambda counts: _mean_of_defined(decisions.counted(counts).recall)


def _macro_f1(case: _Case) -> Measure:
    decisions = Decisions(case.task, case.answers, case.targets, case.thresholds)
    return lambda counts: _mean_of_defined(decisions.counted(counts).f1)


def _mean_of_rankings(measure: Callable[[Ranking, Counts], Values]) -> Callable[[_Case], Measure]:
    def prepared(case: _Case) -> Measure:
        def measured(counts: Counts) -> Values:  # sorted here: the order of all labels at once would be large
            columns = (
                measure(Ranking(column, shows(case.task, case.targets, label)), counts)
                for label, column in enumerate(case.answers.T)
            )
            return _mean_of_defined(np.stack(list(columns), axis=1))

        return measured

    return prepared


def _r2(case: _Case) -> Measure:
    squared_errors = _errors(case) ** 2
    centred = case.targets - case.targets.mean(axis=0, dtype=np.float64)  # or squares of large values lose digits
    squares = centred**2

    def measured(counts: Counts) -> Values:
        total = counts @ squares
        around_mean = total - (counts @ centred) ** 2 / len(centred)
        around_mean[around_mean <= _LEAST_VARIANCE * total] = 0
        return _mean_of_defined(1 - ratio(counts @ squared_errors, around_mean))

    return measured


# ── calibration, and all of them ────────────────────────────────────────────────────────────────────


def _ece(case: _Case) -> Measure:
    gaps = calibration_gaps(case.task, case.answers, case.targets)
    return lambda counts: np.abs(counts @ gaps / len(gaps)).sum(axis=1)


_MEASURES: Mapping[str, Callable[[_Case], Measure]] = {
    "accuracy": _mean_of(_right),
    "top-5": _mean_of(_in_top),
    "balanced-accuracy": _balanced_accuracy,
    "macro-f1": _macro_f1,
    "mean-auroc": _mean_of_rankings(Ranking.auroc),
    "mean-average-precision": _mean_of_rankings(Ranking.average_precision),
    "log-loss": _mean_of(_log_losses),
    "ece": _ece,
    "mae": _mean_of(lambda case: np.abs(_errors(case)).mean(axis=1)),
    "rmse": _rmse,
    "r2": _r2,
}

BUILT_IN = frozenset(_MEASURES)
"""The names of the built-in metrics."""


# ── as they are registered ──────────────────────────────────────────────────────────────────────────


def _of(name: str) -> Callable[[Answered], float]:
    return lambda about: score(name, about.task, about.answers, about.targets, about.thresholds)


def top_5(about: Answered) -> float:
    """Return the share whose label is among the five most probable; NaN for five labels or fewer."""
    if len(about.labels) <= TOP:  # which are always right
        return float("nan")
    return score("top-5", about.task, about.answers, about.targets)


accuracy = _of("accuracy")
balanced_accuracy = _of("balanced-accuracy")
macro_f1 = _of("macro-f1")
mean_auroc = _of("mean-auroc")
mean_average_precision = _of("mean-average-precision")
log_loss = _of("log-loss")
ece = _of("ece")
mae = _of("mae")
rmse = _of("rmse")
r2 = _of("r2")
