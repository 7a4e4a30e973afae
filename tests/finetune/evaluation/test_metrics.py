from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from finetune.builtin.metrics import METRICS
from finetune.evaluation.metrics import measure_of, score
from finetune.types import Task

from .conftest import EXAMPLES, several, single, values

Reference = Callable[[Any, Any], float]

CASES = [(metric.name, task) for metric in METRICS.values() for task in metric.tasks]


def one_hot(targets: Any, labels: int) -> Any:
    return np.eye(labels, dtype=int)[targets]


def binary_log_loss(targets: Any, answers: Any) -> float:
    return float(sklearn_metrics.log_loss(targets.ravel(), answers.ravel()))


# ── against scikit-learn ────────────────────────────────────────────────────────────────────────────

SINGLE: dict[str, Reference] = {
    "accuracy": lambda t, a: sklearn_metrics.accuracy_score(t, a.argmax(1)),
    "top-5": lambda t, a: sklearn_metrics.top_k_accuracy_score(t, a, k=5, labels=range(a.shape[1])),
    "balanced-accuracy": lambda t, a: sklearn_metrics.balanced_accuracy_score(t, a.argmax(1)),
    "macro-f1": lambda t, a: sklearn_metrics.f1_score(t, a.argmax(1), average="macro"),
    "mean-auroc": lambda t, a: sklearn_metrics.roc_auc_score(one_hot(t, a.shape[1]), a, average="macro"),
    "mean-average-precision": lambda t, a: sklearn_metrics.average_precision_score(one_hot(t, a.shape[1]), a),
    "log-loss": lambda t, a: sklearn_metrics.log_loss(t, a, labels=range(a.shape[1])),
}
SEVERAL: dict[str, Reference] = {
    "accuracy": lambda t, a: sklearn_metrics.accuracy_score(t, a >= 0.5),
    "macro-f1": lambda t, a: sklearn_metrics.f1_score(t, a >= 0.5, average="macro"),
    "mean-auroc": lambda t, a: sklearn_metrics.roc_auc_score(t, a, average="macro"),
    "mean-average-precision": lambda t, a: sklearn_metrics.average_precision_score(t, a, average="macro"),
    "log-loss": binary_log_loss,
}
VALUES: dict[str, Reference] = {
    "mae": sklearn_metrics.mean_absolute_error,
    "rmse": lambda t, a: sklearn_metrics.mean_squared_error(t, a) ** 0.5,
    "r2": sklearn_metrics.r2_score,
}
REFERENCES: dict[Task, dict[str, Reference]] = {"single-label": SINGLE, "multi-label": SEVERAL, "regression": VALUES}


@pytest.mark.parametrize(("name", "task"), [case for case in CASES if case[0] != "ece"])
def test_a_score_is_scikit_learns(name: str, task: Task) -> None:
    for seed in range(3):
        answers, targets = EXAMPLES[task](seed=seed)
        assert score(name, task, answers, targets) == pytest.approx(REFERENCES[task][name](targets, answers), rel=1e-5)


@pytest.mark.parametrize("name", ["mean-auroc", "mean-average-precision"])
def test_pictures_of_equal_probability_share_their_place_as_in_scikit_learn(name: str) -> None:
    answers, targets = single(spread=1)
    rounded = answers.round(1)
    assert score(name, "single-label", rounded, targets) == pytest.approx(SINGLE[name](targets, rounded))


@given(st.data())
def test_a_ranking_of_any_ties_and_any_counts_is_scikit_learns(data: st.DataObject) -> None:
    pictures = data.draw(st.integers(2, 12))
    lists = {"min_size": pictures, "max_size": pictures}
    answers = np.array(data.draw(st.lists(st.sampled_from([0, 0.25, 0.5, 1]), **lists)), np.float32)[:, None]
    counts = np.array(data.draw(st.lists(st.integers(0, 3), **lists)), np.float64)
    targets = np.array(data.draw(st.lists(st.booleans(), **lists)), np.float32)[:, None]
    counted = [counts[targets[:, 0] == shown].sum() for shown in (0, 1)]
    for name, reference in (
        ("mean-auroc", sklearn_metrics.roc_auc_score),
        ("mean-average-precision", sklearn_metrics.average_precision_score),
    ):
        found = measure_of(name, "multi-label", answers, targets)(counts[None])[0]
        if not counted[1] or (name == "mean-auroc" and not counted[0]):
            assert np.isnan(found)
        else:
            assert found == pytest.approx(reference(targets[:, 0], answers[:, 0], sample_weight=counts))


@pytest.mark.parametrize(("name", "task"), CASES)
def test_a_picture_that_counts_twice_is_two_pictures(name: str, task: Task) -> None:
    answers, targets = EXAMPLES[task](40)
    drawn = np.random.default_rng(1).integers(40, size=(6, 40))
    counts = np.array([np.bincount(row, minlength=40) for row in drawn], dtype=np.float64)
    found = measure_of(name, task, answers, targets)(counts)
    assert found == pytest.approx([score(name, task, answers[row], targets[row]) for row in drawn], nan_ok=True)


# ── what decides ────────────────────────────────────────────────────────────────────────────────────


def test_several_labels_are_given_where_they_reach_their_thresholds() -> None:
    answers = np.array([[0.3, 0.6], [0.2, 0.9]], np.float32)
    targets = np.array([[1, 0], [0, 1]], np.float32)
    assert score("accuracy", "multi-label", answers, targets) == 0.5
    assert score("accuracy", "multi-label", answers, targets, [0.25, 0.75]) == 1
    assert score("macro-f1", "multi-label", answers, targets) == pytest.approx((0 + 2 / 3) / 2)
    assert score("macro-f1", "multi-label", answers, targets, np.array([0.25, 0.75])) == 1


def test_half_a_probability_is_enough_to_be_given() -> None:
    answers, targets = np.array([[0.5]], np.float32), np.ones((1, 1), np.float32)
    assert score("accuracy", "multi-label", answers, targets) == 1


@pytest.mark.parametrize("name", ["mean-auroc", "mean-average-precision", "log-loss", "ece"])
def test_thresholds_do_not_touch_what_judges_probabilities(name: str) -> None:
    answers, targets = several()
    assert score(name, "multi-label", answers, targets, [0.9] * 8) == score(name, "multi-label", answers, targets)


def test_of_equally_probable_labels_only_five_are_on_top() -> None:
    answers = np.full((8, 8), 1 / 8, np.float32)
    assert score("top-5", "single-label", answers, np.arange(8)) == 5 / 8


def test_a_probability_of_zero_for_what_is_right_is_a_large_loss_and_no_infinite_one() -> None:
    answers = np.array([[1, 0]], np.float32)
    assert score("log-loss", "single-label", answers, np.array([1])) == pytest.approx(-np.log(2**-23))
    assert score("log-loss", "multi-label", answers, np.array([[0, 1]])) == pytest.approx(-np.log(2**-23))


# ── what is undefined ───────────────────────────────────────────────────────────────────────────────


def test_labels_that_no_picture_shows_are_left_out_of_means_over_labels() -> None:
    answers, targets = single(300, 6)
    kept = targets < 4
    answers, targets = answers[kept], targets[kept]
    auroc = np.mean([sklearn_metrics.roc_auc_score(targets == k, answers[:, k]) for k in range(4)])
    recall = np.mean([(answers.argmax(1) == k)[targets == k].mean() for k in range(4)])
    assert score("mean-auroc", "single-label", answers, targets) == pytest.approx(auroc)
    assert score("balanced-accuracy", "single-label", answers, targets) == pytest.approx(recall)


def test_a_label_that_was_given_and_never_shown_has_an_f1_of_zero_and_one_that_is_neither_has_none() -> None:
    answers = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0]], np.float32)
    assert score("macro-f1", "single-label", answers, np.array([0, 0])) == pytest.approx((2 / 3 + 0) / 2)


@pytest.mark.parametrize("shown", [0, 1])
def test_without_a_label_that_some_pictures_show_and_others_do_not_the_auroc_is_undefined(shown: int) -> None:
    answers, _ = several(5, 2)
    targets = np.full((5, 2), shown, np.float32)
    assert np.isnan(score("mean-auroc", "multi-label", answers, targets))
    assert np.isnan(score("mean-average-precision", "multi-label", answers, targets)) == (not shown)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6 + 0.1])
def test_values_that_are_all_the_same_have_no_r2(constant: float) -> None:
    answers, targets = values(50, 2)
    targets[:, 1] = constant
    expected = sklearn_metrics.r2_score(targets[:, 0], answers[:, 0])
    assert score("r2", "regression", answers, targets) == pytest.approx(expected)
    assert np.isnan(score("r2", "regression", answers[:, 1:], targets[:, 1:]))
    assert np.isnan(score("r2", "regression", answers[:1], targets[:1]))


def test_values_far_from_zero_lose_nothing_of_their_r2() -> None:
    answers, targets = (2 * held.round(1) * 10 for held in values(50, 1))
    expected = sklearn_metrics.r2_score(targets, answers)
    found = score("r2", "regression", answers + np.float32(3e7), targets + np.float32(3e7))
    assert found == pytest.approx(expected, abs=0.05)  # float32 keeps even numbers there


def test_one_picture_drawn_over_and_over_has_no_r2() -> None:
    answers, targets = values(50, 3)
    assert np.isnan(measure_of("r2", "regression", answers, targets)(50 * np.eye(50))).all()


@pytest.mark.parametrize(("name", "task"), CASES)
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_answers_that_are_no_finite_numbers_have_no_score(name: str, task: Task, broken: float) -> None:
    answers, targets = EXAMPLES[task]()
    answers[3, 1] = broken
    assert np.isnan(score(name, task, answers, targets))


@pytest.mark.parametrize(("name", "task"), CASES)
def test_the_score_of_no_pictures_is_refused(name: str, task: Task) -> None:
    answers, targets = EXAMPLES[task]()
    with pytest.raises(ValueError, match=f"^{name} of no pictures is undefined"):
        score(name, task, answers[:0], targets[:0])


# ── what is better ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("name", "task"), CASES)
def test_better_answers_are_better_by_the_direction_that_it_is_registered_with(name: str, task: Task) -> None:
    answers, targets = EXAMPLES[task]()
    shuffled = np.random.default_rng(5).permutation(answers)
    good, bad = score(name, task, answers, targets), score(name, task, shuffled, targets)
    assert (good > bad) == METRICS[name].higher_is_better
