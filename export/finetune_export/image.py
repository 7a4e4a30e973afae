"""The preprocessing: the only code that turns a picture file into pixels.

Training's validation, the parity check and the deployed predictor all call it, so they see the same pixels bit for
bit. Everything in here is thread safe: it sets none of Pillow's process-wide switches, and depends on none.

Shapes: ``H`` and ``W`` are pixels, colours are RGB, values are uint8 from 0 to 255.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from finetune_export.errors import ImageError
from finetune_export.image_gate import (
    FORMATS,
    PICTURE_SUFFIXES,
    Limits,
    Source,
    check_pillow_is_strict,
    check_size,
    name_of,
    open_picture,
    read_file,
    refusing_damage,
)

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    from finetune_export.contract import Preprocessing

__all__ = [
    "FORMATS",
    "PICTURE_SUFFIXES",
    "Limits",
    "Picture",
    "Pixels",
    "Source",
    "centre_box",
    "load",
    "name_of",
    "read_pixels",
    "resize",
    "to_pixels",
]

Pixels = NDArray[np.uint8]  # (H, W, 3) or, as a batch, (N, H, W, 3)
Box = tuple[float, float, float, float]  # left, top, right, bottom; in pixels, may be fractional

TINY_SIDE_PX = 10
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_OPAQUE_MODES = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"}
_ALPHA_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}
_ARRAYS = "uint8 (H, W), (H, W, 3) or (H, W, 4), or uint16 (H, W)"
_SIXTEEN_BIT_MODES = {"I;16", "I;16L", "I;16B", "I;16N"}


@dataclass(frozen=True)
class Picture:
    """A decoded picture: ``image`` is upright RGB; ``notes`` say what a person may want to know about the file."""

    image: Image.Image
    notes: tuple[str, ...] = ()


def load(source: Source, limits: Limits | None = None, *, draft_px: int | None = None) -> Picture:
    """Return a picture upright and in RGB, or raise ``ImageError`` with the reason why it is refused.

    The rules: the first frame of an animation, EXIF orientation applied, 16 bits scaled to 8 (the high byte),
    transparency over white, CMYK converted. ``limits`` default to ``Limits()``. ``draft_px`` lets a JPEG be decoded
    at 1/2, 1/4 or 1/8 of its size while its shorter side keeps that many pixels: several times faster on camera
    photos, but not the same pixels, so it is for training pictures only.
    """
    check_pillow_is_strict()
    name, limits = name_of(source), limits or Limits()
    if isinstance(source, np.ndarray):
        source = _from_array(source, name)
    if isinstance(source, Image.Image):
        check_size(source.size, name, limits)
        return Picture(_decode(source, name), _size_notes(source))
    data = read_file(name, limits) if isinstance(source, str | os.PathLike) else bytes(source)
    picture = open_picture(data, name, limits)
    notes = (*_name_notes(name, picture), *_size_notes(picture), *_frame_notes(picture))
    if draft_px is not None:
        picture.draft(None, (draft_px, draft_px))
    return Picture(_decode(picture, name), notes)


def centre_box(width: int, height: int, crop_fraction: float) -> Box:
    """Return the largest centred square of a picture, its side scaled by ``crop_fraction`` (0 < f <= 1)."""
    side = min(width, height) * crop_fraction
    return (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2


def resize(image: Image.Image, box: Box, size_px: int) -> Pixels:
    """Return ``box`` of an RGB picture as pixels (size_px, size_px, 3), bilinear with antialiasing.

    Cut and resized in one step, so a picture of 32,768 x 1 never becomes a huge intermediate.
    """
    return np.array(image.resize((size_px, size_px), Image.Resampling.BILINEAR, box=box))


def to_pixels(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """Return an upright RGB picture as the network sees it: uint8 (H, W, 3), H = W = ``image_size_px``."""
    box = centre_box(image.width, image.height, preprocessing.crop_fraction)
    return resize(image, box, preprocessing.image_size_px)


def read_pixels(source: Source, preprocessing: Preprocessing, limits: Limits | None = None) -> Pixels:
    """Return a picture as the network sees it: uint8 (H, W, 3), H = W = ``image_size_px``; or raise ``ImageError``."""
    return to_pixels(load(source, limits).image, preprocessing)


# ── from an opened file to upright RGB ──────────────────────────────────────────────────────────────


def _decode(picture: Image.Image, name: str) -> Image.Image:
    with refusing_damage(name):
        picture.load()
        rgb = _rgb(picture)
    if rgb is None:
        raise ImageError(
            name, f"its pixels are of kind {picture.mode}; allowed are colour or grey of 1 to 16 bits", "format"
        )
    turn = _UPRIGHT.get(_orientation(picture))
    if turn is None:
        return rgb
    upright = rgb.transpose(turn)
    upright.info.clear()  # it still says that the picture has to be turned
    return upright


def _from_array(array: NDArray[Any], name: str) -> Image.Image:
    shape, kind = array.shape, array.dtype
    colour = kind == np.uint8 and len(shape) == 3 and shape[2] in (3, 4)
    grey = kind in (np.uint8, np.uint16) and len(shape) == 2
    if not (colour or grey):
        raise ImageError(name, f"an array of {kind} {shape}; a picture has to be {_ARRAYS}", "shape")
    if array.size == 0:
        raise ImageError(name, f"an array of the shape {shape} has no pixels", "shape")
    return Image.fromarray(np.ascontiguousarray(array))


def _rgb(picture: Image.Image) -> Image.Image | None:
    """Return the decoded picture as RGB, or None if its mode is not one that we know how to show."""
    if picture.mode in _SIXTEEN_BIT_MODES:
        return _from_sixteen_bits(picture)
    if picture.mode in _ALPHA_MODES or (picture.mode in _OPAQUE_MODES and picture.has_transparency_data):
        background = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(background, picture.convert("RGBA")).convert("RGB")
    if picture.mode == "RGB":
        return picture  # converting would copy it
    return picture.convert("RGB") if picture.mode in _OPAQUE_MODES else None


def _from_sixteen_bits(picture: Image.Image) -> Image.Image:
    """Keep the high byte, as Pillow does for 16-bit colour; its own conversion of 16-bit grey clips at 255."""
    values = np.asarray(picture)  # (H, W), in the byte order of the mode
    grey = (values >> 8).astype(np.uint8)
    transparent = picture.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; anything unreadable counts as upright."""
    try:
        orientation = picture.getexif().get(_ORIENTATION_TAG, 1)
    except MemoryError:
        raise
    except Exception:  # a malformed EXIF block says nothing about the pixels
        return 1
    return orientation if isinstance(orientation, int) else 1


# ── notes ───────────────────────────────────────────────────────────────────────────────────────────


def _name_notes(name: str, picture: ImageFile) -> tuple[str, ...]:
    suffix = Path(name).suffix.lower()
    if PICTURE_SUFFIXES.get(suffix, picture.format) == picture.format:
        return ()
    return (f"named {suffix}, but its content is {picture.format}",)


def _size_notes(picture: Image.Image) -> tuple[str, ...]:
    if min(picture.size) >= TINY_SIDE_PX:
        return ()
    return (f"tiny: {picture.width} x {picture.height} pixels",)


def _frame_notes(picture: ImageFile) -> tuple[str, ...]:
    try:
        animated = getattr(picture, "is_animated", False)
    except Exception:  # a later frame is damaged; only the first is used
        animated = True
    return ("animated: only its first frame is used",) if animated else ()
