"""A picture beside itself under its heat: the heat is where the cells are, and nothing that is said is cut."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from finetune.evaluation.side_by_side import GAP_PX, PANEL_PX, heat_over, is_side_by_side, side_by_side

GREY = np.full((64, 64, 3), 120, np.uint8)


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def corner(row: int, column: int, side: int = 4) -> np.ndarray:
    cells = np.zeros((side, side), np.uint8)
    cells[row, column] = 255
    return cells


@settings(max_examples=12)
@given(side=st.integers(2, 14), data=st.data())
def test_the_brightest_place_is_that_of_the_hottest_cell(side: int, data: st.DataObject) -> None:
    row, column = (data.draw(st.integers(0, side - 1)) for _ in range(2))

    light = np.asarray(heat_over(GREY, corner(row, column, side)).convert("L"), int)

    top, left = np.unravel_index(light.argmax(), light.shape)
    assert abs((top + 0.5) / 64 * side - (row + 0.5)) < 1
    assert abs((left + 0.5) / 64 * side - (column + 0.5)) < 1


def test_where_nothing_is_hot_the_picture_is_dim_and_grey() -> None:
    colourful = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)

    cold = np.asarray(heat_over(colourful, np.zeros((4, 4), np.uint8)), int)

    assert np.ptp(cold, axis=2).max() == 0
    assert cold.mean() < 0.6 * colourful.mean()


def test_the_picture_is_on_the_left_as_it_is_and_its_heat_on_the_right() -> None:
    sheet = np.asarray(opened(side_by_side(GREY, corner(0, 0), ["x"])), int)

    left = sheet[GAP_PX : GAP_PX + PANEL_PX, GAP_PX : GAP_PX + PANEL_PX]
    right = sheet[GAP_PX : GAP_PX + PANEL_PX, 2 * GAP_PX + PANEL_PX : 2 * (GAP_PX + PANEL_PX)]
    assert (left == 120).all()
    assert right[:40, :40].mean() > 2 * right[-40:, -40:].mean()


@pytest.mark.parametrize("text", ["käfer " * 60, "甲虫" * 100, "жук_" * 80])
def test_a_long_text_makes_the_sheet_higher_and_not_wider(text: str) -> None:
    short, long = (opened(side_by_side(GREY, corner(0, 0), [line])) for line in ("x", text))

    assert long.width == short.width
    assert long.height > short.height + 20
    assert np.asarray(long)[-GAP_PX - 25 :].min() < 100, "the last line is not there"


def test_what_was_written_here_is_known_again_and_nothing_else_is(tmp_path: Path) -> None:
    ours, another, broken = (tmp_path / name for name in ("ours.png", "another.png", "broken.png"))
    ours.write_bytes(side_by_side(GREY, corner(0, 0), ["x"]))
    Image.fromarray(GREY).save(another)
    broken.write_bytes(ours.read_bytes()[:-40])

    assert is_side_by_side(ours)
    assert not any(map(is_side_by_side, (another, broken, tmp_path / "missing.png", tmp_path)))
