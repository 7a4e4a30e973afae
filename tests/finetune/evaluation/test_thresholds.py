from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.evaluation.calibration import (
    FEWEST_PICTURES,
    MARGIN,
    AbstainPoint,
    abstain_threshold,
    choose_thresholds,
)
from finetune.evaluation.metrics import score

from .conftest import Answers, several, single


def column(probabilities: list[float], shown: list[int]) -> tuple[Answers, Any]:
    return np.array(probabilities, np.float32)[:, None], np.array(shown, np.float32)[:, None]


def binary(confidences: list[float], right: list[int]) -> tuple[Answers, Any]:
    """Return single labels of two, the first of which is always the most probable."""
    first = np.array(confidences, np.float32)
    return np.stack([first, 1 - first], axis=1), 1 - np.array(right, np.int64)


# ── of several labels ───────────────────────────────────────────────────────────────────────────────


def highest_f1(answers: Answers, targets: Any) -> list[float]:
    """Return the thresholds with the highest F1 on these very pictures."""

    def best(probabilities: Any, shown: Any) -> float:
        given = probabilities >= np.unique(probabilities)[:, None]
        f1 = 2 * (given & (shown > 0)).sum(axis=1) / (given.sum(axis=1) + shown.sum())
        return float(np.unique(probabilities)[f1.argmax()])

    return [best(probabilities, shown) for probabilities, shown in zip(answers.T, targets.T, strict=True)]


def drawn(pictures: int, seed: int) -> tuple[Answers, Any]:
    """Return the probabilities of four labels that are told apart well, and not as surely as they claim."""
    chance = np.random.default_rng(seed)
    shown = (chance.random((pictures, 4)) < 0.2).astype(np.float32)
    logits = 2.4 * (chance.normal(size=shown.shape) + 1.2 * (2 * shown - 1)) - 2.4
    return (1 / (1 + np.exp(-logits))).astype(np.float32), shown


def test_on_other_pictures_the_thresholds_beat_a_half_and_those_with_the_highest_f1() -> None:
    """That of the pictures that they were chosen on is chance to a good part."""
    rules = {"chosen": lambda *pair: choose_thresholds(*pair, 1), "highest": highest_f1, "half": lambda *_: [0.5] * 4}
    reached: dict[str, list[float]] = {name: [] for name in rules}
    for seed in range(12):
        answers, targets = drawn(3100, seed)
        for name, rule in rules.items():
            thresholds = rule(answers[:100], targets[:100])
            reached[name].append(score("macro-f1", "multi-label", answers[100:], targets[100:], thresholds))
    chosen, highest, half = (np.mean(values) for values in reached.values())
    assert chosen > highest + 0.005
    assert chosen > half + 0.005


def test_the_thresholds_raise_the_mean_f1_of_the_pictures_that_they_were_chosen_on() -> None:
    answers, targets = several(spread=1)
    chosen = score("macro-f1", "multi-label", answers, targets, choose_thresholds(answers, targets, 1))
    assert chosen > score("macro-f1", "multi-label", answers, targets) + 0.05


def test_a_threshold_lies_midway_between_the_probabilities_that_it_divides() -> None:
    answers, targets = column([0.1] * 10 + [0.3] * 10, [0] * 10 + [1] * 10)
    assert choose_thresholds(answers, targets, 1) == (pytest.approx(0.2),)


def test_the_same_seed_chooses_the_same_thresholds() -> None:
    answers, targets = several(100, 3, seed=2)
    assert choose_thresholds(answers, targets, 1) == choose_thresholds(answers, targets, 1)


@given(st.integers(0, 10_000), st.sampled_from([3, 4, 5]))
def test_no_probability_is_within_the_margin_of_a_threshold(seed: int, digits: int) -> None:
    answers, targets = several(200, 2, seed=seed)
    answers = answers.round(digits)
    moved = answers + np.random.default_rng(seed).uniform(-MARGIN, MARGIN, answers.shape).astype(np.float32)
    thresholds = np.array(choose_thresholds(answers, targets, seed))
    assert (np.abs(answers - thresholds) > MARGIN)[:, thresholds != 0.5].all()
    assert ((answers >= thresholds) == (moved >= thresholds))[:, thresholds != 0.5].all()


@pytest.mark.parametrize(
    ("shown", "chosen"), [(0, False), (9, False), (10, True), (20, True), (21, False), (30, False)]
)
def test_a_label_keeps_a_half_where_few_pictures_show_it_or_few_do_not(shown: int, chosen: bool) -> None:
    assert FEWEST_PICTURES == 10
    answers, targets = column([0.01 * k for k in range(30)], [0] * (30 - shown) + [1] * shown)
    assert (choose_thresholds(answers, targets, 1) != (0.5,)) == chosen


def test_a_label_keeps_a_half_where_its_probabilities_are_too_close_to_be_told_apart() -> None:
    close = np.linspace(0.3, 0.301, 40).tolist()
    assert choose_thresholds(*column(close, [0] * 20 + [1] * 20), 1) == (0.5,)


# ── of single labels ────────────────────────────────────────────────────────────────────────────────


def test_the_model_answers_from_where_enough_of_its_answers_are_right() -> None:
    answers, targets = binary([0.95, 0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1, 0])
    assert abstain_threshold(answers, targets, 0.75) == AbstainPoint(
        threshold=pytest.approx(0.65), precision=0.75, coverage=0.8
    )
    assert abstain_threshold(answers, targets, 0.76) == AbstainPoint(
        threshold=pytest.approx(0.85), precision=1.0, coverage=0.4
    )


def test_nothing_is_held_back_where_all_answers_together_are_right_often_enough() -> None:
    answers, targets = binary([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 1])
    assert abstain_threshold(answers, targets, 0.75) == AbstainPoint(threshold=0.0, precision=0.75, coverage=1.0)


def test_there_is_no_threshold_where_none_reaches_the_precision() -> None:
    answers, targets = binary([0.9, 0.8, 0.7], [0, 1, 0])
    assert abstain_threshold(answers, targets, 0.6) is None


def test_answers_that_are_too_close_are_not_divided() -> None:
    answers, targets = binary([0.9001, 0.9, 0.6], [1, 0, 0])
    assert abstain_threshold(answers, targets, 1.0) is None


@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.8, 0.95, 1.0]), st.integers(1, 60))
def test_no_lower_threshold_reaches_the_precision(seed: int, precision: float, pictures: int) -> None:
    answers, targets = single(pictures, 3, seed=seed)
    answers = answers.round(3)
    confidence, right = answers.max(axis=1), answers.argmax(axis=1) == targets
    enough = [cut for cut in np.unique(confidence) if right[confidence >= cut].mean() >= precision]
    found = abstain_threshold(answers, targets, precision)
    if not enough:
        assert found is None
    else:
        assert found is not None
        accepted = confidence >= found.threshold
        assert accepted.sum() == (confidence >= enough[0]).sum()
        assert (found.precision, found.coverage) == pytest.approx((right[accepted].mean(), accepted.mean()))
        assert np.abs(confidence - found.threshold).min() > MARGIN


def test_a_threshold_for_no_pictures_is_refused() -> None:
    answers, targets = single()
    with pytest.raises(ValueError, match="needs pictures"):
        abstain_threshold(answers[:0], targets[:0], 0.9)
