"""From a picture file to pixels, in the browser: bit for bit what ``finetune_export.image`` makes of it."""

from __future__ import annotations

import base64
import hashlib
import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from finetune_export import image
from finetune_export.contract import Preprocessing
from finetune_export.errors import ImageError

ORIENTATION_TAG = 0x0112
WIDTH, HEIGHT = 61, 43

Array = NDArray[np.uint8]


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def noise(channels: int, width: int = WIDTH, height: int = HEIGHT) -> Array:
    return np.random.default_rng(channels).integers(0, 256, (height, width, channels), dtype=np.uint8)


def every_alpha() -> Image.Image:
    """Every value of a channel with every alpha."""
    value, alpha = np.mgrid[:256, :256].astype(np.uint8)
    return Image.fromarray(np.dstack([value, 255 - value, value // 2, alpha]))


def swapped_colours() -> bytes:
    """A colour profile in which red is blue: a program that honours it shows something else altogether."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", profile, 128)
    places = {name: at for name, at, _ in struct.iter_unpack(">4sII", bytes(profile[132 : 132 + 12 * count]))}
    red, blue = (slice(places[name], places[name] + 20) for name in (b"rXYZ", b"bXYZ"))
    profile[red], profile[blue] = profile[blue], profile[red]
    return bytes(profile)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return exif


def assert_decoded_alike(page: Any, data: bytes, tolerance: int = 0) -> None:
    expected = np.asarray(image.load(data).image).astype(int)
    found = page.decoded(data)
    assert not isinstance(found, str), found
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance


# ── preprocessing ───────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=150)
@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    fraction=st.floats(min_value=0.01, max_value=1),
    size=st.integers(1, 64),
    seed=st.integers(0, 9),
)
def test_the_preprocessing_is_pillows_bit_for_bit(
    page: Any, width: int, height: int, fraction: float, size: int, seed: int
) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    preprocessing = Preprocessing(image_size_px=size, crop_fraction=fraction, mean=(0, 0, 0), std=(1, 1, 1))
    expected = image.to_pixels(Image.fromarray(picture), preprocessing)
    assert np.array_equal(page.pixels(picture, preprocessing), expected)


IN_THE_PAGE = """async ([width, height, preprocessing]) => {
  const { toPixels } = await import("./preprocessing.js");
  const data = Uint8ClampedArray.from({ length: width * height * 3 }, (_, i) => Math.imul(i, 2654435761) >>> 24);
  data.fill(255, 0, data.length / 2);
  return new Uint8Array(toPixels({ width, height, data }, preprocessing).buffer).toBase64();
}"""


@pytest.mark.parametrize("size", [(1224, 1632), (1632, 1224), (32_768, 1), (1, 32_768), (224, 224), (256, 255)])
@pytest.mark.parametrize("fraction", [0.875, 1.0])
def test_photos_and_extreme_shapes_are_preprocessed_alike(page: Any, size: tuple[int, int], fraction: float) -> None:
    width, height = size
    values = (np.arange(width * height * 3, dtype=np.uint64) * 2_654_435_761 % 2**32 >> 24).astype(np.uint8)
    values[: len(values) // 2] = 255  # where weights that add up to more than one would show
    preprocessing = Preprocessing(image_size_px=224, crop_fraction=fraction, mean=(0, 0, 0), std=(1, 1, 1))
    expected = image.to_pixels(Image.fromarray(values.reshape(height, width, 3)), preprocessing)
    found = page.page.evaluate(IN_THE_PAGE, [width, height, {"image_size_px": 224, "crop_fraction": fraction}])
    assert base64.b64decode(found) == expected.tobytes()


# ── decoding ────────────────────────────────────────────────────────────────────────────────────────

PHOTO, CLEAR = Image.fromarray(noise(3)), Image.fromarray(noise(4))
FEW = PHOTO.quantize(200)
DEEP = Image.fromarray(np.random.default_rng(1).integers(0, 65_536, (HEIGHT, WIDTH)).astype(np.uint16))
MOVING = {"save_all": True, "append_images": [PHOTO.rotate(180)]}
KINDS = {
    "JPEG": encoded(PHOTO, "JPEG", quality=60),
    "JPEG 4:4:4": encoded(PHOTO, "JPEG", subsampling="4:4:4"),
    "JPEG 4:2:2": encoded(PHOTO, "JPEG", subsampling="4:2:2"),
    "JPEG 4:1:1": encoded(PHOTO, "JPEG", subsampling="4:1:1"),
    "JPEG progressive": encoded(PHOTO, "JPEG", progressive=True),
    "JPEG grey": encoded(PHOTO.convert("L"), "JPEG"),
    "JPEG kept in RGB": encoded(PHOTO, "JPEG", keep_rgb=True),
    "JPEG with a profile": encoded(PHOTO, "JPEG", icc_profile=swapped_colours()),
    "PNG": encoded(PHOTO, "PNG"),
    "PNG with a profile": encoded(PHOTO, "PNG", icc_profile=swapped_colours()),
    "PNG with alpha": encoded(every_alpha(), "PNG"),
    "PNG of 16 bits": encoded(DEEP, "PNG"),
    "PNG of 16 bits, one of them clear": encoded(DEEP, "PNG", transparency=int(np.asarray(DEEP)[3, 4])),
    "PNG of 1 bit": encoded(PHOTO.convert("1"), "PNG"),
    "PNG with a palette": encoded(FEW, "PNG", transparency=bytes(range(200))),
    "PNG animated": encoded(PHOTO, "PNG", **MOVING),
    "WebP lossless": encoded(PHOTO, "WEBP", lossless=True),
    "WebP lossy": encoded(PHOTO, "WEBP", quality=40),
    "WebP with alpha": encoded(every_alpha(), "WEBP", lossless=True, exact=True),
    "WebP lossy with alpha": encoded(CLEAR, "WEBP"),
    "WebP with a profile": encoded(CLEAR, "WEBP", lossless=True, exact=True, icc_profile=swapped_colours()),
    "WebP animated": encoded(PHOTO, "WEBP", lossless=True, **MOVING),
    "GIF": encoded(FEW, "GIF"),
    "GIF with a clear colour": encoded(FEW, "GIF", transparency=7),
    "GIF animated": encoded(FEW, "GIF", save_all=True, append_images=[FEW.rotate(180)]),
    "BMP": encoded(PHOTO, "BMP"),
    "BMP of 32 bits": encoded(CLEAR, "BMP"),
    "BMP with a palette": encoded(FEW, "BMP"),
    "BMP grey": encoded(PHOTO.convert("L"), "BMP"),
    "BMP of 1 bit": encoded(PHOTO.convert("1"), "BMP"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_is_decoded_alike(page: Any, kind: str) -> None:
    assert_decoded_alike(page, KINDS[kind])


def test_printing_colours_differ_by_one_step_at_most(page: Any) -> None:
    assert_decoded_alike(page, encoded(Image.fromarray(noise(4), mode="CMYK"), "JPEG"), tolerance=1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_orientation_is_applied(page: Any, kind: str) -> None:
    for orientation in (*range(10), 99):
        assert_decoded_alike(page, encoded(PHOTO, kind, exif=turned(orientation)))


def test_a_picture_larger_than_one_strip_is_read_whole(page: Any) -> None:
    photo = PHOTO.resize((2500, 1900), Image.Resampling.NEAREST)
    data = encoded(photo, "WEBP", lossless=True, method=0)
    hashed = """async (text) => {
      const [{ decode }, { sha256 }] = await Promise.all([import("./decoding.js"), import("./sha256.js")]);
      return sha256((await decode(new Blob([Uint8Array.fromBase64(text)]))).data);
    }"""
    found = page.page.evaluate(hashed, base64.b64encode(data).decode())
    assert found == hashlib.sha256(photo.tobytes()).hexdigest()


# ── every PNG ───────────────────────────────────────────────────────────────────────────────────────


def png(header: tuple[int, ...], lines: Sequence[bytes], **chunks: bytes) -> bytes:
    """Return a PNG of filtered lines; ``chunks`` by name come before the pixels."""
    content = {"IHDR": struct.pack(">IIBBBBB", *header), **chunks, "IDAT": zlib.compress(b"".join(lines)), "IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name.encode(), data) for name, data in content.items())


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def line_bytes(columns: int, depth: int, channels: int) -> int:
    return -(-columns * depth * channels // 8)


PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


@settings(max_examples=120)
@given(
    format=st.sampled_from([(kind, depth) for kind, depths in DEPTHS.items() for depth in depths]),
    width=st.integers(1, 20),
    height=st.integers(1, 20),
    interlaced=st.booleans(),
    transparent=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_bytes_that_are_a_png_are_decoded_alike(
    page: Any, format: tuple[int, int], width: int, height: int, interlaced: bool, transparent: bool, seed: int
) -> None:
    kind, depth = format
    random = np.random.default_rng(seed)
    passes = [p for p in PASSES if p[0] < width and p[1] < height] if interlaced else [(0, 0, 1, 1)]
    lines = [
        bytes([random.integers(0, 5)]) + random.bytes(line_bytes(-(-(width - x) // dx), depth, CHANNELS[kind]))
        for x, y, dx, dy in passes
        for _ in range(-(-(height - y) // dy))
    ]
    chunks = {"PLTE": random.bytes(3 * 2**depth)} if kind == 3 else {}
    if transparent and kind in (0, 2, 3):
        key = random.integers(0, 2 ** min(depth, 4), CHANNELS[kind]).astype(">u2").tobytes()
        chunks["tRNS"] = random.bytes(2**depth) if kind == 3 else key
    data = png((width, height, depth, kind, 0, 0, interlaced), lines, **chunks)
    assert_decoded_alike(page, data)


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────


def with_size(width: int, height: int) -> bytes:
    return png((width, height, 8, 0, 0, 0, 0), [b"\0" * 10])


REFUSED = {
    "nothing": (b"", "The file is empty."),
    "text": (b"This is no picture.", "This is not a picture in a known format; allowed are JPEG, PNG, WEBP, BMP, GIF."),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "This is not a picture in a known format"),
    "no pixels": (with_size(0, 5), "The picture has 0 × 5 pixels; a picture has at least one."),
    "a long side": (with_size(32_769, 1), "The picture has 32769 × 1 pixels; a side may have at most 32768."),
    "a bomb": (with_size(20_000, 20_000), "The picture has 20000 × 20000 pixels; at most 100000000 are allowed"),
    "a PNG with too few lines": (with_size(5, 5), "The picture is cut off or damaged (its pixels end too early)."),
    "a PNG of no kind": (png((5, 5, 7, 1, 0, 0, 0), [b""]), "The picture is cut off or damaged (kind 1 with 7 bits)."),
    "a PNG with a flipped bit": (KINDS["PNG"].replace(b"IDATx", b"IDATy"), "damaged (broken chunk IDAT)."),
    **{
        f"half a {kind}": (KINDS[kind][: len(KINDS[kind]) // 2], "The picture is cut off or damaged (")
        for kind in ("JPEG", "JPEG progressive", "PNG", "WebP lossless", "WebP lossy", "GIF", "BMP")
    },
    **{f"the start of a {kind}": (KINDS[kind][:15], "The picture is cut off or damaged (") for kind in KINDS},
    "a JPEG without its last two bytes": (KINDS["JPEG"][:-2], "The picture is cut off or damaged ("),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_python_refuses_is_refused_here_with_a_reason(page: Any, kind: str) -> None:
    data, reason = REFUSED[kind]
    with pytest.raises(ImageError):
        image.load(data)
    found = page.decoded(data)
    assert isinstance(found, str)
    assert found.startswith("PictureError: ")
    assert reason in found


def test_a_file_of_too_many_bytes_is_refused_before_it_is_read(page: Any) -> None:
    refused = """async () => {
      const { decode } = await import("./decoding.js");
      return decode(new Blob([new Uint8Array(64 * 2 ** 20 + 1)])).catch((error) => error.message);
    }"""
    assert page.page.evaluate(refused) == "The file has 67108865 bytes; at most 67108864 are allowed."
