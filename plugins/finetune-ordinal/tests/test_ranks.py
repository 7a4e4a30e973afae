"""The three metrics, against values by hand and against what has to hold for any answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from finetune.errors import DataError
from finetune_ordinal.ranks import quadratic_kappa, rank_error, refuse_disorder, within_one

from . import conftest

asked = conftest.given
settings.register_profile("ordinal", deadline=None, database=None, derandomize=True)
settings.load_profile("ordinal")

RANKS = st.integers(2, 6).flatmap(
    lambda labels: st.tuples(
        st.just([f"grade {rank}" for rank in range(labels)]),
        st.lists(st.tuples(st.integers(0, labels - 1), st.integers(0, labels - 1)), min_size=1, max_size=30),
    )
)


# ── by hand ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("right", "answers", "kappa", "error", "near"),
    [
        # weights (i - j)²: observed 1; by chance (2·1·0 + 2·2·1 + 2·1·4 + 1·1·1 + 1·1·1 + 1·1·4 + 1·2·1) / 4 = 5
        ([0, 0, 1, 2], [0, 1, 1, 2], 1 - 1 / 5, 1 / 4, 1.0),
        # observed 4; by chance (2·3·4 + 2·1·4) / 4 = 8
        ([0, 2, 0, 2], [2, 2, 0, 2], 1 - 4 / 8, 2 / 4, 3 / 4),
        ([0, 1, 2], [0, 1, 2], 1.0, 0.0, 1.0),
        ([0, 2], [2, 0], -1.0, 2.0, 0.0),
        ([0, 1, 2], [1, 1, 1], 0.0, 2 / 3, 1.0),
    ],
    ids=["one rank off", "two ranks off", "all right", "all turned round", "always the middle"],
)
def test_the_metrics_are_those_by_hand(
    right: list[int], answers: list[int], kappa: float, error: float, near: float
) -> None:
    about = asked(right, answers)

    assert quadratic_kappa(about) == pytest.approx(kappa)
    assert rank_error(about) == pytest.approx(error)
    assert within_one(about) == near


def test_the_answer_is_the_most_probable_class() -> None:
    about = asked([1, 1], [1, 1])
    about.answers[:] = [[0.3, 0.4, 0.3], [0.2, 0.3, 0.5]]

    assert (rank_error(about), within_one(about)) == (0.5, 1.0)


def test_one_class_that_is_given_to_all_pictures_leaves_kappa_undefined() -> None:
    assert np.isnan(quadratic_kappa(asked([1, 1, 1], [1, 1, 1])))
    assert quadratic_kappa(asked([1, 1, 1], [0, 0, 0])) == 0


def test_the_metrics_are_floats_of_arrays_that_cannot_be_written_to() -> None:
    about = asked([0, 1, 2], [0, 2, 2])
    for array in (about.answers, about.targets):
        array.setflags(write=False)

    assert [type(metric(about)) for metric in (quadratic_kappa, rank_error, within_one)] == [float] * 3


# ── whatever the answers are ────────────────────────────────────────────────────────────────────────


@given(RANKS)
def test_right_answers_are_perfect(drawn: tuple[list[str], list[tuple[int, int]]]) -> None:
    labels, pairs = drawn
    right = [rank for rank, _ in pairs]
    about = asked(right, right, labels)

    assert (rank_error(about), within_one(about)) == (0, 1)
    assert quadratic_kappa(about) == pytest.approx(1) or (len(set(right)) == 1 and np.isnan(quadratic_kappa(about)))


@given(RANKS)
def test_the_metrics_are_the_same_with_answers_and_right_ranks_exchanged(
    drawn: tuple[list[str], list[tuple[int, int]]],
) -> None:
    labels, pairs = drawn
    right, answers = zip(*pairs, strict=True)
    one, other = asked(right, answers, labels), asked(answers, right, labels)

    for metric in (quadratic_kappa, rank_error, within_one):
        assert metric(one) == pytest.approx(metric(other), nan_ok=True, abs=1e-12)


@given(RANKS)
def test_the_metrics_are_the_same_from_the_other_end_of_the_order(
    drawn: tuple[list[str], list[tuple[int, int]]],
) -> None:
    labels, pairs = drawn
    turned = [(len(labels) - 1 - right, len(labels) - 1 - answer) for right, answer in pairs]
    one, other = asked(*zip(*pairs, strict=True), labels), asked(*zip(*turned, strict=True), labels)

    for metric in (quadratic_kappa, rank_error, within_one):
        assert metric(one) == pytest.approx(metric(other), nan_ok=True, abs=1e-12)


@given(RANKS)
def test_kappa_is_between_minus_1_and_1_and_the_error_within_the_ranks(
    drawn: tuple[list[str], list[tuple[int, int]]],
) -> None:
    labels, pairs = drawn
    about = asked(*zip(*pairs, strict=True), labels)
    kappa = quadratic_kappa(about)
    assume(not np.isnan(kappa))

    assert -1 - 1e-9 <= kappa <= 1 + 1e-9
    assert 0 <= rank_error(about) <= len(labels) - 1


@given(st.integers(0, 1000))
def test_the_kappa_of_answers_by_chance_is_about_0(seed: int) -> None:
    right, answers = np.random.default_rng(seed).integers(0, 3, (2, 2000)).tolist()

    assert abs(quadratic_kappa(asked(right, answers))) < 0.1


# ── labels whose places are no ranks ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "labels",
    [
        ("1", "10", "2"),
        ("grade 1", "grade 10", "grade 9"),
        ("2024-1", "2024-10", "2024-2"),
        ("-1", "-10", "-2"),
        ("T10", "T1a", "T2"),
    ],
    ids=" ".join,
)
def test_numbers_that_are_sorted_as_text_are_refused(labels: tuple[str, ...]) -> None:
    for metric in (quadratic_kappa, rank_error, within_one):
        with pytest.raises(DataError, match=r"^The order of the labels is their rank, and '.*' comes before '.*'"):
            metric(asked([0, 1], [0, 1], labels))


def test_the_refusal_names_the_two_and_says_what_to_do() -> None:
    with pytest.raises(DataError) as caught:
        refuse_disorder(("1", "10", "2"))

    assert str(caught.value) == (
        "The order of the labels is their rank, and '10' comes before '2': sorted as text. Write all their numbers "
        "with the same number of digits, such as 02 and 10."
    )


@pytest.mark.parametrize(
    "labels",
    [
        ("01", "02", "10"),
        ("0-none", "1-mild", "2-severe"),
        ("-1", "0", "1"),
        ("L", "M", "S"),
        ("A13", "B12", "C"),
        ("2", "10", "1"),  # not the order of text: somebody chose it
        ("small", "medium", "large"),
    ],
    ids=" ".join,
)
def test_labels_that_are_in_an_order_are_taken_in_it(labels: tuple[str, ...]) -> None:
    assert rank_error(asked([0, 2], [0, 1], labels)) == 0.5
