from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import expit, logit, softmax

from finetune.evaluation.calibration import (
    TEMPERATURES,
    expected_calibration_error,
    fit_temperature,
    log_loss_with_doubt,
)
from finetune.evaluation.metrics import score
from finetune.types import Task

from .conftest import several, single, values

TASKS = pytest.mark.parametrize("task", ["single-label", "multi-label"])


def logits_of(task: Task, pictures: int = 2000, seed: int = 0) -> tuple[Any, Any]:
    """Return logits that are calibrated as they are, and targets."""
    answers, targets = (single if task == "single-label" else several)(pictures, seed=seed)
    wide = answers.astype(np.float64)
    return (np.log(wide) if task == "single-label" else logit(wide)), targets


# ── temperature ─────────────────────────────────────────────────────────────────────────────────────


@TASKS
@pytest.mark.parametrize("exaggerated", [0.3, 1, 4])
def test_the_temperature_undoes_what_confidence_was_exaggerated_by(task: Task, exaggerated: float) -> None:
    logits, targets = logits_of(task)
    assert fit_temperature(task, logits * exaggerated, targets) == pytest.approx(exaggerated, rel=0.12)


@TASKS
def test_the_temperature_has_the_lowest_loss_of_a_grid(task: Task) -> None:
    logits, targets = logits_of(task, 100)
    found = fit_temperature(task, logits * 3, targets)
    grid = [log_loss_with_doubt(task, logits * 3 / other, targets) for other in np.geomspace(*TEMPERATURES, 400)]
    assert log_loss_with_doubt(task, logits * 3 / found, targets) <= min(grid) + 1e-9


@TASKS
def test_the_temperature_makes_fresh_pictures_better_calibrated(task: Task) -> None:
    logits, targets = logits_of(task)
    fresh, fresh_targets = logits_of(task, seed=1)
    answer = (lambda z: softmax(z, axis=1)) if task == "single-label" else expit
    temperature = fit_temperature(task, logits * 3, targets)
    before, after = answer(fresh * 3), answer(fresh * 3 / temperature)
    for name in ("log-loss", "ece"):
        assert score(name, task, after, fresh_targets) < 0.7 * score(name, task, before, fresh_targets)


@given(
    arrays.arrays(np.float32, (7, 4), elements=st.floats(-50, 50, width=32)),
    arrays.arrays(np.int64, 7, elements=st.integers(0, 3)),
)
def test_the_temperature_never_changes_which_label_is_the_most_probable(logits: Any, targets: Any) -> None:
    temperature = fit_temperature("single-label", logits, targets)
    answers = softmax(logits.astype(np.float64) / temperature, axis=1)
    first = answers[np.arange(7), logits.argmax(axis=1)]
    assert (first == answers.max(axis=1)).all()
    assert TEMPERATURES[0] <= temperature <= TEMPERATURES[1]


@TASKS
@pytest.mark.parametrize("pictures", [1, 20, 5000])
def test_answers_that_are_all_right_do_not_ask_for_boundless_confidence(task: Task, pictures: int) -> None:
    shown = np.eye(2)[np.arange(pictures) % 2]
    logits = np.where(shown, 3.0, -3.0)
    temperature = fit_temperature(task, logits, shown.argmax(axis=1) if task == "single-label" else shown)
    apart = 6 if task == "single-label" else 3  # the sigmoid of this, over the temperature, leaves the doubt
    assert expit(-apart / temperature) == pytest.approx(1 / (pictures + 2), rel=1e-3)


@TASKS
def test_what_no_temperature_makes_better_is_left_as_it_is(task: Task) -> None:
    targets = np.array([0, 1]) if task == "single-label" else np.eye(2)
    assert fit_temperature(task, np.zeros((2, 2)), targets) == 1


def test_answers_that_are_all_wrong_end_at_the_highest_temperature() -> None:
    logits = np.tile([[9.0, -9.0]], (50, 1))
    assert fit_temperature("single-label", logits, np.ones(50, np.int64)) == pytest.approx(TEMPERATURES[1], rel=1e-3)


@TASKS
def test_two_runtimes_agree_at_the_lowest_temperature(task: Task) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(500, 10)) * TEMPERATURES[0]
    other = logits + generator.uniform(-1e-5, 1e-5, size=logits.shape)
    answer = (lambda z: softmax(z, axis=1)) if task == "single-label" else expit
    assert np.abs(answer(logits / TEMPERATURES[0]) - answer(other / TEMPERATURES[0])).max() <= 1e-4


def test_the_loss_with_doubt_is_that_of_targets_which_leave_a_mistake_possible() -> None:
    logits, targets = np.array([[2.0, 0.0, -1.0], [0.5, 0.0, 0.0]]), np.array([0, 2])
    wanted = np.array([[0.75, 0.125, 0.125], [0.125, 0.125, 0.75]])  # one mistake in 2 + 2
    expected = -(wanted * np.log(softmax(logits, axis=1))).sum(axis=1).mean()
    assert log_loss_with_doubt("single-label", logits, targets) == pytest.approx(expected)
    wanted, answers = np.where(np.eye(3)[targets] > 0, 0.75, 0.25), expit(logits)
    expected = -(wanted * np.log(answers) + (1 - wanted) * np.log(1 - answers)).mean()
    assert log_loss_with_doubt("multi-label", logits, np.eye(3)[targets]) == pytest.approx(expected)


def test_with_very_many_pictures_the_doubt_is_gone() -> None:
    logits, targets = logits_of("single-label", 20_000)
    plain = score("log-loss", "single-label", softmax(logits, axis=1), targets)
    assert log_loss_with_doubt("single-label", logits, targets) == pytest.approx(plain, abs=1e-3)


def test_what_has_no_temperature_is_refused() -> None:
    logits, targets = logits_of("single-label", 10)
    with pytest.raises(ValueError, match="needs pictures, and logits that are finite"):
        fit_temperature("single-label", logits[:0], targets[:0])
    logits[3, 2] = np.inf
    with pytest.raises(ValueError, match="needs pictures, and logits that are finite"):
        fit_temperature("single-label", logits, targets)
    with pytest.raises(ValueError, match="regression has no probabilities"):
        fit_temperature("regression", *values())


# ── expected calibration error ──────────────────────────────────────────────────────────────────────


def reference_error(confidence: Any, right: Any, bins: int) -> float:
    """Return the definition of Guo et al. 2017, bin by bin."""
    total = 0.0
    for k in range(bins):
        inside = (confidence > k / bins) & (confidence <= (k + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_calibration_error_is_that_of_its_definition(bins: int) -> None:
    answers, targets = single(500, 5, spread=1)
    right = answers.argmax(axis=1) == targets
    expected = reference_error(answers.max(axis=1).astype(np.float64), right, bins)
    assert expected_calibration_error("single-label", answers, targets, bins) == pytest.approx(expected)
    answers, targets = several(300, 5)
    expected = reference_error(answers.ravel().astype(np.float64), targets.ravel(), bins)
    assert expected_calibration_error("multi-label", answers, targets, bins) == pytest.approx(expected)


@TASKS
def test_answers_that_are_right_as_often_as_they_say_have_next_to_no_calibration_error(task: Task) -> None:
    answers, targets = (single if task == "single-label" else several)(50_000)
    assert expected_calibration_error(task, answers, targets) < 0.01


def test_the_upper_edge_of_a_bin_belongs_to_it() -> None:
    answers, targets = np.array([[0.125], [0.25], [0.375]], np.float32), np.array([[1], [0], [0]], np.float32)
    expected = (abs(0.375 - 1) + abs(0.375 - 0)) / 3  # of the first two together, and of the third
    assert expected_calibration_error("multi-label", answers, targets, bins=4) == pytest.approx(expected)


def test_certain_answers_are_off_by_the_share_that_is_wrong() -> None:
    answers = np.tile(np.array([[1, 0]], np.float32), (10, 1))
    assert expected_calibration_error("single-label", answers, np.array([0] * 7 + [1] * 3)) == pytest.approx(0.3)
    assert expected_calibration_error("multi-label", answers, 1 - answers) == 1
    assert expected_calibration_error("multi-label", answers, answers) == 0


def test_the_calibration_error_of_the_catalogue_is_that_of_15_bins() -> None:
    answers, targets = single()
    error = expected_calibration_error("single-label", answers, targets, bins=15)
    assert score("ece", "single-label", answers, targets) == pytest.approx(error)


def test_the_calibration_error_of_no_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="of no pictures"):
        expected_calibration_error("multi-label", np.empty((0, 3), np.float32), np.empty((0, 3)))
