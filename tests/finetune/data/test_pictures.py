from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from finetune.data.pictures import TrainingPictures, ValidationPictures
from finetune.errors import ImageError
from finetune.types import Example
from finetune_export import image
from finetune_export.contract import Preprocessing

SIZE = 24
LABELS = ("cat", "dog")


@pytest.fixture
def preprocessing() -> Preprocessing:
    return Preprocessing(image_size_px=SIZE, crop_fraction=0.875, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture
def examples(picture_folder: Callable[..., Path], picture: Callable[..., Image.Image]) -> list[Example]:
    root = picture_folder(count=3, size=(200, 150))
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(1, size=(200, 150)).save(root / "dog" / "turned.jpg", exif=turned)
    picture(1, size=(200, 150)).convert("LA").save(root / "dog" / "grey.png")
    return [Example(path=path, label=path.parent.name) for path in sorted(root.rglob("*.*"))]


def test_validation_pixels_are_those_of_deployment_bit_for_bit(
    examples: list[Example], preprocessing: Preprocessing
) -> None:
    pictures = ValidationPictures(examples, LABELS, preprocessing)

    assert len(pictures) == 8
    for (pixels, _), example in zip((pictures[i] for i in range(8)), examples, strict=True):
        deployed = image.read_pixels(example.path, preprocessing)
        assert np.array_equal(pixels.numpy(), deployed.transpose(2, 0, 1))


@pytest.mark.parametrize("kind", [ValidationPictures, TrainingPictures])
def test_a_picture_is_eight_bit_channels_first_with_the_index_of_its_label(
    kind: type[ValidationPictures], examples: list[Example], preprocessing: Preprocessing
) -> None:
    pixels, target = kind(examples, LABELS, preprocessing)[7]

    assert (pixels.dtype, tuple(pixels.shape), pixels.is_contiguous()) == (torch.uint8, (3, SIZE, SIZE), True)
    assert (target.dtype, tuple(target.shape), int(target)) == (torch.int64, (), 1)


def test_targets_follow_the_order_of_the_labels(examples: list[Example], preprocessing: Preprocessing) -> None:
    pictures = ValidationPictures(examples, ("dog", "cat"), preprocessing)

    assert pictures.targets == [1, 1, 1, 0, 0, 0, 0, 0]


def test_the_same_seed_cuts_the_same_crop(examples: list[Example], preprocessing: Preprocessing) -> None:
    pictures = TrainingPictures(examples, LABELS, preprocessing)

    torch.manual_seed(1)
    first = pictures[0][0]
    torch.manual_seed(1)

    assert torch.equal(pictures[0][0], first)


def test_another_seed_cuts_another_crop(examples: list[Example], preprocessing: Preprocessing) -> None:
    pictures = TrainingPictures(examples, LABELS, preprocessing)

    torch.manual_seed(1)
    first = pictures[0][0]
    torch.manual_seed(2)

    assert not torch.equal(pictures[0][0], first)


def test_validation_draws_nothing_at_random(examples: list[Example], preprocessing: Preprocessing) -> None:
    before = torch.get_rng_state()

    ValidationPictures(examples, LABELS, preprocessing)[0]

    assert torch.equal(torch.get_rng_state(), before)


def test_a_training_crop_shows_the_picture_upright(tmp_path: Path, preprocessing: Preprocessing) -> None:
    half = np.zeros((64, 64, 3), np.uint8)
    half[:, 32:] = 255  # dark left, bright right; shown turned by 90 degrees, dark above, bright below
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(half).save(tmp_path / "turned.jpg", exif=turned)
    pictures = TrainingPictures([Example(path=tmp_path / "turned.jpg", label="cat")], LABELS, preprocessing)

    rows = torch.stack([pictures[0][0].float().mean(dim=(0, 2)) for _ in range(8)]).mean(dim=0)

    assert rows[-1] > rows[0] + 50


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_a_picture_of_any_shape_fills_the_crop(
    tmp_path: Path, picture: Callable[..., Image.Image], preprocessing: Preprocessing, size: tuple[int, int]
) -> None:
    picture(size=size).save(tmp_path / "thin.png")
    pictures = TrainingPictures([Example(path=tmp_path / "thin.png", label="cat")], LABELS, preprocessing)

    assert tuple(pictures[0][0].shape) == (3, SIZE, SIZE)


@pytest.mark.parametrize("kind", [ValidationPictures, TrainingPictures])
def test_a_picture_that_went_away_is_named(
    kind: type[ValidationPictures], examples: list[Example], preprocessing: Preprocessing
) -> None:
    pictures = kind(examples, LABELS, preprocessing)
    examples[0].path.unlink()

    with pytest.raises(ImageError, match=f"^{examples[0].path}: the file cannot be read"):
        pictures[0]
