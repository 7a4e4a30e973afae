"""Curves of one line: as long as what they show, higher where it is higher, and never longer than there is room."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from finetune.cli.sparkline import BLOCKS, LONGEST, MARKS, Curve, sparkline

COURSES = [(24, 24, 0, 23), (25, 12, 0.5, 22.5), (48, 24, 0.5, 46.5)]
NUMBERS = some.floats(allow_nan=False, allow_infinity=False)


@given(values=some.lists(some.floats(), max_size=60))
def test_a_value_is_a_character_and_what_is_no_finite_number_leaves_a_gap(values: list[float]) -> None:
    drawn = sparkline(values)

    assert len(drawn) == len(values)
    assert all((char == " ") is not math.isfinite(value) for char, value in zip(drawn, values, strict=True))
    assert set(drawn) <= {" ", *BLOCKS}


@given(values=some.lists(NUMBERS, min_size=2, max_size=40, unique=True).map(sorted))
def test_what_grows_is_drawn_growing_from_the_lowest_to_the_highest(values: list[float]) -> None:
    heights = [BLOCKS.index(char) for char in sparkline(values)]

    assert heights == sorted(heights)
    if values[-1] / 2 > values[0] / 2:
        assert (heights[0], heights[-1]) == (0, len(BLOCKS) - 1)


@given(value=NUMBERS, count=some.integers(1, 30))
def test_what_stays_the_same_is_a_line_in_the_middle(value: float, count: int) -> None:
    assert sparkline([value] * count) == BLOCKS[4] * count


def test_heights_are_shares_of_the_span() -> None:
    assert sparkline([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]) == BLOCKS
    assert sparkline([0.0, math.nan, 7.0, math.inf, -math.inf], MARKS) == ". @  "
    assert sparkline([]) == ""


def test_what_falls_by_orders_of_magnitude_is_drawn_in_them() -> None:
    assert sparkline([10.0**-n for n in range(8)]) == BLOCKS[::-1]
    assert sparkline([10.0, 5.5, 1.0]) == "█▅▁", "and up to a factor of ten as it is"


@given(values=some.lists(NUMBERS, max_size=300))
def test_a_curve_is_bounded_and_stays_within_its_values(values: list[float]) -> None:
    curve = Curve()
    for value in values:
        curve.add(value)

    assert len(curve.points) <= LONGEST
    assert bool(curve.points) is bool(values)
    for point in curve.points:
        slack = 1e-9 * max(map(abs, values))
        assert min(values) - slack <= point <= max(values) + slack


@pytest.mark.parametrize(("count", "points", "first", "last"), COURSES)
def test_a_curve_that_is_full_goes_on_with_the_means_of_neighbours(
    count: int, points: int, first: float, last: float
) -> None:
    curve = Curve()
    for value in range(count):
        curve.add(value)

    assert (len(curve.points), curve.points[0], curve.points[-1]) == (points, first, last)


@given(values=some.lists(NUMBERS, min_size=LONGEST, max_size=100), gap=some.sampled_from([math.nan, math.inf]))
def test_a_value_that_is_no_number_leaves_no_gap_in_a_point_that_stands_for_others_too(
    values: list[float], gap: float
) -> None:
    curve = Curve()
    for value in (*values[:5], gap, *values[5:]):
        curve.add(value)

    assert all(map(math.isfinite, curve.points))


def test_where_no_value_is_a_number_all_is_gaps() -> None:
    curve = Curve()
    for _ in range(4 * LONGEST):
        curve.add(math.nan)

    assert sparkline(curve.points) == " " * len(curve.points)
