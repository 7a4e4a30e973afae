from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from finetune.training.scenario import (
    ALIKE_FROM,
    HUGE_FROM,
    HUGE_FROM_PER_CLASS,
    LARGE_FROM,
    LARGE_FROM_PER_CLASS,
    SURE_FROM,
    Advice,
    advise,
    pictures_to_measure,
)

FEW, MANY = [60, 60, 60], [500, 500, 500]
HUGE = [HUGE_FROM // 3 + 1] * 3
HUGE_IN_ALL = [HUGE_FROM_PER_CLASS - 1] * 200
HUGE_PER_CLASS = [HUGE_FROM_PER_CLASS] * 3

LIKE = {"stem": 0.1, "stage1": 0.3, "stage2": 0.5, "stage3": 1.5}
"""How far apart each stage puts the classes: on pictures like the backbone's own, the last by far."""
OTHER = {"stem": 0.1, "stage1": 1.0, "stage2": 0.5, "stage3": 0.3}
FLAT = {"stem": 0.1, "stage1": 0.5, "stage2": 0.5, "stage3": 0.55}


def depth(profile: dict[str, float], targets: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    centres = np.random.default_rng(1).normal(size=(targets.max() + 1, 8))
    noise = np.random.default_rng(2).normal(size=(len(targets), 8))
    return {stage: (apart * centres[targets] + noise).astype(np.float32) for stage, apart in profile.items()}


def advice(profile: dict[str, float], counts: list[int], *, measured: int = 60) -> Advice:
    targets = np.tile(np.arange(3), measured).astype(np.int64)  # a sample of the counted pictures
    return advise(depth(profile, targets), targets, counts, seed=0)


# ── the four scenarios ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("profile", "counts", "scenario", "strategy", "layer"),
    [
        (LIKE, FEW, "few pictures, like what the backbone knows", "probe", None),
        (OTHER, FEW, "few pictures, unlike what the backbone knows", "svm", "stage1"),
        (FLAT, FEW, "few pictures, unlike what the backbone knows", "partial", None),
        (LIKE, MANY, "many pictures, like what the backbone knows", "finetune", None),
        (OTHER, MANY, "many pictures, unlike what the backbone knows", "gradual", None),
        (LIKE, HUGE, "many pictures, like what the backbone knows", "finetune", None),
        (OTHER, HUGE, "many pictures, unlike what the backbone knows", "scratch", None),
        (OTHER, HUGE_IN_ALL, "many pictures, unlike what the backbone knows", "gradual", None),
        (OTHER, HUGE_PER_CLASS, "many pictures, unlike what the backbone knows", "gradual", None),
    ],
)
def test_size_and_likeness_lead_to_a_strategy(
    profile: dict[str, float], counts: list[int], scenario: str, strategy: str, layer: str | None
) -> None:
    given = advice(profile, counts)
    assert (given.scenario, given.strategy, given.layer) == (scenario, strategy, layer)


@pytest.mark.parametrize(
    ("counts", "size"),
    [
        ([LARGE_FROM // 10] * 10, "large"),
        ([LARGE_FROM // 10] * 9, "small"),  # enough per class, not in all
        ([LARGE_FROM_PER_CLASS - 1] * 50, "small"),  # enough in all, not per class
        ([5, *[LARGE_FROM_PER_CLASS * 2] * 10], "large"),  # one rare class does not make a data set small
    ],
)
def test_many_pictures_are_many_in_all_and_in_the_typical_class(counts: list[int], size: str) -> None:
    features, targets = {"a": np.eye(4, dtype=np.float32)}, np.array([0, 0, 1, 1])
    assert advise(features, targets, counts, seed=0).size == size


# ── likeness ────────────────────────────────────────────────────────────────────────────────────────


def odds(right: float, pictures: int) -> float:
    return (right * pictures + 0.5) / (pictures - right * pictures + 0.5)


def test_likeness_is_how_far_the_last_stage_raises_the_odds_of_being_right() -> None:
    for profile, likeness in ((LIKE, "alike"), (OTHER, "unlike"), (FLAT, "unlike")):
        given = advice(profile, FEW)
        right = [score.accuracy.accuracy for score in given.scores if score.accuracy]
        assert given.odds_ratio == pytest.approx(odds(right[-1], 180) / odds(max(right[:-1]), 180))
        assert given.likeness == likeness
        assert (given.odds_ratio >= ALIKE_FROM) == (likeness == "alike")


def test_where_every_stage_is_always_right_no_stage_is_better() -> None:
    given = advice({"stem": 50.0, "top": 50.0}, FEW)
    assert given.odds_ratio == 1
    assert given.likeness == "unlike"


def test_a_last_stage_that_is_always_right_is_still_better_than_one_that_is_often() -> None:
    given = advice({"stem": 0.6, "top": 50.0}, FEW)
    assert given.scores[-1].accuracy is not None
    assert given.scores[-1].accuracy.accuracy == 1
    assert given.likeness == "alike"


def test_of_a_network_that_is_cut_finely_the_stages_next_to_the_last_are_not_its_rivals() -> None:
    fine = {"1": 0.1, "2": 0.2, "3": 0.3, "4": 0.3, "5": 0.4, "6": 0.5, "7": 0.5, "8": 1.45, "9": 1.5}
    assert advice(fine, FEW).likeness == "alike"


# ── what is said ────────────────────────────────────────────────────────────────────────────────────


def test_the_reasons_name_the_numbers_and_the_layer() -> None:
    given = advice(OTHER, FEW)
    best = next(score for score in given.scores if score.stage == "stage1")
    assert best.accuracy is not None
    assert given.reasons[0].startswith("180 pictures, 60 in the typical class, are few")
    assert f"stage1 in {best.accuracy.accuracy:.3f}" in given.reasons[1]
    assert f"{given.odds_ratio:.2g} times the odds" in given.reasons[1]
    assert given.reasons[2].startswith("Fit a linear SVM to the output of stage1")
    assert len(given.reasons) == 3


def test_the_scores_are_those_of_the_stages_in_order() -> None:
    given = advice(LIKE, FEW)
    assert [score.stage for score in given.scores] == list(LIKE)
    log_mes = [score.log_me for score in given.scores]
    assert log_mes == sorted(log_mes)


def test_likeness_from_a_handful_of_pictures_is_called_a_guess() -> None:
    few = advice(LIKE, [10, 10, 10], measured=10)
    assert any(f"From 30 pictures that is a rough guess; it takes {SURE_FROM}" in reason for reason in few.reasons)
    assert not any("guess" in reason for reason in advice(LIKE, FEW).reasons)


def test_labels_that_no_stage_can_tell_apart_are_pointed_at() -> None:
    targets = np.tile([0, 1, 0, 0], 30).astype(np.int64)  # three quarters are of one class
    noise = np.random.default_rng(0).normal(size=(2, 120, 4)).astype(np.float32)
    given = advise({"stem": noise[0], "top": noise[1]}, targets, [90, 30], seed=0)
    assert any("check the labels" in reason for reason in given.reasons)
    assert not any("check the labels" in reason for reason in advice(LIKE, FEW).reasons)


# ── little to measure with ──────────────────────────────────────────────────────────────────────────


def test_a_class_with_one_picture_is_left_out_of_what_is_held_out() -> None:
    targets = np.array([*np.tile([0, 1], 60), 2], dtype=np.int64)
    given = advise(depth(LIKE, targets), targets, [60, 60, 1], seed=0)
    assert given.likeness == "alike"
    assert given.scores[-1].accuracy is not None
    assert given.scores[-1].accuracy.folds == 5


def test_one_picture_per_class_is_taken_as_alike_and_said_so() -> None:
    given = advice(OTHER, [1, 1, 1], measured=1)
    assert (given.odds_ratio, given.likeness, given.strategy) == (None, "alike", "probe")
    assert all(score.accuracy is None for score in given.scores)
    assert "could not be measured" in given.reasons[1]


def test_one_stage_alone_has_nothing_to_be_compared_with() -> None:
    given = advice({"all": 1.0}, MANY)
    assert (given.odds_ratio, given.likeness, given.strategy) == (None, "alike", "finetune")


def test_no_stage_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one stage"):
        advise({}, np.array([0, 1]), [1, 1], seed=0)


def test_the_same_seed_gives_the_same_advice() -> None:
    assert advice(FLAT, FEW) == advice(FLAT, FEW)


# ── a sample to measure on ──────────────────────────────────────────────────────────────────────────


def test_a_sample_is_even_over_the_classes_as_far_as_they_go() -> None:
    targets = np.repeat([0, 1, 2], [500, 5, 300]).astype(np.int64)
    chosen = pictures_to_measure(targets, seed=0, most=100)
    assert np.bincount(targets[chosen]).tolist() in ([48, 5, 47], [47, 5, 48])
    assert len(set(chosen.tolist())) == 100


def test_a_small_set_is_measured_whole_and_a_sample_depends_on_the_seed() -> None:
    targets = np.repeat([0, 1], 40).astype(np.int64)
    assert pictures_to_measure(targets, seed=0).tolist() == list(range(80))
    samples: list[Any] = [pictures_to_measure(targets, seed=seed, most=10).tolist() for seed in (0, 0, 1)]
    assert samples[0] == samples[1] != samples[2]
