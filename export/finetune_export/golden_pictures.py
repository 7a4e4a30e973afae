"""The generated test pictures that travel inside every model: drawn from formulas, so they belong to nobody.

Each takes another way through the preprocessing: colour, a turned JPEG, transparency, 16-bit grey, and a picture so
tall that Pillow resizes its columns before its rows, which versions before 13 did not.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_ORIENTATION_TAG = 0x0112
_QUARTER_TURN = 6


def pictures() -> dict[str, bytes]:
    """Return the test pictures as encoded files by name; the same on every call, a few kilobytes altogether."""
    turned = Image.Exif()
    turned[_ORIENTATION_TAG] = _QUARTER_TURN
    return {
        "colour.png": _encoded(_rgb(97, 61), "PNG"),
        "turned.jpg": _encoded(_rgb(120, 83), "JPEG", quality=90, exif=turned),
        "transparent.png": _encoded(np.dstack([_rgb(58, 91), _ramp(58, 91)]), "PNG"),
        "grey16.png": _encoded(_grey16(75, 50), "PNG"),
        "tall.png": _encoded(_rgb(40, 600), "PNG"),
    }


def _rgb(width: int, height: int) -> NDArray[np.uint8]:
    """Return two crossing gradients with a blue disc on a checkerboard: uint8 (H, W, 3)."""
    y, x = np.mgrid[:height, :width]
    disc = (x - width / 2) ** 2 + (y - height / 3) ** 2 < (min(width, height) / 4) ** 2
    blue = np.where(disc, 230, 60 * ((x // 8 + y // 8) % 2))
    return np.dstack([_ramp(width, height), 255 * y // (height - 1), blue]).astype(np.uint8)


def _ramp(width: int, height: int) -> NDArray[np.uint8]:
    """Return a gradient from left to right, 0 to 255: uint8 (H, W)."""
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


def _grey16(width: int, height: int) -> NDArray[np.uint16]:
    """Return a diagonal gradient over the whole 16-bit range: uint16 (H, W)."""
    y, x = np.mgrid[:height, :width]
    grey: NDArray[np.uint16] = ((x + y) * (65_535 // (width + height))).astype(np.uint16)
    return grey


def _encoded(pixels: NDArray[Any], kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()
