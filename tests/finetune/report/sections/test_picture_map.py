"""The section with the map: every point a picture, in its group, and those that are wrong stand out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finetune.report.sections.picture_map import MOST_POINTS, SIDES_PX, picture_map
from finetune.run_folder import sha256_of
from finetune.types import PictureMap, Place, RunRecords

from .drawn_run import drawn, paragraphs, records_of

LABELS = ("a", "<b>甲")


def places(count: int) -> tuple[Place, ...]:
    return tuple(Place(picture=number, x=number / max(1, count - 1), y=0.5) for number in range(count))


def mapped(records: RunRecords) -> PictureMap:
    (found,) = [block for block in picture_map(records) if isinstance(block, PictureMap)]
    return found


def of_many(folder: Path, right: int, wrong: int) -> RunRecords:
    """Return records of many validation pictures, all of which are one file."""
    (row,) = drawn(folder, ["a"], "valid")
    answers = [[0.9, 0.1]] * right + [[0.2, 0.8]] * wrong
    return records_of([row] * len(answers), LABELS, answers, [0] * len(answers), places=places(len(answers)))


def test_each_point_is_where_it_belongs_and_says_what_it_is(tmp_path: Path) -> None:
    rows = drawn(tmp_path, ["a", LABELS[1]], "valid")
    records = records_of(rows, LABELS, [[0.3, 0.7], [0.1, 0.9]], [0, 1], places=places(2))

    right, wrong = mapped(records).points  # what stands out comes last, and lies on top

    assert (right.x, right.y, right.group, right.stands_out) == (1.0, 0.5, LABELS[1], False)
    assert (wrong.x, wrong.y, wrong.group, wrong.stands_out) == (0.0, 0.5, "a", True)
    assert wrong.picture.lines == ("shows a", f"answered {LABELS[1]}, 70.0%", "valid/0.png")
    assert wrong.picture.image
    assert wrong.picture.alt


def test_the_caption_says_what_the_projection_is_and_is_not(tmp_path: Path) -> None:
    caption = mapped(of_many(tmp_path, right=2, wrong=0)).caption
    assert caption.startswith("2 validation pictures.")
    assert "t-SNE, van der Maaten and Hinton 2008" in caption
    assert "means little" in caption


def test_without_places_there_is_no_map(tmp_path: Path) -> None:
    rows = drawn(tmp_path, ["a"], "valid")
    assert list(picture_map(records_of(rows, LABELS, [[1, 0]], [0]))) == []


def test_of_many_pictures_as_many_are_shown_as_a_page_bears_the_wrong_ones_first(tmp_path: Path) -> None:
    found = mapped(of_many(tmp_path, right=5 * MOST_POINTS, wrong=7))
    assert len(found.points) == MOST_POINTS
    assert sum(point.stands_out for point in found.points) == 7
    assert found.caption.startswith(f"{MOST_POINTS:,} of {5 * MOST_POINTS + 7:,} validation pictures.")


def test_where_nearly_all_are_wrong_those_that_are_right_are_shown_as_well(tmp_path: Path) -> None:
    found = mapped(of_many(tmp_path, right=9, wrong=2 * MOST_POINTS))
    assert len(found.points) == MOST_POINTS
    assert sum(not point.stands_out for point in found.points) == 9


def test_pictures_that_are_gone_are_said_to_be_and_keep_their_points(tmp_path: Path) -> None:
    records = of_many(tmp_path, right=3, wrong=0)
    records.paths[0].unlink()
    note, found = picture_map(records)
    assert paragraphs([note])[0].startswith("1 of 1 pictures cannot be shown")
    assert isinstance(found, PictureMap)
    assert [point.picture.image for point in found.points] == [None] * 3


@pytest.mark.parametrize("count", SIDES_PX)
def test_even_pictures_of_noise_are_small_enough_for_all_points(tmp_path: Path, count: int) -> None:
    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)).save(path)
    row = {"part": "valid", "label": "a", "path": str(path), "sha256": sha256_of(path)}
    records = records_of([row] * count, LABELS, [[1, 0]] * count, [0] * count, places=places(count))

    assert sum(len(point.picture.image or b"") for point in mapped(records).points) < 1_000_000


# ── other tasks ─────────────────────────────────────────────────────────────────────────────────────


def several(folder: Path, **others: Any) -> RunRecords:
    rows = drawn(folder, ["a", f"a|{LABELS[1]}", ""], "valid")
    answers, targets = [[0.9, 0.1], [0.9, 0.2], [0.1, 0.1]], [[1, 0], [1, 1], [0, 0]]
    return records_of(rows, LABELS, answers, targets, task="multi-label", places=places(3), **others)


def test_pictures_of_several_labels_are_a_group_and_those_of_none_another(tmp_path: Path) -> None:
    points = {point.x: point for point in mapped(several(tmp_path)).points}
    assert [points[x].group for x in (0.0, 0.5, 1.0)] == ["a", "several labels", "no label"]
    assert [points[x].stands_out for x in (0.0, 0.5, 1.0)] == [False, True, False]
    assert points[0.5].picture.lines[:2] == (f"shows a, {LABELS[1]}", "answered a, 90.0%")
    assert points[1.0].picture.lines[:2] == ("shows no label", "answered no label")


def test_a_label_that_reaches_its_own_threshold_is_right(tmp_path: Path) -> None:
    assert not any(point.stands_out for point in mapped(several(tmp_path, thresholds={LABELS[1]: 0.15})).points)


def test_values_are_grouped_into_bands_and_the_furthest_off_stand_out(tmp_path: Path) -> None:
    values = np.arange(20, dtype=np.float32)
    (row,) = drawn(tmp_path, ["0"], "valid")
    rows = [{**row, "label": str(float(value))} for value in values]
    answers = values.copy()
    answers[3] += 9
    records = records_of(rows, ("age",), answers, values.reshape(-1, 1), task="regression", places=places(20))

    points = sorted(mapped(records).points, key=lambda point: point.x)

    assert len({point.group for point in points}) == 4
    assert points[0].group == "age 0 to 4.75"
    assert points[-1].group == "age 14.25 to 19"
    assert [number for number, point in enumerate(points) if point.stands_out] == [3]
    assert points[3].picture.lines[0] == "age: 3, predicted 12"


def test_values_that_are_all_the_same_are_one_band(tmp_path: Path) -> None:
    rows = drawn(tmp_path, ["2.0", "2.0"], "valid")
    records = records_of(rows, ("age",), [[2], [2]], [[2], [2]], task="regression", places=places(2))
    assert [(point.group, point.stands_out) for point in mapped(records).points] == [("age 2 to 2", False)] * 2
