"""Pictures at a glance as one PNG: thumbnails with captions, those that belong together side by side."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from finetune.errors import ImageError
from finetune.evaluation.fonts import Lettering
from finetune_export import image

MOST_GROUPS = 12
"""So many groups of a section are shown."""
MOST_TOGETHER = 4
"""So many pictures of a group are shown."""
WIDTH_PX, THUMBNAIL_PX, GAP_PX = 1200, 160, 12
INK, PALE, PAPER = (30, 30, 30), (225, 225, 225), (255, 255, 255)
_TITLE, _CAPTION = Lettering(20), Lettering(12)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture and what is written below it."""

    path: Path
    caption: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """Groups of pictures under a title; the pictures of a group are side by side, in one frame."""

    title: str
    groups: Sequence[Sequence[Shown]]


def contact_sheet(sections: Sequence[Section]) -> bytes:
    """Return a PNG of at most ``MOST_GROUPS`` groups a section, which says of the others how many there are.

    A picture that cannot be read is an empty frame with a cross. Captions are shown whole, in any script there is a
    font for.
    """
    rows = [row for section in sections for row in _section(section)]
    height = sum(row.height for row in rows) + GAP_PX
    sheet = Image.new("RGB", (WIDTH_PX, height), PAPER)
    top = GAP_PX
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()


def _section(section: Section) -> Iterator[Image.Image]:
    more = len(section.groups) - MOST_GROUPS
    yield from _title(section.title + (f" (and {more} more that are not shown)" if more > 0 else ""))
    row: list[Image.Image] = []
    for group in section.groups[:MOST_GROUPS]:
        framed = _framed(group)
        if row and sum(each.width + GAP_PX for each in (*row, framed)) > WIDTH_PX - GAP_PX:
            yield _row(row)
            row = []
        row.append(framed)
    if row:
        yield _row(row)


def _title(text: str) -> Iterator[Image.Image]:
    for line in _TITLE.wrapped(text, WIDTH_PX - 2 * GAP_PX):
        strip = Image.new("RGB", (WIDTH_PX, _TITLE.line_px + GAP_PX // 2), PAPER)
        _TITLE.draw(ImageDraw.Draw(strip), (GAP_PX, 0), line, INK)
        yield strip


def _row(framed: Sequence[Image.Image]) -> Image.Image:
    row = Image.new("RGB", (WIDTH_PX, max(each.height for each in framed) + GAP_PX), PAPER)
    left = GAP_PX
    for each in framed:
        row.paste(each, (left, 0))
        left += each.width + GAP_PX
    return row


def _framed(group: Sequence[Shown]) -> Image.Image:
    shown = list(group[:MOST_TOGETHER])
    cells = [_cell(each) for each in shown]
    if len(group) > len(shown):
        cells[-1] = _cell(shown[-1], f"(and {len(group) - len(shown)} more)")
    frame = Image.new(
        "RGB",
        (sum(cell.width for cell in cells) + GAP_PX * (len(cells) + 1), max(c.height for c in cells) + 2 * GAP_PX),
        PALE,
    )
    left = GAP_PX
    for cell in cells:
        frame.paste(cell, (left, GAP_PX))
        left += cell.width + GAP_PX
    return frame


def _cell(shown: Shown, more: str = "") -> Image.Image:
    """Return a thumbnail with its caption below it."""
    texts = [shown.caption, more] if more else [shown.caption]
    lines = [line for text in texts for part in text.split("\n") for line in _CAPTION.wrapped(part, THUMBNAIL_PX)]
    height = THUMBNAIL_PX + GAP_PX // 2 + _CAPTION.line_px * len(lines)
    cell = Image.new("RGB", (THUMBNAIL_PX, height), PALE)
    thumbnail = _thumbnail(shown.path)
    cell.paste(thumbnail, ((THUMBNAIL_PX - thumbnail.width) // 2, (THUMBNAIL_PX - thumbnail.height) // 2))
    for number, line in enumerate(lines):
        top = THUMBNAIL_PX + GAP_PX // 2 + _CAPTION.line_px * number
        _CAPTION.draw(ImageDraw.Draw(cell), (0, top), line, INK)
    return cell


def _thumbnail(path: Path) -> Image.Image:
    try:
        thumbnail = image.load(path, draft_px=THUMBNAIL_PX).image.copy()
    except ImageError:
        return _crossed_out()
    thumbnail.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return thumbnail


def _crossed_out() -> Image.Image:
    end = THUMBNAIL_PX - 1
    empty = Image.new("RGB", (THUMBNAIL_PX, THUMBNAIL_PX), PAPER)
    draw = ImageDraw.Draw(empty)
    draw.rectangle((0, 0, end, end), outline=INK)
    draw.line((0, 0, end, end), fill=INK)
    draw.line((0, end, end, 0), fill=INK)
    return empty
