"""Which labels are likely wrong: on real scans of digits with planted errors, and where there is little to go by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from finetune.insights.label_errors import FEWEST_PICTURES, MOST_LISTED, find_errors, held_out_probabilities
from finetune.types import Example, LabelErrors, Task

DIGITS = tuple("0123456789")
PLANTED = 12


def pictures_of(targets: NDArray[np.int64], labels: tuple[str, ...] = DIGITS) -> list[tuple[str, Example]]:
    return [("train", Example(path=Path(f"{at}.png"), label=labels[target])) for at, target in enumerate(targets)]


def found_in(
    targets: NDArray[np.int64], probabilities: NDArray[np.float64], labels: tuple[str, ...] = DIGITS
) -> LabelErrors:
    found = find_errors("single-label", labels, pictures_of(targets, labels), probabilities, targets, "Somehow.")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    scans, targets = load_digits(return_X_y=True)
    return scans[:400].astype(np.float32), targets[:400].astype(np.int64)


def test_most_planted_errors_are_found_and_few_others(digits: tuple[NDArray[np.float32], NDArray[np.int64]]) -> None:
    features, right = digits
    planted = np.random.default_rng(1).choice(len(right), PLANTED, replace=False)
    targets = right.copy()
    targets[planted] = (targets[planted] + 3) % 10

    found = found_in(targets, held_out_probabilities(features, targets, 10, seed=0))

    named = [int(Path(error.path).stem) for error in found.found]
    assert len(set(named) & set(planted)) >= 0.75 * PLANTED
    assert len(set(named) - set(planted)) <= 4
    assert set(named[:5]) <= set(planted), "the likeliest come first"
    assert (found.pictures, found.method, found.found[0].part) == (400, "Somehow.", "train")
    first = found.found[0]
    assert (first.given, first.likely) == (DIGITS[targets[named[0]]], DIGITS[right[named[0]]])
    assert first.given_probability < 0.1 < 0.5 < first.likely_probability <= 1


def test_of_labels_that_are_right_none_is_doubted(digits: tuple[NDArray[np.float32], NDArray[np.int64]]) -> None:
    features, right = digits
    assert len(found_in(right, held_out_probabilities(features, right, 10, seed=0)).found) <= 4


def test_the_only_picture_of_a_class_is_taken_at_its_word_and_of_few_each_is_learned_from_the_others(
    digits: tuple[NDArray[np.float32], NDArray[np.int64]],
) -> None:
    features, right = digits
    few = np.concatenate([np.flatnonzero(right == 0)[:30], np.flatnonzero(right == 1)[:2], [np.argmax(right == 7)]])

    answered = held_out_probabilities(features[few], right[few], 10, seed=0)

    assert answered.shape == (33, 10)
    np.testing.assert_allclose(answered.sum(axis=1), 1, rtol=1e-6)
    assert answered[-1].tolist() == np.eye(10)[7].tolist()
    assert (answered[:-1, 7] == 0).all()
    assert (answered[30:32, 1] > 0).all(), "each of the two was left to the other"


@pytest.mark.parametrize("targets", [[0, 1], [0, 0, 0, 1], [1, 1, 1]])
def test_without_two_classes_of_several_pictures_all_are_taken_at_their_word(targets: list[int]) -> None:
    features = np.arange(len(targets), dtype=np.float32)[:, None]
    assert (held_out_probabilities(features, np.array(targets), 2, seed=0) == np.eye(2)[targets]).all()


@st.composite
def answered(draw: st.DrawFn) -> tuple[Task, NDArray[np.float32], NDArray[np.int64] | NDArray[np.float32]]:
    """Answers as a network might give them, as certain as can be among them, and labels that some classes lack."""
    count, classes = draw(st.integers(FEWEST_PICTURES, 30)), draw(st.integers(2, 5))
    chance = np.random.default_rng(draw(st.integers(0, 99)))
    logits = chance.normal(size=(count, classes)) * draw(st.sampled_from([0, 1, 1000]))
    if draw(st.booleans()):
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        some = chance.integers(0, draw(st.integers(1, classes)), count)
        return "single-label", (likely / likely.sum(axis=1, keepdims=True)).astype(np.float32), some
    shown = chance.random((count, classes)) < draw(st.sampled_from([0, 0.05, 0.5, 1]))
    return "multi-label", (1 / (1 + np.exp(-np.clip(logits, -99, 99)))).astype(np.float32), shown.astype(np.float32)


@settings(max_examples=40)
@given(answered())
def test_whatever_the_answers_each_doubt_is_of_one_picture_and_names_another_label(
    case: tuple[Task, NDArray[np.float32], NDArray[np.int64]],
) -> None:
    task, probabilities, targets = case
    labels = DIGITS[: probabilities.shape[1]]
    shown = pictures_of(targets, labels) if task == "single-label" else several(targets, labels)

    found = find_errors(task, labels, shown, probabilities, targets, "")

    for error in found.found if found else ():
        assert error.given != error.likely
        assert 0 <= error.given_probability <= error.likely_probability <= 1
    assert found is None or len({error.path for error in found.found}) == len(found.found)


def several(targets: NDArray[np.float32], labels: tuple[str, ...]) -> list[tuple[str, Example]]:
    shown = [tuple(label for label, is_shown in zip(labels, row, strict=True) if is_shown) for row in targets]
    return [("valid", Example(path=Path(f"{at}.png"), labels=row)) for at, row in enumerate(shown)]


def test_of_several_labels_the_wrong_ones_are_put_right_and_the_others_stay() -> None:
    right = np.random.default_rng(2).integers(0, 2, (60, 3)).astype(np.float32)
    probabilities = np.where(right > 0, np.float32(0.9), np.float32(0.1))
    targets = right.copy()
    targets[7] = [1, 1, 1 - right[7, 2]]
    right[7, :2] = 1
    probabilities[7, :2] = 0.9

    found = find_errors(
        "multi-label", ("a", "b", "c"), several(targets, ("a", "b", "c")), probabilities, targets, "So."
    )

    assert found is not None
    (error,) = found.found
    assert found.doubted == 1
    assert (error.path, error.part) == ("7.png", "valid")
    assert {error.given, error.likely} == {"a|b", "a|b|c"}
    assert (error.given_probability, error.likely_probability) == pytest.approx((0.1, 0.9))
    assert found.method == "So. The probabilities are those of the label that is most in doubt."


@pytest.mark.parametrize(
    ("task", "count", "targets"),
    [
        ("regression", 40, np.arange(40.0)[:, None]),
        ("single-label", FEWEST_PICTURES - 1, np.arange(FEWEST_PICTURES - 1) % 2),
        ("single-label", 40, np.zeros(40, np.int64)),
        ("multi-label", 40, np.ones((40, 2), np.float32)),
    ],
)
def test_where_there_is_nothing_to_go_by_nothing_is_said(task: Task, count: int, targets: NDArray[np.int64]) -> None:
    shown = [("valid", Example(path=Path(f"{at}.png"))) for at in range(count)]
    assert find_errors(task, ("a", "b"), shown, np.full((count, 2), 0.5), targets, "") is None


def test_of_more_errors_than_are_listed_all_are_counted() -> None:
    right = np.arange(1000) % 4
    targets = np.where(np.arange(1000) % 5 == 0, (right + 1) % 4, right)

    found = found_in(targets, np.eye(4)[right] * 0.9 + 0.025, DIGITS[:4])

    assert (len(found.found), found.doubted, found.method) == (MOST_LISTED, 200, "Somehow.")
