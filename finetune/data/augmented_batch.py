"""What training sees: some pictures as deployed beside their random views, as one PNG to look at."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from finetune.data.pictures import Pictures
from finetune.types import Example

MOST_PICTURES = 8
VIEWS = 5
SIDE_PX, CAPTION_PX, GAP_PX, TEXT_PX = 136, 18, 6, 11
LONGEST_CAPTION = 22
"""Characters that have room above a picture."""


def augmented_batch(pictures: Pictures, count: int = VIEWS) -> bytes:
    """Return a PNG of up to ``MOST_PICTURES`` pictures, spread over all: each as deployed, then in ``count`` views.

    Raises ``DataError`` for a picture that is not what it was when the run began.
    """
    chosen = np.linspace(0, len(pictures) - 1, min(len(pictures), MOST_PICTURES)).round().astype(int).tolist()
    across, down = SIDE_PX + GAP_PX, SIDE_PX + GAP_PX + CAPTION_PX
    sheet = Image.new("RGB", (GAP_PX + (count + 1) * across, GAP_PX + len(chosen) * down), "white")
    drawing, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT_PX)
    for row, index in enumerate(chosen):
        for view in range(count + 1):
            left, top = GAP_PX + view * across, GAP_PX + row * down
            shown = Image.fromarray(pictures.pixels(index, view)).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
            sheet.paste(shown, (left, top + CAPTION_PX))
            caption = f"{pictures.augment} {view}" if view else _caption(pictures.examples[index])
            drawing.text((left, top), caption, fill="black", font=font)
    written = io.BytesIO()
    sheet.save(written, format="png", compress_level=3)  # twice as fast as 6, and 4% larger
    return written.getvalue()


def _caption(example: Example) -> str:
    """Return what a picture shows in one short line; its file's name where that is nothing."""
    values = " ".join(f"{value:.4g}" for value in example.values)
    caption = " ".join((example.label or ", ".join(example.labels) or values or example.path.name).split())
    return caption if len(caption) <= LONGEST_CAPTION else caption[: LONGEST_CAPTION - 1] + "…"
