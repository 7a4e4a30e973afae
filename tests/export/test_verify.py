from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from finetune_export.errors import ModelError
from finetune_export.verify import Agreement, Tolerance, compare

rows = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(0, 1, width=32))


def answers(*rows: list[float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(rows, np.float32)


@given(rows)
def test_a_model_agrees_with_itself(probabilities: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    agreement = compare(probabilities, probabilities)
    assert agreement == Agreement(len(probabilities), 1.0, 0.0, 0)
    assert agreement.within(Tolerance(max_difference=0))


def test_the_worst_picture_is_named() -> None:
    agreement = compare(answers([0.9, 0.1], [0.6, 0.4], [0.2, 0.8]), answers([0.9, 0.1], [0.4, 0.6], [0.2, 0.8]))
    assert (agreement.compared, agreement.worst) == (3, 1)
    assert agreement.agreement == pytest.approx(2 / 3)
    assert agreement.max_difference == pytest.approx(0.2)
    assert not agreement.within(Tolerance())
    assert agreement.within(Tolerance(min_agreement=0.6, max_difference=0.21))


@pytest.mark.parametrize(
    ("reference", "candidate", "agrees"),
    [
        ([0.5, 0.5, 0.0], [0.4, 0.6, 0.0], True),
        ([0.4, 0.6, 0.0], [0.5, 0.5, 0.0], True),
        ([0.5, 0.5, 0.0], [0.3, 0.3, 0.4], False),
        ([0.2, 0.2, 0.2], [0.2, 0.2, 0.2], True),
    ],
)
def test_tied_labels_all_count_as_top(reference: list[float], candidate: list[float], agrees: bool) -> None:
    assert compare(answers(reference), answers(candidate)).agreement == float(agrees)
    assert compare(answers(candidate), answers(reference)).agreement == float(agrees)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_a_number_is_never_alike(odd: float) -> None:
    loose = Tolerance(min_agreement=0, max_difference=1e9)
    for reference, candidate in [(0.5, odd), (odd, 0.5), (odd, odd)]:
        agreement = compare(answers([0.5, 0.5], [0.5, reference]), answers([0.5, 0.5], [0.5, candidate]))
        assert not agreement.within(loose)
        assert agreement.worst == 1


@pytest.mark.parametrize(("one", "other"), [((0, 3), (0, 3)), ((2, 3), (2, 4)), ((3,), (3,)), ((2, 0), (2, 0))])
def test_nothing_to_compare_is_an_error(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="cannot be compared"):
        compare(np.zeros(one, np.float32), np.zeros(other, np.float32))
