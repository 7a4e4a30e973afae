"""The answer that looks at no picture: made of the training pictures alone, and scored as any other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.evaluation.baselines import Baseline, baseline, constant_answer
from finetune.evaluation.decisions import Targets
from finetune.evaluation.metrics import score
from finetune.types import Task

from .conftest import EXAMPLES


def constant(task: Task, train_targets: Targets, targets: Targets, labels: int) -> Baseline:
    """Return the constant answer to pictures, learned from others."""
    return baseline(task, constant_answer(task, train_targets, labels), targets)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_no_other_constant_label_is_right_about_more_training_pictures(labels: list[int]) -> None:
    targets = np.array(labels)

    found = constant("single-label", targets, targets, 5)

    assert found.value == max(np.mean(targets == label) for label in range(5))


def test_it_says_the_majority_class_of_the_training_pictures_whatever_is_shown() -> None:
    found = constant("single-label", np.array([1, 1, 0]), np.array([0, 0, 0, 1]), 3)

    assert (found.metric, found.value) == ("accuracy", 0.25)
    assert found.answers.tolist() == pytest.approx(np.tile([1 / 3, 2 / 3, 0], (4, 1)))
    assert found.answers.dtype == np.float32


def test_of_several_labels_it_reaches_the_share_of_pictures_that_show_each() -> None:
    train, targets = np.array([[1, 0], [1, 1]], np.float32), np.array([[1, 0], [0, 0], [0, 1], [1, 0]], np.float32)

    found = constant("multi-label", train, targets, 2)

    assert found.answers[0].tolist() == [1.0, 0.5]
    assert (found.metric, found.value) == ("mean-average-precision", (0.5 + 0.25) / 2)


def test_the_mean_explains_nothing_of_what_it_is_the_mean_of_and_less_of_anything_else() -> None:
    values = np.array([[1.0], [2.0], [6.0]], np.float32)

    assert constant("regression", values, values, 1).value == pytest.approx(0)
    assert constant("regression", values, values + 5, 1).value < 0


@pytest.mark.parametrize("task", EXAMPLES)
def test_its_value_is_the_headline_metric_of_its_answers(task: Task) -> None:
    answers, targets = EXAMPLES[task](50)

    found = constant(task, targets[:20], targets[20:], answers.shape[1])

    assert found.answers.shape == (30, answers.shape[1])
    assert found.value == score(found.metric, task, found.answers, targets[20:])


def test_what_cannot_be_scored_is_no_number() -> None:
    assert np.isnan(constant("multi-label", np.ones((2, 2)), np.zeros((3, 2)), 2).value)


def test_no_pictures_to_learn_from_are_refused() -> None:
    with pytest.raises(ValueError, match="without training pictures there is no frequency to answer with"):
        constant_answer("single-label", np.array([], np.int64), 2)


def test_no_pictures_to_answer_are_refused() -> None:
    with pytest.raises(ValueError, match="accuracy of no pictures is undefined"):
        constant("single-label", np.array([0]), np.array([], np.int64), 2)
