"""The section of classes: pictures of each label, fewer where there are many, and from low to high of values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finetune.report.sections import classes as section
from finetune.report.sections.classes import FEW_LABELS, MOST_LABELS, WORST_LABELS, classes
from finetune.types import RunRecords

from .drawn_run import captions, drawn, galleries, paragraphs, pictures, records_of

HOSTILE = "<script>甲"


def of_many(folder: Path, count: int, each: int) -> RunRecords:
    """Return records of many labels, all of whose pictures are one file."""
    labels = [f"label {number}" for number in range(count)]
    (row,) = drawn(folder, ["label 0"], "train")
    rows = [{**row, "label": label} for label in labels for _ in range(each)]
    recalls = [
        {"label": label, "recall": None if number == 1 else number / count} for number, label in enumerate(labels)
    ]
    return records_of(rows, labels, np.zeros((0, count)), [], metrics={"valid": {"labels": recalls[::-1]}})


def test_each_label_has_a_sheet_with_its_pictures_in_each_part(tmp_path: Path) -> None:
    rows = [
        *drawn(tmp_path, ["a"] * 9 + [HOSTILE], "train"),
        *drawn(tmp_path, ["a", HOSTILE, HOSTILE], "valid"),
    ]
    blocks = list(classes(records_of(rows, ("a", HOSTILE), np.ones((3, 2)), [0, 1, 1])))

    assert captions(blocks) == ["a: 9 training, 1 validation pictures", f"{HOSTILE}: 1 training, 2 validation pictures"]
    assert [len(gallery.pictures) for gallery in galleries(blocks)] == [5, 1]
    assert len({picture.image for picture in galleries(blocks)[0].pictures}) == 5
    assert {picture.alt for picture in galleries(blocks)[1].pictures} == {f"A training picture of {HOSTILE}"}


def test_the_sheets_of_many_labels_are_small_and_stand_side_by_side(tmp_path: Path) -> None:
    few, many = (galleries(classes(of_many(tmp_path, FEW_LABELS + more, each=2))) for more in (0, 1))
    assert {sheet.compact for sheet in few} == {False}
    assert [(sheet.caption, len(sheet.pictures), sheet.compact) for sheet in many] == [
        (f"label {number}: 2 training", 2, True) for number in range(FEW_LABELS + 1)
    ]


def test_of_a_thousand_labels_the_worst_are_shown_and_it_says_so(tmp_path: Path) -> None:
    blocks = list(classes(of_many(tmp_path, 1000, each=1)))

    assert paragraphs(blocks)[0] == "Of 1,000 labels the 100 with the lowest recall are shown, the worst first."
    shown = [caption.split(":")[0] for caption in captions(blocks)]
    assert shown == ["label 0", *(f"label {number}" for number in range(2, WORST_LABELS + 1))]


@pytest.mark.parametrize("count", [2, MOST_LABELS])
def test_pictures_are_added_only_as_long_as_they_fit(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = of_many(tmp_path, count, each=6)
    one = len(next(iter(pictures(classes(records)))).image or b"")
    monkeypatch.setattr(section, "MOST_BYTES", 3 * count * one)
    assert len(pictures(classes(records))) == 3 * count


def test_a_label_without_training_pictures_is_named(tmp_path: Path) -> None:
    blocks = list(classes(records_of(drawn(tmp_path, ["a"], "train"), ("a", HOSTILE), np.zeros((0, 2)), [])))
    assert paragraphs(blocks) == [f"No training picture shows {HOSTILE}."]
    assert captions(blocks) == ["a: 1 training pictures"]


def test_a_picture_of_several_labels_is_one_of_each(tmp_path: Path) -> None:
    rows = drawn(tmp_path, ["a|b", "b", ""], "train")
    blocks = list(classes(records_of(rows, ("a", "b"), np.zeros((0, 2)), [], task="multi-label")))
    assert captions(blocks) == ["a: 1 training pictures", "b: 2 training pictures"]
    assert galleries(blocks)[0].pictures[0].image == galleries(blocks)[1].pictures[0].image


def test_values_are_shown_from_the_lowest_to_the_highest(tmp_path: Path) -> None:
    rows = drawn(tmp_path, [f"{value}.0 {-value}.0" for value in (3, 1, 2)], "train")
    blocks = list(classes(records_of(rows, ("age", "depth"), np.zeros((0, 2)), [], task="regression")))

    assert captions(blocks) == [
        f"{name}, from the lowest to the highest of 3 training pictures" for name in ("age", "depth")
    ]
    assert [picture.lines for picture in pictures(blocks)] == [
        *(("age: 1",), ("age: 2",), ("age: 3",)),
        *(("depth: -3",), ("depth: -2",), ("depth: -1",)),
    ]


def test_pictures_that_are_gone_are_said_to_be(tmp_path: Path) -> None:
    rows = drawn(tmp_path, ["a", "a"], "train")
    Path(rows[0]["path"]).unlink()
    note, sheet = classes(records_of(rows, ("a",), np.zeros((0, 1)), []))
    assert paragraphs([note])[0].startswith("1 of 2 pictures cannot be shown")
    assert [picture.image is None for picture in pictures([sheet])] == [True, False]
