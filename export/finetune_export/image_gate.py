"""The gate every picture passes before a pixel is decoded: which files are let in, and how large they may be.

Formats are recognised by their first bytes and opened by exactly one Pillow plugin each. ``PIL.Image.open`` is not
used: its size check warns through process-wide state, which two threads cannot share. Ours reads the header and
raises.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from finetune_export.errors import FinetuneError, ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")

PICTURE_SUFFIXES: Mapping[str, str] = MappingProxyType(
    {
        ".jpg": "JPEG",
        ".jpeg": "JPEG",
        ".jpe": "JPEG",
        ".jfif": "JPEG",
        ".png": "PNG",
        ".webp": "WEBP",
        ".bmp": "BMP",
        ".gif": "GIF",
    }
)
"""File name endings (lower case) that a picture may have, and the format each stands for."""

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image | NDArray[Any]
"""Where a picture comes from: a file's path, a file's bytes, a picture that Pillow already opened, or its pixels.

Pixels are uint8 (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGB and alpha, or uint16 (H, W) grey.
"""

_NAMES = {"<bytes>": bytes | bytearray | memoryview, "<image>": Image.Image, "<array>": np.ndarray}
_PLUGINS: Mapping[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
}


@dataclass(frozen=True)
class Limits:
    """How large a picture may be: the file in bytes, the picture in pixels altogether and along one side."""

    max_bytes: int = 64 * 2**20
    max_pixels: int = 100_000_000
    max_side_px: int = 32_768


def name_of(source: Source) -> str:
    """Return what messages call a source: its path, ``<bytes>``, ``<image>`` or ``<array>``.

    Raises ``TypeError`` for what is no source.
    """
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    for name, kinds in _NAMES.items():
        if isinstance(source, kinds):
            return name
    raise TypeError(
        f"a picture of type {type(source).__name__} is not allowed; it has to be a path, a file's content as bytes, "
        "a Pillow image or a numpy array"
    )


def read_file(source: str | Path, limits: Limits) -> bytes:
    """Return a picture file's bytes; raise ``ImageError`` unless it is a readable regular file within the limit."""
    try:
        # Looked at before it is opened: opening a pipe would wait for its writer for ever.
        status = os.stat(source)  # noqa: PTH116 - as a Path, "" would mean the working folder
        if not stat.S_ISREG(status.st_mode):
            raise ImageError(str(source), "not a regular file; a picture has to be one", "unreadable")
        _check_bytes(status.st_size, str(source), limits)
        with Path(source).open("rb") as file:
            return file.read(status.st_size)
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        cause = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise ImageError(str(source), f"the file cannot be read ({cause})", "unreadable") from exc


def open_picture(data: bytes, name: str, limits: Limits) -> ImageFile.ImageFile:
    """Return the picture in ``data``, its header read and its size allowed, nothing decoded yet."""
    _check_bytes(len(data), name, limits)
    kind = _format_of(data)
    if kind is None:
        raise ImageError(name, f"not a picture in a known format; allowed are {', '.join(FORMATS)}", "format")
    with refusing_damage(name):
        picture = _PLUGINS[kind](io.BytesIO(data))
    check_size(picture.size, name, limits)
    if kind == "PNG":
        _check_png(data, name)
    return picture


def check_pillow_is_strict() -> None:
    """Refuse to work while the process tells Pillow to pass cut-off pictures as whole ones."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise FinetuneError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is on, which passes cut-off pictures as whole; set it to False"
        )


def check_size(size: tuple[int, int], name: str, limits: Limits) -> None:
    """Raise ``ImageError`` for a picture without pixels, or larger than the limits."""
    width, height = size
    if min(width, height) < 1:
        raise ImageError(name, f"{width} x {height} pixels; a picture has at least one", "shape")
    if max(width, height) > limits.max_side_px:
        raise ImageError(name, f"{width} x {height} pixels; a side may have at most {limits.max_side_px}", "shape")
    if width * height > limits.max_pixels:
        raise ImageError(
            name, f"{width} x {height} pixels; at most {limits.max_pixels} are allowed altogether", "too large"
        )


def damaged(name: str, cause: Exception) -> ImageError:
    """Return the error for a picture that cannot be decoded to its end."""
    words = " ".join(str(cause).split()) or type(cause).__name__
    return ImageError(name, f"the picture is cut off or damaged ({words[:200]})")


@contextmanager
def refusing_damage(name: str) -> Iterator[None]:
    """Raise ``ImageError`` for whatever decoding raises but ``MemoryError``, which is not the picture's fault."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as exc:  # hostile bytes make Pillow raise almost anything
        raise damaged(name, exc) from exc


def _check_bytes(size: int, name: str, limits: Limits) -> None:
    if size == 0:
        raise ImageError(name, "the file is empty", "format")
    if size > limits.max_bytes:
        raise ImageError(name, f"{size} bytes; at most {limits.max_bytes} are allowed", "too large")


def _format_of(data: bytes) -> str | None:
    """Return the format that the first bytes announce, or None if it is not one of ``FORMATS``."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    return "BMP" if data.startswith(b"BM") else None


def _check_png(data: bytes, name: str) -> None:
    """Compare the checksums of all chunks; decoding alone skips those of the pixels."""
    with refusing_damage(name):
        PngImageFile(io.BytesIO(data)).verify()
