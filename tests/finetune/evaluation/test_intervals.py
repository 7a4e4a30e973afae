from __future__ import annotations

import numpy as np
import pytest

from finetune.builtin.metrics import METRICS
from finetune.evaluation.intervals import Interval, interval
from finetune.evaluation.metrics import score
from finetune.types import Task

from .conftest import EXAMPLES, several, single, values

CASES = [(metric.name, task) for metric in METRICS.values() for task in metric.tasks]
Z = 1.959964


def covered(name: str, task: Task, pictures: int, labels: int = 4, draws: int = 120) -> float:
    """Return how often the interval of a draw of pictures holds what very many pictures show."""
    make = EXAMPLES[task]
    truth = score(name, task, *make(30_000, labels, seed=9999))
    found = [
        interval(name, task, *make(pictures, labels, seed=seed), seed=seed, resamples=200) for seed in range(draws)
    ]
    return float(np.mean([held.low <= truth <= held.high for held in found if held]))


# ── what every interval has ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("name", "task"), CASES)
def test_an_interval_holds_the_score_and_is_the_same_for_the_same_seed(name: str, task: Task) -> None:
    answers, targets = EXAMPLES[task](80)
    found = interval(name, task, answers, targets, seed=3, resamples=100)
    assert found is not None
    assert found.low <= score(name, task, answers, targets) <= found.high
    assert 0 < found.high - found.low < 1
    assert found == interval(name, task, answers, targets, seed=3, resamples=100)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("balanced-accuracy", "single-label"),
        ("ece", "multi-label"),
        ("mean-auroc", "multi-label"),
        ("r2", "regression"),
    ],
)
def test_the_seed_draws_the_resamples(name: str, task: Task) -> None:
    answers, targets = EXAMPLES[task](80)
    assert len({interval(name, task, answers, targets, seed=seed, resamples=60) for seed in range(3)}) == 3


@pytest.mark.parametrize("name", ["accuracy", "macro-f1", "mean-auroc", "mean-average-precision", "ece"])
@pytest.mark.parametrize(("pictures", "spread"), [(20, 2), (40, 12), (400, 2)])
def test_an_interval_stays_between_0_and_1_and_holds_the_score(name: str, pictures: int, spread: float) -> None:
    for seed in range(8):
        answers, targets = several(pictures, 4, seed=seed, spread=spread)
        found = interval(name, "multi-label", answers, targets, seed=seed, resamples=40)
        assert found is not None
        assert 0 <= found.low <= score(name, "multi-label", answers, targets) <= found.high <= 1


@pytest.mark.parametrize(("name", "task"), CASES)
def test_more_pictures_narrow_the_interval(name: str, task: Task) -> None:
    few = interval(name, task, *EXAMPLES[task](60), seed=0, resamples=100)
    many = interval(name, task, *EXAMPLES[task](2000), seed=0, resamples=100)
    assert few is not None
    assert many is not None
    assert many.high - many.low < 0.5 * (few.high - few.low)


@pytest.mark.parametrize(
    ("name", "task", "least"),
    [
        ("accuracy", "single-label", 0.9),
        ("macro-f1", "single-label", 0.88),
        ("mean-average-precision", "multi-label", 0.88),
        ("mean-auroc", "multi-label", 0.88),
        ("log-loss", "single-label", 0.88),
        ("rmse", "regression", 0.88),
        ("r2", "regression", 0.88),
    ],
)
def test_the_interval_holds_the_true_value_about_as_often_as_it_says(name: str, task: Task, least: float) -> None:
    assert least <= covered(name, task, 150) <= 0.995


@pytest.mark.parametrize(("name", "pictures", "labels"), [("macro-f1", 300, 40), ("mean-average-precision", 200, 20)])
def test_labels_of_few_pictures_do_not_lead_the_interval_astray(name: str, pictures: int, labels: int) -> None:
    found = covered(name, "single-label", pictures, labels, draws=60)
    assert found > 0.8  # plain percentiles hold it two times in three, or in one of two


def test_a_lower_bound_of_the_calibration_error_is_not_above_the_error_of_well_calibrated_answers_as_a_rule() -> None:
    found = [interval("ece", "single-label", *single(150, seed=seed), seed=0, resamples=200) for seed in range(40)]
    assert np.median([held.low for held in found if held]) < 0.02


# ── shares of pictures ──────────────────────────────────────────────────────────────────────────────


def shares(right: int, pictures: int) -> tuple[np.ndarray, np.ndarray]:
    targets = np.zeros(pictures, dtype=np.int64)
    targets[right:] = 1
    return np.tile(np.array([[0.9, 0.1]], np.float32), (pictures, 1)), targets


@pytest.mark.parametrize(("right", "pictures"), [(1, 1), (0, 1), (50, 50), (0, 30), (49, 50), (300, 1000)])
def test_the_interval_of_an_accuracy_is_wilsons(right: int, pictures: int) -> None:
    share = right / pictures
    middle = (share + Z**2 / (2 * pictures)) / (1 + Z**2 / pictures)
    half = Z / (1 + Z**2 / pictures) * (share * (1 - share) / pictures + Z**2 / (4 * pictures**2)) ** 0.5
    found = interval("accuracy", "single-label", *shares(right, pictures), seed=0)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half), abs=1e-6)


def test_all_right_is_no_proof_of_perfection() -> None:
    found = interval("accuracy", "single-label", *shares(50, 50), seed=0)
    assert found == Interval(low=pytest.approx(0.9286, abs=1e-4), high=pytest.approx(1.0))


def test_one_more_right_answer_lifts_both_bounds() -> None:
    bounds = [interval("accuracy", "single-label", *shares(right, 20), seed=0) for right in range(21)]
    lows, highs = zip(*[(found.low, found.high) for found in bounds if found], strict=True)
    assert sorted(set(lows)) == list(lows)
    assert sorted(set(highs)) == list(highs)


def test_thresholds_decide_what_is_right() -> None:
    answers, targets = several()
    found = interval("accuracy", "multi-label", answers, targets, seed=0, thresholds=[2.0] * 8)
    assert found == interval("accuracy", "multi-label", np.zeros_like(answers), targets, seed=0)


# ── where pictures do not tell ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("name", "task"), [case for case in CASES if case[0] not in ("accuracy", "top-5")])
def test_one_picture_has_no_interval(name: str, task: Task) -> None:
    answers, targets = EXAMPLES[task](1)
    assert interval(name, task, answers, targets, seed=0, resamples=20) is None


@pytest.mark.parametrize("name", ["balanced-accuracy", "macro-f1", "mean-auroc", "mean-average-precision"])
def test_answers_that_are_all_right_have_no_interval_of_a_mean_over_labels(name: str) -> None:
    targets = np.arange(40) % 4
    answers = np.eye(4, dtype=np.float32)[targets]
    assert interval(name, "single-label", answers, targets, seed=0, resamples=50) is None


def test_an_undefined_metric_has_no_interval() -> None:
    answers, targets = several(20, 2)
    assert interval("mean-auroc", "multi-label", answers, np.zeros_like(targets), seed=0) is None
    answers[0] = np.nan
    assert interval("accuracy", "multi-label", answers, targets, seed=0) is None


def test_resamples_that_leave_the_metric_undefined_do_not_count() -> None:
    answers, targets = several(6, 1, seed=1)
    targets[:, 0] = [1, 0, 0, 1, 0, 0]
    answers[:, 0] = [0.9, 0.1, 0.7, 0.6, 0.3, 0.2]
    found = interval("mean-auroc", "multi-label", answers, targets, seed=0)
    assert found is not None
    assert 0 < found.low < found.high == 1


def test_the_interval_of_no_pictures_is_refused() -> None:
    answers, targets = values()
    with pytest.raises(ValueError, match="mae of no pictures"):
        interval("mae", "regression", answers[:0], targets[:0], seed=0)
