"""Text in pictures, in any script: each character in a font that has it, and escaped where none has."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.ft2font import FT2Font
from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]


class Lettering:
    """Text of one size in pixels."""

    def __init__(self, size_px: int) -> None:
        self.size_px = size_px
        self.line_px = round(size_px * 1.35)

    def width(self, text: str) -> float:
        """Return the width of one line of text in pixels."""
        return sum(font.getlength(run) for font, run in self._runs(text))

    def draw(self, canvas: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: Colour) -> None:
        """Draw one line of text, its top left corner at ``at``."""
        x, y = at
        for font, run in self._runs(text):
            # All on one baseline, whichever font they are of.
            canvas.text((x, y + self.size_px), run, font=font, fill=colour, anchor="ls")
            x += font.getlength(run)

    def wrapped(self, text: str, width_px: float) -> list[str]:
        """Return the lines of a text that is no wider than ``width_px``; nothing of it is left out."""
        lines = [""]
        for character in "".join(_shown(c) for c in text):
            if lines[-1] and self.width(lines[-1] + character) > width_px:
                lines.append("")
            lines[-1] += character
        return lines

    def _runs(self, text: str) -> Iterator[tuple[ImageFont.FreeTypeFont, str]]:
        for path, characters in groupby(text, key=_font_with):
            yield _font(path or _own_font(), self.size_px), "".join(characters)


def _shown(character: str) -> str:
    r"""Return a character as it can be drawn: ``\u732b`` where no font has it, or where there is nothing to see."""
    if character.isprintable() and _font_with(character):
        return character
    return character.encode("ascii", "backslashreplace").decode() if ord(character) > 127 else repr(character)[1:-1]


@cache
def _font_with(character: str) -> Path | None:
    if _has(_own_font(), character):
        return _own_font()
    return next((path for path in _system_fonts() if _has(path, character)), None)


def _has(font: Path, character: str) -> bool:
    opened = _opened(font)
    return opened is not None and opened.get_char_index(ord(character)) != 0


@cache
def _own_font() -> Path:
    return Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


@cache
def _system_fonts() -> list[Path]:
    from matplotlib.font_manager import findSystemFonts  # only where our own font does not do

    return sorted(map(Path, findSystemFonts()))


@cache
def _opened(font: Path) -> Any:
    """Return a font's table of characters; None where it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ImageFont.truetype(font, 10)  # a font of colour bitmaps has no such size
            return FT2Font(str(font))
    except (OSError, RuntimeError):
        return None


@cache
def _font(path: Path, size_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size_px)
