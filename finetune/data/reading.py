"""Every picture read once: whether it decodes, what is odd about it, the hash of its bytes and of what it shows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from PIL.Image import Image
from PIL.ImageFile import ImageFile

from finetune.data.likeness import grey_of, hashes_of
from finetune.errors import ImageError
from finetune.types import Example
from finetune_export import image
from finetune_export.image import PICTURE_SUFFIXES, Limits
from finetune_export.image_gate import open_picture, read_file

AUDIT_SIDE_PX = 64
"""Scaled decoding to this side reads the whole file, so truncation is found, at a fraction of the time."""
TINY_SIDE_PX = 32
"""Pictures with a shorter side are noted: networks see little in them."""
HUGE_PIXELS = 25_000_000
"""Pictures with more are noted: each takes a tenth of a second and 75 MB to decode, at every epoch."""
_ORIENTATION_TAG = 0x0112
_HASHED_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A picture that decodes, and what is odd about it.

    ``sha256`` is of the file's bytes; ``size_px`` width and height as they are in the file, ``likeness`` the hash of
    what it shows, None for a picture that shows nothing. A note is a kind of finding, a colon and what differs from
    picture to picture, or the kind alone.
    """

    example: Example
    sha256: str
    notes: tuple[str, ...] = ()
    size_px: tuple[int, int] | None = None
    likeness: int | None = None


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A picture that is left out, and why."""

    example: Example
    reason: str


def read_all(examples: tuple[Example, ...], limits: Limits) -> Iterator[Checked | Refused]:
    """Yield what came of each picture, in their order."""
    # Pillow decodes without the interpreter's lock, so threads use every core; numpy would fight them for it, and so
    # hashes many pictures at once.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        outcomes = threads.map(lambda example: _read(example, limits), examples)
        while batch := list(islice(outcomes, _HASHED_AT_ONCE)):
            hashes = iter(hashes_of([outcome[1] for outcome in batch if not isinstance(outcome, Refused)]))
            for outcome in batch:
                yield outcome if isinstance(outcome, Refused) else outcome[0](likeness=next(hashes))


def _read(example: Example, limits: Limits) -> tuple[Callable[..., Checked], Image] | Refused:
    try:
        data = read_file(example.path, limits)
        picture = open_picture(data, str(example.path), limits)
        size_px = picture.size
        picture.draft(None, (AUDIT_SIDE_PX, AUDIT_SIDE_PX))
        decoded = image.load(picture, limits).image
    except ImageError as error:
        return Refused(example=example, reason=error.reason)
    checked = partial(
        Checked,
        example=example,
        sha256=hashlib.sha256(data).hexdigest(),
        notes=(*_file_notes(example.path, picture), *_size_notes(*size_px)),
        size_px=size_px,
    )
    return checked, grey_of(decoded)


# ── notes ───────────────────────────────────────────────────────────────────────────────────────────


def _file_notes(path: Path, picture: ImageFile) -> Iterator[str]:
    suffix = path.suffix.lower()
    if PICTURE_SUFFIXES.get(suffix, picture.format) != picture.format:
        yield f"wrong-name: it is {picture.format}"
    with suppress(Exception):  # a malformed EXIF block or a damaged later frame says nothing about the first frame
        if picture.getexif().get(_ORIENTATION_TAG, 1) in range(2, 9):
            yield "turned"
    with suppress(Exception):
        if getattr(picture, "is_animated", False):
            yield "animated"


def _size_notes(width: int, height: int) -> Iterator[str]:
    if min(width, height) < TINY_SIDE_PX:
        yield f"tiny: {width} x {height} pixels"
    if width * height > HUGE_PIXELS:
        yield f"huge: {width} x {height} pixels"
