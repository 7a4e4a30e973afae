"""The pictures of a run, small enough for a page; only what still is the picture that it was is shown."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from finetune.errors import ImageError
from finetune.evaluation.side_by_side import heat_over
from finetune.types.reports import HeatMap, PictureProblem, RunPictures
from finetune_export import image
from finetune_export.contract import Preprocessing
from finetune_export.image_gate import Limits, read_file

QUALITY = 75
_NOWHERE: Mapping[str, Path] = MappingProxyType({})
_ESCAPED = re.compile(r"\\u(d[89a-f][0-9a-f]{2})")


class Thumbnails(RunPictures):
    """A run's pictures from where they are; what was made once is kept, and several threads may ask.

    ``split`` are the rows of ``split.csv``; a picture that is in none of them is shown whatever its content is.
    ``moved`` are pictures by the sha256 of their content, for those that are not where they were. A file is read once
    for each size, and its content is compared with what it was in the same bytes that are decoded.
    """

    def __init__(
        self,
        split: tuple[Mapping[str, str], ...],
        preprocessing: Preprocessing,
        moved: Mapping[str, Path] = _NOWHERE,
    ) -> None:
        self._hashes = {row["path"]: row["sha256"] for row in split}
        self._preprocessing = preprocessing
        self._moved = moved
        self._made: dict[tuple[str, int, int], bytes | None] = {}
        self._seen: dict[str, image.Pixels | None] = {}
        self._problems: dict[str, PictureProblem] = {}

    def thumbnail(self, path: Path | str, side_px: int, quality: int = QUALITY) -> bytes | None:
        """Return a picture upright and in RGB, no side longer than ``side_px``, as a JPEG file; None without it."""
        key = (recorded(path), side_px, quality)
        if key not in self._made:
            picture = self._decoded(path, draft_px=side_px)
            self._made[key] = None if picture is None else _jpeg(_small(picture, side_px), quality)
        return self._made[key]

    def view(self, path: Path | str, side_px: int, heat_map: HeatMap | None = None) -> bytes | None:
        """Return the square that the network sees of a picture as a JPEG file, with a heat map laid over it if given.

        It is decoded whole, as for the network. Its side is the network's, and ``side_px`` at most; None without it.
        """
        pixels = self._pixels(path)
        if pixels is None:
            return None
        if heat_map is None:
            return _jpeg(_small(Image.fromarray(pixels), side_px))
        return _jpeg(_small(heat_over(pixels, np.array(heat_map.cells, dtype=np.uint8)), side_px))

    def problem(self, path: Path | str) -> PictureProblem | None:
        """Return why a picture cannot be shown; None where it can, and for one that was not asked for."""
        return self._problems.get(recorded(path))

    def missing(self) -> tuple[str, ...]:
        """Return the pictures that were asked for in vain until now, as ``split.csv`` names them."""
        return tuple(self._problems)

    def _pixels(self, path: Path | str) -> image.Pixels | None:
        """Return what the network sees of a picture: uint8 (S, S, 3); it is kept, for it is asked for with its heat."""
        key = recorded(path)
        if key not in self._seen:
            picture = self._decoded(path)
            self._seen[key] = None if picture is None else image.to_pixels(picture, self._preprocessing)
        return self._seen[key]

    def _decoded(self, path: Path | str, draft_px: int | None = None) -> Image.Image | None:
        key = recorded(path)
        problem: PictureProblem = "gone"
        for place in self._places(key):
            try:
                return self._loaded(place, self._hashes.get(key), draft_px)
            except _CannotShowError as refused:
                problem = refused.problem if refused.problem != "gone" else problem
        self._problems[key] = problem
        return None

    def _places(self, recorded: str) -> Iterator[Path]:
        """Yield where a picture may be: where it was, also under a name that is no text, and where it was moved."""
        yield Path(recorded)
        if _ESCAPED.search(recorded):
            yield Path(_ESCAPED.sub(lambda found: chr(int(found[1], 16)), recorded))
        if (moved := self._moved.get(self._hashes.get(recorded, ""))) is not None:
            yield moved

    @staticmethod
    def _loaded(place: Path, sha256: str | None, draft_px: int | None) -> Image.Image:
        try:
            data = read_file(place, Limits())
            if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
                raise _CannotShowError("changed")
            return image.load(data, draft_px=draft_px).image
        except ImageError as error:
            absent = isinstance(error.__cause__, FileNotFoundError | NotADirectoryError)
            raise _CannotShowError("gone" if absent else "unreadable") from error


class _CannotShowError(Exception):
    def __init__(self, problem: PictureProblem) -> None:
        super().__init__(problem)
        self.problem = problem


def recorded(path: Path | str) -> str:
    """Return a path as ``split.csv`` has it: bytes of a name that are no text are escaped."""
    return str(path).encode(errors="backslashreplace").decode()


def _small(picture: Image.Image, side_px: int) -> Image.Image:
    small = picture.copy()
    small.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    return small


def _jpeg(picture: Image.Image, quality: int = QUALITY) -> bytes:
    picture.info.clear()  # a comment in the file would go into the page with it
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()
