"""A picture, and beside it the same with a heat map over it: one PNG, with what is to be said below."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from finetune.errors import ImageError
from finetune.evaluation.fonts import Lettering
from finetune_export.image import Limits
from finetune_export.image_gate import open_picture, read_file

PANEL_PX, GAP_PX = 360, 12
INK, PAPER = (30, 30, 30), (255, 255, 255)
MARK = ("Software", "finetune explain")
"""A text within every PNG that is written here, by which it is known again."""
COLOURS = "inferno"
"""matplotlib's name of the colours from cold to hot: lighter is hotter, for whoever sees no colours, too."""
GREY_SHARE = 0.45
"""How bright the picture is where nothing speaks for the label; what is dark there leaves the light to the heat."""
_LETTERING = Lettering(16)


def heat_over(pixels: NDArray[np.uint8], cells: NDArray[np.uint8]) -> Image.Image:
    """Return a picture uint8 (H, W, 3) with heat 0..255, uint8 (h, w), spread evenly over it; of the picture's size.

    Where it is cold, the picture is grey and dim; where it is hot, it shows through the colours of ``COLOURS``.
    """
    height, width = pixels.shape[:2]
    spread = Image.fromarray(cells).resize((width, height), Image.Resampling.BICUBIC)
    heat = np.asarray(spread, np.float32)[..., None] / 255
    grey = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)[..., None] / 255
    colour = matplotlib.colormaps[COLOURS](heat[..., 0])[..., :3]
    mixed = (1 - heat) * GREY_SHARE * grey + heat * (0.55 * colour + 0.45 * pixels / 255)
    return Image.fromarray((255 * mixed).round().clip(0, 255).astype(np.uint8))


def side_by_side(pixels: NDArray[np.uint8], cells: NDArray[np.uint8], lines: Sequence[str]) -> bytes:
    """Return a PNG: the picture uint8 (S, S, 3), beside it the same under its heat uint8 (h, w), the lines below.

    The lines are shown whole, in any script there is a font for. The PNG says of itself who made it (``MARK``).
    """
    width = 2 * PANEL_PX + 3 * GAP_PX
    text = [part for line in lines for part in _LETTERING.wrapped(line, width - 2 * GAP_PX)]
    height = PANEL_PX + 3 * GAP_PX + len(text) * _LETTERING.line_px
    sheet = Image.new("RGB", (width, height), PAPER)
    large = Image.fromarray(pixels).resize((PANEL_PX, PANEL_PX), Image.Resampling.BICUBIC)
    sheet.paste(large, (GAP_PX, GAP_PX))
    sheet.paste(heat_over(np.asarray(large), cells), (PANEL_PX + 2 * GAP_PX, GAP_PX))
    for number, line in enumerate(text):
        top = PANEL_PX + 2 * GAP_PX + number * _LETTERING.line_px
        _LETTERING.draw(ImageDraw.Draw(sheet), (GAP_PX, top), line, INK)
    return _png(sheet)


def is_side_by_side(path: Path) -> bool:
    """Whether a file is a PNG that ``side_by_side`` made, which its mark says."""
    try:
        limits = Limits()
        picture = open_picture(read_file(path, limits), str(path), limits)
    except ImageError:
        return False
    return picture.format == "PNG" and picture.info.get(MARK[0]) == MARK[1]


def _png(sheet: Image.Image) -> bytes:
    mark, file = PngInfo(), io.BytesIO()
    mark.add_text(*MARK)
    sheet.save(file, "PNG", pnginfo=mark)
    return file.getvalue()
