from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from finetune_export import image
from finetune_export.contract import Contract, Preprocessing
from finetune_export.errors import ImageError

Draw = Callable[..., Image.Image]
Encode = Callable[..., bytes]
Array = NDArray[Any]

sides = st.integers(1, 70)
fractions = st.floats(min_value=0.01, max_value=1)


def shown(data: bytes) -> Array:
    return np.asarray(image.load(data).image).astype(int)


# What a viewer shows for each EXIF orientation, written with array operations alone.
UPRIGHT: dict[int, Callable[[Array], Array]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
    99: lambda stored: stored,
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(orientation: int, kind: str, photo: Draw, encode: Encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = shown(encode(photo(), kind))
    assert np.array_equal(shown(encode(photo(), kind, exif=exif)), UPRIGHT[orientation](stored))


def test_an_upright_picture_is_not_turned_again(photo: Draw, encode: Encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    once = image.load(encode(photo(), "JPEG", exif=exif)).image
    assert image.load(once).image.tobytes() == once.tobytes()


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_sixteen_bit_grey_is_scaled(dtype: str, encode: Encode) -> None:
    values = np.array([[0, 255, 256, 511], [32_768, 65_279, 65_280, 65_535]], np.uint16)
    expected = np.array([[0, 0, 1, 1], [128, 254, 255, 255]])
    picture = Image.fromarray(values.astype(dtype))
    assert np.array_equal(np.asarray(image.load(picture).image), np.dstack([expected] * 3))
    if dtype == "<u2":
        assert np.array_equal(shown(encode(picture)), np.dstack([expected] * 3))


def test_a_transparent_grey_of_sixteen_bits_becomes_white(encode: Encode) -> None:
    picture = Image.fromarray(np.array([[1000, 40_000]], np.uint16))
    assert shown(encode(picture, transparency=1000))[0, :, 0].tolist() == [255, 40_000 >> 8]


def test_alpha_is_laid_over_white(encode: Encode) -> None:
    rgba = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]], np.uint8)
    expected = [[200, 100, 0], [255, 255, 255], [244, 224, 204]]  # 20 % of the colour, 80 % of white
    assert np.abs(shown(encode(Image.fromarray(rgba)))[0] - expected).max() <= 1
    grey = np.array([[[100, 255], [100, 0]]], np.uint8)
    assert shown(encode(Image.fromarray(grey)))[0, :, 0].tolist() == [100, 255]


def test_transparent_colours_become_white(encode: Encode) -> None:
    colour = Image.fromarray(np.array([[[10, 20, 30], [40, 50, 60]]], np.uint8))
    assert shown(encode(colour, transparency=(10, 20, 30)))[0].tolist() == [[255] * 3, [40, 50, 60]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    assert shown(encode(palette, transparency=0))[0].tolist() == [[255] * 3, [40, 50, 60]]
    assert shown(encode(palette, transparency=bytes([255, 0])))[0].tolist() == [[10, 20, 30], [255] * 3]
    assert shown(encode(palette, "GIF", transparency=0))[0].tolist() == [[255] * 3, [40, 50, 60]]


def test_one_bit_is_black_and_white(encode: Encode) -> None:
    bits = Image.fromarray(np.array([[True, False]]))
    assert shown(encode(bits))[0].tolist() == [[255] * 3, [0] * 3]


def test_cmyk_is_converted(encode: Encode) -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    black = Image.new("CMYK", (16, 16), (0, 0, 0, 255))
    assert np.abs(shown(encode(cyan, "JPEG", quality=95)) - [0, 255, 255]).max() <= 3
    assert shown(encode(black, "JPEG", quality=95)).max() <= 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_only_the_first_frame_counts(kind: str, encode: Encode) -> None:
    red, blue = Image.new("RGB", (20, 20), "red"), Image.new("RGB", (20, 20), "blue")
    data = encode(red, kind, save_all=True, append_images=[blue])
    assert np.abs(shown(data) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("mode", ["I", "F", "LAB", "HSV"])
def test_pixels_of_another_kind_are_refused(mode: str) -> None:
    with pytest.raises(ImageError, match=f"<image>: its pixels are of kind {mode}; allowed are colour or grey"):
        image.load(Image.new(mode, (12, 12)))


def test_a_path_its_bytes_and_an_opened_picture_give_the_same_pixels(
    tmp_path: Path, photo: Draw, encode: Encode, contract: Contract
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(photo(), "JPEG"))
    sources: list[image.Source] = [path, str(path), path.read_bytes(), Image.open(io.BytesIO(path.read_bytes()))]
    first, *others = [image.read_pixels(source, contract.preprocessing) for source in sources]
    assert all(np.array_equal(first, other) for other in others)
    assert first.flags.writeable


def test_threads_get_the_same_pixels(photo: Draw, encode: Encode, contract: Contract) -> None:
    files = [encode(photo(90, 70, seed), kind) for seed in range(8) for kind in ("JPEG", "PNG", "WEBP", "GIF")]
    alone = [image.read_pixels(file, contract.preprocessing) for file in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda file: image.read_pixels(file, contract.preprocessing), files))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


@given(width=sides, height=sides, fraction=fractions)
def test_the_centre_box_is_a_centred_square_inside(width: int, height: int, fraction: float) -> None:
    left, top, right, bottom = image.centre_box(width, height, fraction)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert right - left == pytest.approx(min(width, height) * fraction)
    assert bottom - top == pytest.approx(min(width, height) * fraction)
    assert left + right == pytest.approx(width)
    assert top + bottom == pytest.approx(height)


@settings(max_examples=60)
@given(
    mode=st.sampled_from(["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B"]),
    width=sides,
    height=sides,
    fraction=fractions,
    size=st.integers(1, 40),
)
def test_every_picture_becomes_the_size_the_network_sees(
    mode: str, width: int, height: int, fraction: float, size: int
) -> None:
    preprocessing = Preprocessing(image_size_px=size, crop_fraction=fraction, mean=(0, 0, 0), std=(1, 1, 1))
    pixels = image.read_pixels(Image.new(mode, (width, height)), preprocessing)
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8


def test_the_crop_keeps_the_middle(encode: Encode) -> None:
    stripes = np.zeros((40, 80, 3), np.uint8)
    stripes[:, :20], stripes[:, 60:] = (255, 0, 0), (0, 0, 255)
    preprocessing = Preprocessing(image_size_px=40, crop_fraction=1.0, mean=(0, 0, 0), std=(1, 1, 1))
    assert image.read_pixels(encode(Image.fromarray(stripes)), preprocessing).max() == 0


@pytest.mark.parametrize("size", [(32_768, 1), (1, 32_768)])
def test_an_extreme_shape_needs_no_huge_intermediate(size: tuple[int, int], contract: Contract) -> None:
    assert image.read_pixels(Image.new("RGB", size, "red"), contract.preprocessing)[..., 0].min() == 255


@pytest.mark.parametrize(
    ("size", "draft_px", "expected"),
    [
        ((800, 600), 100, (200, 150)),
        ((800, 600), 75, (100, 75)),
        ((800, 600), 151, (400, 300)),
        ((800, 600), 600, (800, 600)),
        ((800, 600), 2000, (800, 600)),
        ((600, 800), 100, (150, 200)),
        ((4000, 30), 20, (4000, 30)),
    ],
)
def test_a_draft_is_smaller_but_never_too_small(
    size: tuple[int, int], draft_px: int, expected: tuple[int, int], encode: Encode
) -> None:
    assert image.load(encode(Image.new("RGB", size), "JPEG"), draft_px=draft_px).image.size == expected


def test_a_draft_changes_nothing_but_jpeg(photo: Draw, encode: Encode) -> None:
    for kind in ("PNG", "WEBP", "BMP", "GIF"):
        data = encode(photo(), kind)
        assert image.load(data, draft_px=8).image.tobytes() == image.load(data).image.tobytes()


def test_without_a_draft_a_jpeg_is_decoded_exactly(photo: Draw, encode: Encode) -> None:
    data = encode(photo(320, 240), "JPEG")
    assert image.load(data).image.tobytes() == Image.open(io.BytesIO(data)).tobytes()
