"""What a section may not return: each fault is named, and nothing of it reaches a page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from finetune.report.blocks import wrong_with
from finetune.types import Confusion, Figure, Gallery, Paragraph, Picture, PictureMap, Table

from .blocks import ALL, jpeg, picture, point
from .conftest import png

GIF = b"GIF89a"
A, B = picture(), point(0.5, 0.5)
NO_PNG = "a figure is no PNG of 20 MB at most"
NO_PICTURE = "a picture is no JPEG or PNG of 1 MB at most"
NO_PLACE = "the place of a point on a map is not between 0 and 1"
NO_COUNT = "a count of a confusion matrix is no whole number from 0 on"
NOT_SQUARE = "a confusion matrix of 2 labels has no 2 rows of 2 counts"


def made(kind: Any, *values: Any) -> Any:
    return kind(*values)


WRONG: list[tuple[Any, str]] = [
    (made(Paragraph, 3), "the text of a paragraph is int"),
    (made(Table, ("a",), ((1,),)), "a cell of a table is no text"),
    (made(Table, ("a",), None), "a cell of a table is no text"),
    (made(Table, ("a",), (("1", "2"),)), "a row of a table has other columns than the 1 of its header"),
    (made(Table, (), ()), "a table has no columns"),
    (made(Table, ("a",), (), 3), "the caption of a table is no text"),
    (made(Figure, GIF, "x"), NO_PNG),
    (made(Figure, jpeg(), "x"), NO_PNG),
    (made(Figure, png(8), " "), "a figure has no text for who cannot see it"),
    (made(Figure, png(8), "x", GIF), "a figure for dark pages is no PNG of 20 MB at most"),
    (made(Gallery, ()), "a gallery has no pictures"),
    (made(Gallery, ("x",)), "a picture is str"),
    (made(Gallery, (A,), "", "yes"), "whether a gallery is compact is neither True nor False"),
    (made(Paragraph, "Again:", 3), "the command of a paragraph is int"),
    (made(Table, ("a",), (), "", 1), "whether a table is sortable is neither True nor False"),
    (made(PictureMap, (B,), "", " "), "a map has no word for the points that stand out"),
    (made(Gallery, (A,), None), "the caption of a gallery is no text"),
    (made(Gallery, (replace(A, image=GIF),)), NO_PICTURE),
    (made(Gallery, (replace(A, image=jpeg() + bytes(1_000_000)),)), NO_PICTURE),
    (made(Gallery, (replace(A, overlay=GIF),)), NO_PICTURE),
    (made(Gallery, (replace(A, overlay=b""),)), NO_PICTURE),
    (
        made(Gallery, (Picture(image=None, overlay=jpeg(), alt="x"),)),
        "a picture that is not there has something drawn over it",
    ),
    (made(Gallery, (replace(A, alt=""),)), "a picture has no text for who cannot see it"),
    (made(Gallery, (replace(A, lines="ab"),)), "a line below a picture is no text"),
    (made(Confusion, (), ()), "a confusion matrix has no labels"),
    (made(Confusion, ("a", 1), ((1, 2), (3, 4))), "a label of a confusion matrix is no text"),
    (made(Confusion, ("a", "b"), ((1, 2),)), NOT_SQUARE),
    (made(Confusion, ("a", "b"), ((1, 2), (3,))), NOT_SQUARE),
    (made(Confusion, ("a", "b"), np.zeros((2, 2), int)), NOT_SQUARE),
    (made(Confusion, ("a", "b"), ((1, 2), (3, -1))), NO_COUNT),
    (made(Confusion, ("a", "b"), ((1, 2), (3, 0.5))), NO_COUNT),
    (made(Confusion, ("a", "b"), ((1, 2), (3, True))), NO_COUNT),
    (made(Confusion, ("a",), ((1,),), 3), "the caption of a confusion matrix is no text"),
    (made(PictureMap, ()), "a map has no points"),
    (made(PictureMap, (A,)), "a point of a map is Picture"),
    (made(PictureMap, (B,), 3), "the caption of a map is no text"),
    (made(PictureMap, (replace(B, x=float("nan")),)), NO_PLACE),
    (made(PictureMap, (replace(B, y=1.01),)), NO_PLACE),
    (made(PictureMap, (replace(B, y="1"),)), NO_PLACE),
    (made(PictureMap, (replace(B, group=1),)), "the group of a point on a map is no text"),
    (made(PictureMap, (replace(B, stands_out=1),)), "whether a point on a map stands out is neither True nor False"),
    (made(PictureMap, (replace(B, picture=None),)), "a picture is NoneType"),
    (
        "<b>",
        "it returned str among its blocks; those are Paragraph, Table, Figure, Gallery, Confusion and PictureMap",
    ),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_a_block_that_is_not_what_its_type_promises_is_named(number: int) -> None:
    block, fault = WRONG[number]

    assert wrong_with(block) == fault


@pytest.mark.parametrize("block", ALL, ids=lambda block: type(block).__name__)
def test_a_block_that_is_what_its_type_promises_is_taken(block: Any) -> None:
    assert wrong_with(block) == ""
