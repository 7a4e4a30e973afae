"""The pictures of a run, small: upright, what they were, and said so where they are not."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from finetune.data.moved import by_content
from finetune.report.album import Album, spread
from finetune.report.thumbnails import Thumbnails
from finetune.types import HeatMap

from .sections.drawn_run import SEEN_PX, contract_of, draw, paragraphs, records_of

PREPROCESSING = contract_of(("a",)).preprocessing


def opened(content: bytes | None) -> Image.Image:
    assert content is not None
    picture = Image.open(io.BytesIO(content))
    assert (picture.format, picture.mode) == ("JPEG", "RGB")
    return picture


def row_of(path: Path) -> dict[str, str]:
    return {"part": "valid", "label": "a", "path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def thumbnails(*rows: dict[str, str], **more: dict[str, Path]) -> Thumbnails:
    return Thumbnails(rows, PREPROCESSING, **more)


# ── small ───────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=15, deadline=None)
@given(width=st.integers(1, 400), height=st.integers(1, 400), side_px=st.integers(1, 160))
def test_no_side_is_longer_than_asked_for_or_than_it_was(width: int, height: int, side_px: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.png")
        Image.new("RGB", (width, height), "teal").save(path)
        small = opened(thumbnails(row_of(path)).thumbnail(path, side_px))

    assert max(small.size) == min(side_px, max(width, height))


def test_a_thumbnail_is_upright_and_says_nothing_of_who_took_it(tmp_path: Path) -> None:
    photo = Image.new("RGB", (40, 20), "white")
    photo.paste("black", (0, 0, 20, 20))  # the left half; turned by 90 degrees, the upper
    exif = photo.getexif()
    exif[0x0112], exif[0x013B] = 6, "Somebody"
    photo.save(tmp_path / "a.jpg", exif=exif, comment=b"a secret")

    content = thumbnails(row_of(tmp_path / "a.jpg")).thumbnail(tmp_path / "a.jpg", 40)

    small = opened(content)
    assert small.size == (20, 40)
    assert np.asarray(small.convert("L"))[:18].mean() < 10 < 245 < np.asarray(small.convert("L"))[22:].mean()
    assert b"Somebody" not in (content or b"")
    assert b"secret" not in (content or b"")


def test_what_the_network_sees_is_the_square_in_the_middle(tmp_path: Path) -> None:
    photo = Image.new("RGB", (60, 20), "white")
    photo.paste("black", (20, 0, 40, 20))
    photo.save(tmp_path / "a.png")

    seen = opened(thumbnails(row_of(tmp_path / "a.png")).view(tmp_path / "a.png", 160))

    assert seen.size == (SEEN_PX, SEEN_PX)
    assert np.asarray(seen).mean() < 20


def test_a_heat_map_is_brightest_where_its_cells_are(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), (90, 90, 90)).save(tmp_path / "a.png")
    cells = ((0, 0, 0), (0, 0, 0), (0, 0, 255))  # below, on the right

    found = thumbnails(row_of(tmp_path / "a.png"))
    heat_map = HeatMap(picture=0, label=0, cells=cells)
    heated = np.asarray(opened(found.view(tmp_path / "a.png", 160, heat_map)).convert("L"), np.float32)

    middle = SEEN_PX // 2
    assert heated[middle:, middle:].mean() > 1.5 * heated[:middle, :middle].mean()
    assert found.view(tmp_path / "a.png", 160, heat_map) != found.view(tmp_path / "a.png", 160)


# ── what cannot be shown ────────────────────────────────────────────────────────────────────────────


def test_a_picture_that_is_gone_changed_or_damaged_is_not_shown_and_why_is_known(tmp_path: Path) -> None:
    rows = [{"part": "valid", "label": "a", **draw(tmp_path / f"{number}.png", number)} for number in range(4)]
    (tmp_path / "1.png").unlink()
    draw(tmp_path / "2.png", 99)
    (tmp_path / "3.png").write_bytes(b"no picture")
    rows[3]["sha256"] = hashlib.sha256(b"no picture").hexdigest()
    found = thumbnails(*rows)

    shown = [found.thumbnail(row["path"], 16) for row in rows]

    assert [small is not None for small in shown] == [True, False, False, False]
    assert [found.problem(row["path"]) for row in rows] == [None, "gone", "changed", "unreadable"]


def test_the_section_says_how_many_pictures_are_missing_and_what_helps(tmp_path: Path) -> None:
    rows = [{"part": "valid", "label": "a", **draw(tmp_path / f"{number}.png", number)} for number in range(3)]
    (tmp_path / "1.png").unlink()
    draw(tmp_path / "2.png", 99)
    album = Album(records_of(rows, ["a"], np.ones((3, 1)), [0, 0, 0]), 16)

    shown = [album.picture(row["path"], "a picture") for row in rows]

    assert [picture.image is None for picture in shown] == [False, True, True]
    assert paragraphs(album.note()) == [
        "2 of 3 pictures cannot be shown, and placeholders stand for them: 1 is not where it was, 1 has another "
        f"content than it had; first {rows[1]['path']}. If they were moved, name the folder where they are now: "
        "finetune report '/runs/a run' --data FOLDER"
    ]


def test_an_album_whose_pictures_are_all_there_has_nothing_to_say(tmp_path: Path) -> None:
    row = {"part": "valid", "label": "a", **draw(tmp_path / "0.png", 0)}
    album = Album(records_of([row], ["a"], [[1]], [0]), 16)
    album.picture(row["path"], "a picture")
    assert list(album.note()) == []


def test_moving_is_no_remedy_for_pictures_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    album = Album(records_of([row_of(tmp_path / "a.png")], ["a"], [[1]], [0]), 16)
    album.picture(tmp_path / "a.png", "a picture")
    assert paragraphs(album.note()) == [
        "1 of 1 pictures cannot be shown, and placeholders stand for them: 1 cannot be read; "
        f"first {tmp_path / 'a.png'}."
    ]


def test_moved_pictures_are_found_by_their_content_under_any_name(tmp_path: Path) -> None:
    row = {"part": "valid", "label": "a", **draw(tmp_path / "before" / "a.png", 1)}
    (tmp_path / "after").mkdir()
    draw(tmp_path / "after" / "a.png", 2)  # another picture of the same name
    (tmp_path / "before" / "a.png").rename(tmp_path / "after" / "z.png")

    found = thumbnails(row, moved=by_content(tmp_path / "after"))

    assert found.thumbnail(row["path"], 16) == thumbnails().thumbnail(tmp_path / "after" / "z.png", 16)
    assert found.problem(row["path"]) is None


@pytest.mark.skipif(sys.platform != "linux", reason="names of other systems are text")
def test_a_name_that_is_no_text_is_found_as_the_records_have_it(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff\xfe.png")
    row = {"part": "valid", "label": "a", **draw(path, 1)}
    assert row["path"].endswith("\\udcff\\udcfe.png")
    found = thumbnails(row)
    assert found.thumbnail(row["path"], 16) == found.thumbnail(path, 16) is not None


# ── chosen evenly ───────────────────────────────────────────────────────────────────────────────────


@given(count=st.integers(0, 500), most=st.integers(0, 60))
def test_what_is_chosen_of_many_is_spread_over_all_of_them(count: int, most: int) -> None:
    chosen = spread(count, most)
    assert len(chosen) == min(count, most)
    assert chosen == sorted(set(chosen))
    assert all(0 <= number < count for number in chosen)
    if count and most > 1:
        assert (chosen[0], chosen[-1]) == (0, count - 1)
