"""The sheet of augmented pictures: as deployed beside the views that training sees, and readable for every data set."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from finetune.config import Augmentation
from finetune.data.augmented_batch import CAPTION_PX, GAP_PX, LONGEST_CAPTION, SIDE_PX, _caption, augmented_batch
from finetune.data.pictures import Pictures
from finetune.errors import DataError
from finetune.types import Example
from finetune_export.contract import Preprocessing

PREPROCESSING = Preprocessing(image_size_px=SIDE_PX, crop_fraction=1, mean=(0, 0, 0), std=(1, 1, 1))
Sheet = Any


@pytest.fixture
def paths(picture_folder: Callable[..., Path]) -> list[Path]:
    return sorted(picture_folder(count=6, size=(150, 150)).rglob("*.*"))


def pictures_of(paths: Sequence[Path], augment: Augmentation = "light") -> Pictures:
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return Pictures([Example(path=path, label="cat") for path in paths], hashes, PREPROCESSING, augment)


def sheet(pictures: Pictures, count: int) -> Sheet:
    return np.array(Image.open(io.BytesIO(augmented_batch(pictures, count))))


def cell(drawn: Sheet, row: int, column: int) -> Sheet:
    top, left = GAP_PX + row * (SIDE_PX + GAP_PX + CAPTION_PX) + CAPTION_PX, GAP_PX + column * (SIDE_PX + GAP_PX)
    return drawn[top : top + SIDE_PX, left : left + SIDE_PX]


@pytest.mark.parametrize("augment", get_args(Augmentation))
def test_every_cell_has_the_pixels_that_training_sees(paths: list[Path], augment: Augmentation) -> None:
    pictures = pictures_of(paths[:2], augment)

    drawn = sheet(pictures, 3)

    for row in range(2):
        for view in range(4):
            assert np.array_equal(cell(drawn, row, view), pictures.pixels(row, view))


def test_eight_pictures_are_shown_from_the_first_to_the_last(paths: list[Path]) -> None:
    pictures = pictures_of(paths)

    drawn = sheet(pictures, 1)

    assert drawn.shape[0] == GAP_PX + 8 * (SIDE_PX + GAP_PX + CAPTION_PX)
    assert np.array_equal(cell(drawn, 0, 0), pictures.pixels(0, 0))
    assert np.array_equal(cell(drawn, 7, 0), pictures.pixels(11, 0))


def test_every_picture_has_a_caption(paths: list[Path]) -> None:
    drawn = sheet(pictures_of(paths[:1]), 1)

    for column in range(2):
        left = GAP_PX + column * (SIDE_PX + GAP_PX)
        assert drawn[GAP_PX : GAP_PX + CAPTION_PX, left : left + SIDE_PX].min() < 100


@pytest.mark.parametrize(
    ("example", "caption"),
    [
        ({"label": "cat"}, "cat"),
        ({"labels": ("sky", "sea")}, "sky, sea"),
        ({"values": (0.123456, 70.0)}, "0.1235 70"),
        ({}, "001.jpg"),
        ({"label": "a\nb"}, "a b"),
        ({"label": "x" * 99}, "x" * (LONGEST_CAPTION - 1) + "…"),
    ],
)
def test_a_caption_says_in_one_short_line_what_a_picture_shows(example: dict[str, Any], caption: str) -> None:
    assert _caption(Example(path=Path("pictures/001.jpg"), **example)) == caption


def test_a_label_in_any_script_can_be_drawn(paths: list[Path]) -> None:
    pictures = pictures_of(paths[:1])
    pictures.examples = (Example(path=paths[0], label="猫 кошка قط 🐈"),)

    assert sheet(pictures, 0).shape == (GAP_PX + SIDE_PX + GAP_PX + CAPTION_PX, 2 * GAP_PX + SIDE_PX, 3)


def test_a_picture_that_went_away_is_a_data_error(paths: list[Path]) -> None:
    pictures = pictures_of(paths[:1])
    paths[0].unlink()

    with pytest.raises(DataError, match="cannot be read"):
        augmented_batch(pictures, 1)
