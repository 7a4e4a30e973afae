"""What is held against every block before it is shown: that it is what its type promises."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from finetune.types import Confusion, Figure, Gallery, Paragraph, Picture, PictureMap, Point, Table

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
LARGEST_PNG_BYTES = 20_000_000
LARGEST_PICTURE_BYTES = 1_000_000


def wrong_with(block: object) -> str:
    """Return what is wrong with a block; nothing where all is well."""
    check = _CHECKS.get(type(block))
    if check is None:
        *others, last = (kind.__name__ for kind in _CHECKS)
        return f"it returned {type(block).__name__} among its blocks; those are {', '.join(others)} and {last}"
    return check(block)


def _wrong_with_paragraph(block: Paragraph) -> str:
    texts: dict[str, object] = {"text": block.text, "command": block.command}
    wrong = (
        f"the {what} of a paragraph is {type(text).__name__}"
        for what, text in texts.items()
        if not isinstance(text, str)
    )
    return next(wrong, "")


def _wrong_with_table(table: Table) -> str:
    lines = (table.header, *table.rows) if isinstance(table.rows, tuple | list) else (None,)
    if not all(isinstance(line, tuple | list) and all(isinstance(cell, str) for cell in line) for line in lines):
        return "a cell of a table is no text"
    if not table.header:
        return "a table has no columns"
    if any(len(line) != len(table.header) for line in table.rows):
        return f"a row of a table has other columns than the {len(table.header)} of its header"
    return _wrong_with_caption(table.caption, "a table") or _wrong_with_flag(table.sortable, "a table is sortable")


def _wrong_with_flag(flag: object, what: str) -> str:
    return "" if isinstance(flag, bool) else f"whether {what} is neither True nor False"


def _wrong_with_caption(caption: object, of: str) -> str:
    return "" if isinstance(caption, str) else f"the caption of {of} is no text"


def _wrong_with_figure(figure: Figure) -> str:
    if not _is_image(figure.png, LARGEST_PNG_BYTES, PNG):
        return f"a figure is no PNG of {LARGEST_PNG_BYTES / 1e6:g} MB at most"
    if figure.dark_png != b"" and not _is_image(figure.dark_png, LARGEST_PNG_BYTES, PNG):
        return f"a figure for dark pages is no PNG of {LARGEST_PNG_BYTES / 1e6:g} MB at most"
    return "" if _says(figure.alt) else "a figure has no text for who cannot see it"


def _is_image(image: object, most_bytes: int, *begins: bytes) -> bool:
    return isinstance(image, bytes) and image.startswith(begins) and len(image) <= most_bytes


def _says(text: object) -> bool:
    return isinstance(text, str) and bool(text.strip())


def _wrong_with_gallery(gallery: Gallery) -> str:
    if not isinstance(gallery.pictures, tuple | list) or not gallery.pictures:
        return "a gallery has no pictures"
    wrong = next(filter(None, map(_wrong_with_picture, gallery.pictures)), "")
    wrong = wrong or _wrong_with_caption(gallery.caption, "a gallery")
    return wrong or _wrong_with_flag(gallery.compact, "a gallery is compact")


def _wrong_with_picture(picture: object) -> str:
    if not isinstance(picture, Picture):
        return f"a picture is {type(picture).__name__}"
    for image in (picture.image, picture.overlay):
        if image is not None and not _is_image(image, LARGEST_PICTURE_BYTES, PNG, JPEG):
            return f"a picture is no JPEG or PNG of {LARGEST_PICTURE_BYTES / 1e6:g} MB at most"
    if picture.image is None and picture.overlay is not None:
        return "a picture that is not there has something drawn over it"
    if not _says(picture.alt):
        return "a picture has no text for who cannot see it"
    is_text = isinstance(picture.lines, tuple | list) and all(isinstance(line, str) for line in picture.lines)
    return "" if is_text else "a line below a picture is no text"


def _wrong_with_confusion(confusion: Confusion) -> str:
    labels, counts = confusion.labels, confusion.counts
    if not isinstance(labels, tuple | list) or not all(isinstance(label, str) for label in labels):
        return "a label of a confusion matrix is no text"
    if not labels:
        return "a confusion matrix has no labels"
    rows = counts if isinstance(counts, tuple | list) else ()
    if len(rows) != len(labels) or not all(isinstance(row, tuple | list) and len(row) == len(labels) for row in rows):
        return f"a confusion matrix of {len(labels)} labels has no {len(labels)} rows of {len(labels)} counts"
    if not all(type(count) is int and 0 <= count < 2**63 for row in rows for count in row):
        return "a count of a confusion matrix is no whole number from 0 on"
    return _wrong_with_caption(confusion.caption, "a confusion matrix")


def _wrong_with_map(block: PictureMap) -> str:
    if not isinstance(block.points, tuple | list) or not block.points:
        return "a map has no points"
    wrong = next(filter(None, map(_wrong_with_point, block.points)), "")
    wrong = wrong or _wrong_with_caption(block.caption, "a map")
    return wrong or ("" if _says(block.standing_out) else "a map has no word for the points that stand out")


def _wrong_with_point(point: object) -> str:
    if not isinstance(point, Point):
        return f"a point of a map is {type(point).__name__}"
    wrongs = {
        "the place of a point on a map is not between 0 and 1": not (_is_place(point.x) and _is_place(point.y)),
        "the group of a point on a map is no text": not isinstance(point.group, str),
    }
    wrong = next((wrong for wrong, is_so in wrongs.items() if is_so), "")
    wrong = wrong or _wrong_with_flag(point.stands_out, "a point on a map stands out")
    return wrong or _wrong_with_picture(point.picture)


def _is_place(at: object) -> bool:
    return isinstance(at, int | float) and not isinstance(at, bool) and math.isfinite(at) and 0 <= at <= 1


_CHECKS: dict[type, Callable[[Any], str]] = {
    Paragraph: _wrong_with_paragraph,
    Table: _wrong_with_table,
    Figure: _wrong_with_figure,
    Gallery: _wrong_with_gallery,
    Confusion: _wrong_with_confusion,
    PictureMap: _wrong_with_map,
}
