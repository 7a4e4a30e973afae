"""Two models, asked about the same pictures: by how much they differ, and whether chance alone would do that.

Shapes: ``N`` pictures, ``K`` labels. Answers and targets are those of ``finetune.evaluation.metrics``. All differences
are the other model's less the first's. Tests are two-sided, and take the pictures for independent, as intervals do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from finetune.evaluation.decisions import Answers, Counts, Targets, Thresholds, Values
from finetune.evaluation.intervals import CONFIDENCE, RANKINGS, RESAMPLES_OF_RANKINGS
from finetune.evaluation.metrics import measure_of
from finetune.types import Task

LEVEL = 1 - CONFIDENCE
"""A p-value below it is more than chance."""
_AT_ONCE = 50  # resamples in memory


class TwoByTwo(NamedTuple):
    """How many pictures two models are right about: both of them, one alone, or neither."""

    both: int
    only_first: int
    only_other: int
    neither: int

    @property
    def pictures(self) -> int:
        """How many there are in all."""
        return sum(self)

    @property
    def discordant(self) -> int:
        """About how many one of them alone is right."""
        return self.only_first + self.only_other


class Difference(NamedTuple):
    """A difference in a metric's own units, and its 95 % interval: None where the pictures do not tell one."""

    value: float
    interval: tuple[float, float] | None


def two_by_two(first_right: NDArray[np.bool_], other_right: NDArray[np.bool_]) -> TwoByTwo:
    """Count the pictures by who is right about them: bool (N,) each; raises ``ValueError`` for other lengths."""
    if first_right.shape != other_right.shape:
        raise ValueError(f"{first_right.shape} answers cannot be paired with {other_right.shape}")
    cells = np.bincount(2 * ~first_right + ~other_right, minlength=4)
    return TwoByTwo(*map(int, cells))


def mcnemar(found: TwoByTwo) -> float:
    """Return the exact p-value (0..1) that both are right equally often; 1 where they never differ.

    The binomial test of McNemar 1947: of the pictures that one alone is right about, each has half of them but for
    chance.
    """
    from scipy.stats import binomtest

    if found.discordant == 0:
        return 1.0
    return float(binomtest(found.only_other, found.discordant).pvalue)


def share_difference(found: TwoByTwo) -> Difference:
    """Return the difference (-1..1) of the shares that are right.

    Its interval is the adjusted Wald interval for pairs (Bonett and Price 2012), one of those that Fagerland, Lydersen
    and Laake 2014 recommend: unlike a bootstrap it stays honest where the two hardly differ, or not at all.
    """
    from scipy.stats import norm

    if found.pictures == 0:
        raise ValueError("the difference on no pictures is undefined")
    value = (found.only_other - found.only_first) / found.pictures
    whole = found.pictures + 2
    other, first = (found.only_other + 1) / whole, (found.only_first + 1) / whole
    half = float(norm.ppf((1 + CONFIDENCE) / 2)) * ((other + first - (other - first) ** 2) / whole) ** 0.5
    return Difference(value, _holding(value, max(other - first - half, -1.0), min(other - first + half, 1.0)))


def metric_difference(
    name: str,
    task: Task,
    first: tuple[Answers, Thresholds],
    other: tuple[Answers, Thresholds],
    targets: Targets,
    *,
    seed: int,
    resamples: int = 1000,
) -> Difference:
    """Return the difference of a built-in metric, with the percentile bootstrap over pictures (Efron 1979).

    Both models are measured on the same resamples, so that what is hard about a picture counts for neither. Metrics of
    rankings have ``RESAMPLES_OF_RANKINGS`` at most. ``first`` and ``other`` are answers with the thresholds that decide
    several labels. The value is NaN where the metric is undefined, or answers are no finite numbers; no interval is
    known there, and where resampling cannot move the difference. Raises ``ValueError`` for no pictures.
    """
    if not (np.isfinite(first[0]).all() and np.isfinite(other[0]).all()):
        return Difference(math.nan, None)
    measures = [measure_of(name, task, answers, targets, thresholds) for answers, thresholds in (first, other)]

    def measured(counts: Counts) -> Values:
        return measures[1](counts) - measures[0](counts)

    value = float(measured(np.ones((1, len(targets))))[0])
    if np.isnan(value):
        return Difference(value, None)
    most = min(resamples, RESAMPLES_OF_RANKINGS) if name in RANKINGS else resamples
    drawn = np.concatenate([measured(counts) for counts in _resampled(len(targets), most, seed)])
    return Difference(value, _percentiles(value, drawn[~np.isnan(drawn)]))


def _percentiles(value: float, drawn: Values) -> tuple[float, float] | None:
    if np.allclose(drawn, value, rtol=1e-9, atol=1e-12):
        return None
    low, high = np.quantile(drawn, [LEVEL / 2, 1 - LEVEL / 2])
    return _holding(value, float(low), float(high))


def _resampled(pictures: int, resamples: int, seed: int) -> Iterator[Counts]:
    """Yield how often each picture is in each resample, some resamples at a time: float64 (R, N)."""
    generator = np.random.default_rng(seed)
    shares = np.full(pictures, 1 / pictures)
    for start in range(0, resamples, _AT_ONCE):
        size = min(_AT_ONCE, resamples - start)
        yield generator.multinomial(pictures, shares, size=size).astype(np.float64)


def _holding(value: float, low: float, high: float) -> tuple[float, float]:
    return min(low, value), max(high, value)


def signed_rank(first_losses: NDArray[np.float64], other_losses: NDArray[np.float64]) -> float:
    """Return the p-value (0..1) that neither model's losses tend to be lower.

    It is 1 where all are equal, and where some are no finite numbers, which cannot be ranked: nothing is told apart.

    Wilcoxon's signed-rank test on the differences of losses (N,) picture by picture, those of 0 ranked as Pratt 1959
    has it, by ``scipy.stats.wilcoxon``. A few huge losses do not decide it, as they would decide a test of means.
    """
    from scipy.stats import wilcoxon

    differences = other_losses - first_losses
    if not differences.any() or not np.isfinite(differences).all():
        return 1.0
    return float(wilcoxon(differences, zero_method="pratt").pvalue)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p-values corrected for being several, in their order, by Holm 1979: never lower, 1 at most."""
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = largest
    return tuple(corrected)


def least_visible(found: TwoByTwo) -> int | None:
    """Return by how many pictures the two had to differ for ``mcnemar`` to be below ``LEVEL``; None where none does.

    As many pictures as now are taken to be discordant, and at least so few as can be told from chance at all: six.
    """
    for discordant in range(max(found.discordant, 1), found.pictures + 1):
        for more in range(discordant % 2, discordant + 1, 2):
            if mcnemar(TwoByTwo(0, (discordant - more) // 2, (discordant + more) // 2, 0)) < LEVEL:
                return more
    return None
