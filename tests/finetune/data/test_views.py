"""Policies: each makes the views that it is known for, of pictures of every shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from fastai.vision import augment as fastai
from fastai.vision.core import TensorImage
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode, TrivialAugmentWide

from finetune.config import Augmentation
from finetune.data.views import MAGNITUDES, OPERATIONS, Augmented, augmented, operated, random_view, view_rules
from finetune_export.contract import Preprocessing


def preprocessing(size_px: int) -> Preprocessing:
    return Preprocessing(image_size_px=size_px, crop_fraction=0.875, mean=(0, 0, 0), std=(1, 1, 1))


def photo(seed: int = 0, size: tuple[int, int] = (60, 60)) -> Image.Image:
    """Return something with areas, edges and noise, as photos have them."""
    noise = np.random.default_rng(seed).integers(0, 256, (7, 7, 3)).astype(np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


# ── every policy ────────────────────────────────────────────────────────────────────────────────────


def test_every_policy_has_rules_of_its_own() -> None:
    rules = {view_rules(policy) for policy in get_args(Augmentation)}

    assert len(rules) == len(get_args(Augmentation))


@settings(max_examples=40)
@given(
    policy=st.sampled_from(["light", "fastai"]),
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    size=st.integers(1, 40),
    seed=st.integers(0, 2**32),
)
def test_a_picture_of_any_shape_fills_a_view_of_any_size(
    policy: Augmentation, width: int, height: int, size: int, seed: int
) -> None:
    drawn = Image.new("RGB", (width, height), (10, 200, 30))

    pixels = random_view(policy, drawn, preprocessing(size), np.random.default_rng(seed))

    assert (pixels.shape, pixels.dtype) == ((size, size, 3), np.uint8)
    assert pixels.std(axis=(0, 1)).max() == 0  # nothing but the picture's one colour is seen
    assert pixels[0, 0].argmax() == 1


@settings(max_examples=30)
@given(width=st.integers(1, 60), height=st.integers(1, 60), size=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_a_trivial_view_has_its_size_whatever_the_picture_has(width: int, height: int, size: int, seed: int) -> None:
    pixels = random_view("trivial", photo(1, (width, height)), preprocessing(size), np.random.default_rng(seed))

    assert (pixels.shape, pixels.dtype) == ((size, size, 3), np.uint8)


# ── trivial ─────────────────────────────────────────────────────────────────────────────────────────


def drawn_by_torchvision(seed: int) -> tuple[str, int, bool]:
    """Return the operation, magnitude and sign that ``TrivialAugmentWide`` draws after a seed, in its order."""
    torch.manual_seed(seed)
    name = tuple(OPERATIONS)[int(torch.randint(len(OPERATIONS), (1,)))]
    operation = OPERATIONS[name]
    magnitude = int(torch.randint(MAGNITUDES, (1,))) if operation.least != operation.most else 0
    return name, magnitude, operation.signed and bool(torch.randint(2, (1,)))


def test_each_operation_is_that_of_torchvision_at_every_strength_bit_for_bit() -> None:
    theirs, picture, seen = TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR), photo(), set()

    for seed in range(400):
        name, magnitude, negative = drawn_by_torchvision(seed)
        torch.manual_seed(seed)
        assert theirs(picture).tobytes() == operated(picture, name, magnitude, negative=negative).tobytes(), name
        seen.add(name)

    assert seen == set(OPERATIONS)


def test_trivial_views_come_from_all_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int, bool]] = []

    def noted(picture: Image.Image, name: str, magnitude: int, *, negative: bool) -> Image.Image:
        asked.append((name, magnitude, negative))
        return operated(picture, name, magnitude, negative=negative)

    monkeypatch.setattr("finetune.data.views.operated", noted)
    for seed in range(300):
        random_view("trivial", photo(), preprocessing(8), np.random.default_rng(seed))

    names, magnitudes, negative = zip(*asked, strict=True)
    assert set(names) == set(OPERATIONS)
    assert (min(magnitudes), max(magnitudes)) == (0, MAGNITUDES - 1)
    assert 100 <= sum(negative) <= 200


# ── fastai ──────────────────────────────────────────────────────────────────────────────────────────


def by_fastai(pixels: np.ndarray[Any, Any], size_px: int, drawn: Augmented) -> np.ndarray[Any, Any]:
    """Return what fastai's own transforms, in the order of ``aug_transforms``, make of the same draws: 0..255."""
    transforms = fastai.setup_aug_tfms(
        [
            fastai.Flip(p=1, draw=int(drawn.mirrored), size=size_px),
            fastai.Warp(p=1, draw_x=drawn.warp[0], draw_y=drawn.warp[1], size=size_px),
            fastai.Rotate(p=1, draw=drawn.degrees, size=size_px),
            fastai.Zoom(p=1, draw=drawn.zoom, draw_x=drawn.zoom_at[0], draw_y=drawn.zoom_at[1], size=size_px),
            fastai.Brightness(p=1, draw=drawn.brightness),
            fastai.Contrast(p=1, draw=drawn.contrast),
        ]
    )
    image = TensorImage(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255)
    for transform in transforms:
        image = transform(image, split_idx=0)
    return np.asarray((image[0].permute(1, 2, 0) * 255).numpy())


@settings(max_examples=25)
@given(
    size=st.integers(20, 40),
    more=st.integers(0, 20),
    drawn=st.builds(
        Augmented,
        mirrored=st.booleans(),
        degrees=st.floats(-10, 10),
        zoom=st.floats(1, 1.1),
        zoom_at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
        warp=st.tuples(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2)),
    ),
)
def test_a_fastai_view_is_turned_zoomed_and_tilted_as_fastai_does_it(size: int, more: int, drawn: Augmented) -> None:
    pixels = np.array(photo(3, (size + more, size + more)))

    difference = by_fastai(pixels, size, drawn) - augmented(pixels, size, drawn)

    assert np.abs(difference).max() < 1.01  # Pillow leaves out what is behind the point


@pytest.mark.parametrize("brightness", [0.4, 0.53, 0.6])
@pytest.mark.parametrize("contrast", [0.8, 1.07, 1.25])
def test_a_fastai_view_is_lit_as_fastai_does_it(brightness: float, contrast: float) -> None:
    pixels = np.arange(3 * 16 * 16).astype(np.uint8).reshape(16, 16, 3)  # every level
    drawn = Augmented(brightness=brightness, contrast=contrast)

    difference = by_fastai(pixels, 16, drawn) - augmented(pixels, 16, drawn)

    assert np.abs(difference).max() < 0.51  # rounded


def test_where_nothing_is_drawn_a_fastai_view_is_the_picture() -> None:
    pixels = np.array(photo())

    assert np.array_equal(augmented(pixels, len(pixels), Augmented()), pixels)


def test_fastai_views_are_drawn_as_often_and_as_far_as_by_aug_transforms(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Augmented] = []

    def noted(pixels: np.ndarray[Any, Any], size_px: int, one: Augmented) -> np.ndarray[Any, Any]:
        drawn.append(one)
        return pixels

    monkeypatch.setattr("finetune.data.views.augmented", noted)
    for seed in range(2000):
        random_view("fastai", photo(size=(9, 9)), preprocessing(8), np.random.default_rng(seed))

    def share(is_on: Callable[[Augmented], bool]) -> float:
        return sum(map(is_on, drawn)) / len(drawn)

    assert share(lambda one: one.mirrored) == pytest.approx(0.5, abs=0.05)
    for is_on in (
        lambda one: one.degrees != 0,
        lambda one: one.zoom != 1,
        lambda one: one.warp[0] != 0,
        lambda one: one.warp[1] != 0,
        lambda one: one.brightness != 0.5,
        lambda one: one.contrast != 1,
    ):
        assert share(is_on) == pytest.approx(0.75, abs=0.05)
    assert max(abs(one.degrees) for one in drawn) == pytest.approx(10, abs=0.1)
    assert max(one.zoom for one in drawn) == pytest.approx(1.1, abs=0.01)
    assert max(abs(tilt) for one in drawn for tilt in one.warp) == pytest.approx(0.2, abs=0.01)
    assert [min(one.brightness for one in drawn), max(one.brightness for one in drawn)] == pytest.approx(
        [0.4, 0.6], abs=0.01
    )
    assert [min(one.contrast for one in drawn), max(one.contrast for one in drawn)] == pytest.approx(
        [0.8, 1.25], abs=0.01
    )
