"""Values keep their differences as targets, or are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.targets import COARSEST_STEP, refuse_indistinct, targets_of
from finetune.errors import DataError
from finetune.types import Example


def examples(*values: float) -> list[Example]:
    return [Example(path=Path(f"{i}.png"), values=(float(i), value)) for i, value in enumerate(values)]


def test_values_that_float32_rounds_are_refused_with_their_name_and_what_helps() -> None:
    with pytest.raises(DataError) as caught:
        refuse_indistinct(examples(1.7e9 - 460, 1.7e9 + 460), ("age", "taken at"))

    assert str(caught.value) == (
        "The values of 'taken at', 1.7e+09 on average with a standard deviation of 460, are too close together for "
        "float32, which tells them apart in steps of 128. Subtract a constant, such as the mean, from the column."
    )


@pytest.mark.parametrize("values", [(1.7e9, 1.7e9, 1.7e9), (0.0, 0.0), (2020, 2024), (-460, 460), (0.9, 0.2)])
def test_values_that_never_vary_or_are_well_apart_pass(values: tuple[float, ...]) -> None:
    refuse_indistinct(examples(*values), ("age", "taken at"))


@given(st.floats(-1e9, 1e9), st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=9))
def test_what_passes_is_rounded_by_less_than_a_thousandth_of_its_spread(constant: float, spread: list[float]) -> None:
    given = examples(*(constant + value for value in spread))
    exact = np.array([example.values for example in given])[:, 1]
    try:
        refuse_indistinct(given, ("age", "taken at"))
    except DataError:
        return

    rounded = targets_of(given, ("age", "taken at"), "regression")[:, 1]
    assert np.ptp(exact) == 0 or np.abs(rounded - exact).max() <= COARSEST_STEP * exact.std()
