"""Differences of two models on the same pictures: their intervals, their tests, and how often both are right."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.evaluation.metrics import score
from finetune.evaluation.paired import (
    LEVEL,
    Difference,
    TwoByTwo,
    holm,
    least_visible,
    mcnemar,
    metric_difference,
    share_difference,
    signed_rank,
    two_by_two,
)
from finetune.types import Task

from .conftest import several, values

COUNTS = st.builds(TwoByTwo, *[st.integers(0, 60)] * 4)
METRICS: list[tuple[str, Task, Callable[..., Any]]] = [
    ("mean-average-precision", "multi-label", several),
    ("r2", "regression", values),
]


def turned(found: TwoByTwo) -> TwoByTwo:
    return found._replace(only_first=found.only_other, only_other=found.only_first)


def two_models(make: Callable[..., Any], pictures: int, seed: int, labels: int = 4) -> tuple[Any, Any, Any]:
    """Return what is right, answers, and worse answers to the same."""
    answers, targets = make(pictures, labels, seed=seed)
    noise = np.random.default_rng(seed + 10_000).normal(size=answers.shape) * 0.15
    worse = answers + noise if make is values else np.clip(answers + noise, 0, 1)
    return answers, worse.astype(np.float32), targets


# ── shares of pictures ──────────────────────────────────────────────────────────────────────────────


def test_the_pictures_are_counted_by_who_is_right() -> None:
    first = np.array([True, True, True, False, False, False])
    other = np.array([True, False, False, True, False, False])

    assert two_by_two(first, other) == TwoByTwo(both=1, only_first=2, only_other=1, neither=2)
    with pytest.raises(ValueError, match="cannot be paired"):
        two_by_two(first, other[:5])


@pytest.mark.parametrize(
    ("only_first", "only_other", "p_value"), [(0, 6, 2 / 64), (1, 7, 2 * 9 / 256), (5, 5, 1), (0, 1, 1), (0, 0, 1)]
)
def test_mcnemar_is_the_coin_that_falls_so_unevenly(only_first: int, only_other: int, p_value: float) -> None:
    assert mcnemar(TwoByTwo(90, only_first, only_other, 3)) == pytest.approx(p_value)


@given(COUNTS)
def test_who_comes_first_changes_the_sign_and_nothing_else(found: TwoByTwo) -> None:
    assert mcnemar(found) == pytest.approx(mcnemar(turned(found)))
    if found.pictures:
        there, back = share_difference(found), share_difference(turned(found))
        assert there.value == -back.value
        assert there.interval == pytest.approx(tuple(-bound for bound in reversed(back.interval or ())))


@given(COUNTS.filter(lambda found: found.pictures > 0))
def test_the_interval_of_a_difference_holds_it_and_is_within_the_possible(found: TwoByTwo) -> None:
    value, interval = share_difference(found)

    assert value == pytest.approx((found.only_other - found.only_first) / found.pictures)
    assert interval is not None
    assert -1 <= interval[0] <= value <= interval[1] <= 1
    assert interval[0] < interval[1]


def test_models_that_never_differ_may_still_differ_on_other_pictures() -> None:
    few, many = (share_difference(TwoByTwo(pictures, 0, 0, 0)) for pictures in (20, 2000))

    assert (few.value, many.value) == (0, 0)
    assert few.interval == pytest.approx((-0.126, 0.126), abs=1e-4)  # 1.96 · √(2/22) / √22
    assert many.interval is not None
    assert many.interval[1] < 0.002


def test_the_difference_on_no_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="on no pictures"):
        share_difference(TwoByTwo(0, 0, 0, 0))


@given(COUNTS)
def test_what_can_be_seen_is_the_least_that_the_test_tells_from_chance(found: TwoByTwo) -> None:
    least = least_visible(found)

    if least is None:
        assert found.pictures < 6
        return
    discordant = max(found.discordant, 6)
    uneven = TwoByTwo(0, (discordant - least) // 2, (discordant + least) // 2, 0)
    assert mcnemar(uneven) < LEVEL
    if least >= 2 and found.discordant >= 6:
        assert mcnemar(TwoByTwo(0, uneven.only_first + 1, uneven.only_other - 1, 0)) >= LEVEL


# ── other metrics ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("name", "task", "make"), METRICS)
def test_a_difference_of_metrics_has_the_opposite_for_the_models_in_turn(name: str, task: Task, make: Any) -> None:
    better, worse, targets = two_models(make, 60, 0)
    there = metric_difference(name, task, (better, None), (worse, None), targets, seed=1, resamples=60)
    back = metric_difference(name, task, (worse, None), (better, None), targets, seed=1, resamples=60)

    assert there.value == pytest.approx(score(name, task, worse, targets) - score(name, task, better, targets))
    assert there.value == -back.value
    assert there.interval is not None
    assert there.interval[0] <= there.value <= there.interval[1]
    assert there.interval == pytest.approx(tuple(-bound for bound in reversed(back.interval or ())))
    assert there == metric_difference(name, task, (better, None), (worse, None), targets, seed=1, resamples=60)


@pytest.mark.parametrize(("name", "task", "make"), METRICS)
def test_equal_answers_differ_by_nothing_and_know_no_interval(name: str, task: Task, make: Any) -> None:
    answers, targets = make(40)
    found = metric_difference(name, task, (answers, None), (answers, None), targets, seed=0, resamples=30)
    assert found == Difference(0.0, None)


def test_thresholds_decide_for_each_model_by_itself() -> None:
    answers, targets = several(80)
    found = metric_difference(
        "macro-f1", "multi-label", (answers, None), (answers, [0.9] * 8), targets, seed=0, resamples=30
    )
    assert found.value < -0.05


def test_pairs_tell_more_than_two_intervals_would() -> None:
    better, worse, targets = two_models(values, 200, 3)
    found = metric_difference("r2", "regression", (better, None), (worse, None), targets, seed=0, resamples=200)
    assert found.interval is not None
    assert found.interval[1] < 0


def test_what_is_undefined_or_not_finite_has_no_difference() -> None:
    answers, targets = several(10, 2)
    nothing = metric_difference(
        "mean-average-precision", "multi-label", (answers, None), (answers, None), targets * 0, seed=0
    )
    assert math.isnan(nothing.value)
    broken = np.where(np.arange(2) == 0, np.nan, answers).astype(np.float32)
    found = metric_difference("mean-average-precision", "multi-label", (answers, None), (broken, None), targets, seed=0)
    assert (math.isnan(found.value), found.interval) == (True, None)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=40))
@settings(max_examples=10)
def test_the_test_of_losses_does_not_care_who_comes_first(differences: list[float]) -> None:
    losses, none = np.array(differences), np.zeros(len(differences))
    assert signed_rank(losses, none) == pytest.approx(signed_rank(none, losses))
    assert 0 <= signed_rank(losses, none) <= 1
    assert signed_rank(losses, losses) == 1


def test_losses_that_are_lower_on_nearly_every_picture_are_told_from_chance_and_a_huge_one_is_not() -> None:
    generator = np.random.default_rng(0)
    losses = generator.random(60)
    assert signed_rank(losses, losses - 0.01 - 0.01 * generator.random(60)) < 1e-6
    assert signed_rank(losses, losses + np.eye(60)[0] * 1000) > 0.3


def test_losses_that_cannot_be_ranked_tell_nothing_apart_and_spoil_no_other_test() -> None:
    losses = np.random.default_rng(0).random(20)
    for broken in (np.nan, np.inf):
        assert signed_rank(losses, np.append(losses[:-1], broken)) == 1
    assert holm([signed_rank(losses, losses * np.nan), 0.01]) == (1, 0.02)


# ── several tests ───────────────────────────────────────────────────────────────────────────────────


def test_holm_multiplies_the_smallest_by_all_and_the_largest_by_one() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx((0.06, 0.03, 0.06))
    assert holm([0.4, 0.9]) == pytest.approx((0.8, 0.9))
    assert holm([]) == ()


@given(st.lists(st.floats(0, 1), max_size=9))
def test_holm_never_lowers_a_p_value_and_keeps_their_order(p_values: list[float]) -> None:
    found = holm(p_values)
    assert all(p <= corrected <= 1 for p, corrected in zip(p_values, found, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert sorted(found) == [found[at] for at in order]
    assert len(p_values) != 1 or found == tuple(p_values)


# ── how often they are right ────────────────────────────────────────────────────────────────────────


def drawn(generator: np.random.Generator, only_first: float, only_other: float, pictures: int) -> TwoByTwo:
    rest = 1 - only_first - only_other
    return TwoByTwo(*map(int, generator.multinomial(pictures, [0.8 * rest, only_first, only_other, 0.2 * rest])))


@pytest.mark.slow
@pytest.mark.parametrize("pictures", [20, 60, 300])
@pytest.mark.parametrize(("only_first", "only_other"), [(0.0, 0.01), (0.02, 0.02), (0.05, 0.15), (0.3, 0.05)])
def test_the_interval_of_a_share_holds_the_true_difference_as_often_as_it_says(
    only_first: float, only_other: float, pictures: int
) -> None:
    generator = np.random.default_rng(0)
    found = [share_difference(drawn(generator, only_first, only_other, pictures)).interval for _ in range(2000)]
    assert np.mean([i[0] <= only_other - only_first <= i[1] for i in found if i]) > 0.935


@pytest.mark.slow
@pytest.mark.parametrize("pictures", [20, 300])
def test_mcnemar_tells_equal_models_apart_one_time_in_twenty_at_most(pictures: int) -> None:
    generator = np.random.default_rng(0)
    found = [mcnemar(drawn(generator, 0.1, 0.1, pictures)) < LEVEL for _ in range(2000)]
    assert np.mean(found) < 0.055


@pytest.mark.slow
@pytest.mark.parametrize(("name", "task", "make"), METRICS)
def test_the_bootstrap_holds_the_true_difference_about_as_often_as_it_says(name: str, task: Task, make: Any) -> None:
    def difference(pictures: int, seed: int, resamples: int) -> Difference:
        better, worse, targets = two_models(make, pictures, seed)
        pair = ((better, None), (worse, None))
        return metric_difference(name, task, *pair, targets, seed=seed, resamples=resamples)

    truth = difference(30_000, 9999, 1).value
    found = [difference(150, seed, 200).interval for seed in range(150)]
    assert 0.88 <= np.mean([i[0] <= truth <= i[1] for i in found if i]) <= 0.995
