"""Pictures at a glance: all captions are whole, and the sheet is bounded."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from finetune.evaluation.contact_sheet import MOST_GROUPS, PALE, THUMBNAIL_PX, WIDTH_PX, Section, Shown, contact_sheet
from finetune.evaluation.fonts import Lettering


def sheet(*sections: Section) -> Image.Image:
    return Image.open(io.BytesIO(contact_sheet(sections))).convert("RGB")


def section(path: Path, caption: str = "x", groups: int = 1, together: int = 1) -> Section:
    return Section(title="found", groups=[[Shown(path=path, caption=caption)] * together] * groups)


def share_of(picture: Image.Image, colour: tuple[int, int, int]) -> float:
    return float((np.abs(np.asarray(picture).astype(int) - colour).max(axis=2) < 40).mean())


def red(tmp_path: Path, size: tuple[int, int] = (300, 300)) -> Path:
    Image.new("RGB", size, (255, 0, 0)).save(tmp_path / "red.png")
    return tmp_path / "red.png"


def test_those_that_belong_together_are_side_by_side(tmp_path: Path) -> None:
    one, two = (sheet(section(red(tmp_path), together=count)) for count in (1, 2))

    assert one.size == two.size
    assert round(share_of(two, (255, 0, 0)) / share_of(one, (255, 0, 0))) == 2


def test_a_picture_that_cannot_be_read_has_a_place(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")

    assert share_of(sheet(section(broken)), PALE) > 0
    assert sheet(section(broken)).size == sheet(section(red(tmp_path))).size


def test_pictures_of_any_shape_fit(tmp_path: Path) -> None:
    for size in ((3000, 1), (1, 3000), (5, 5)):
        assert sheet(section(red(tmp_path, size))).width == WIDTH_PX


def test_a_long_caption_makes_the_sheet_higher(tmp_path: Path) -> None:
    assert sheet(section(red(tmp_path), "name" * 100)).height > sheet(section(red(tmp_path), "name")).height + 100


def test_however_much_there_is_the_sheet_is_bounded(tmp_path: Path) -> None:
    path = red(tmp_path)
    full, more = (sheet(section(path, groups=count)) for count in (MOST_GROUPS, MOST_GROUPS + 500))
    wide = sheet(section(path, together=500))

    assert more.size == full.size
    assert wide.width == WIDTH_PX
    assert wide.height < 2 * THUMBNAIL_PX


def test_a_caption_is_wrapped_and_nothing_of_it_is_lost() -> None:
    lettering = Lettering(12)
    for text in ("pictures/cat/" + "a_long_name" * 20 + ".jpg", "кошка" * 30, "W" * 100, "x"):
        lines = lettering.wrapped(text, 160)
        assert "".join(lines) == text
        assert max(map(lettering.width, lines)) <= 160


def test_what_no_font_has_or_nobody_could_see_is_escaped() -> None:
    written = "".join(Lettering(12).wrapped("a\u0007b\n\U0010fffd\u202ec\ud800", 1000))

    assert written == r"a\x07b\n\U0010fffd\u202ec\ud800"


def test_text_of_any_script_can_be_drawn(picture: Callable[..., Image.Image], tmp_path: Path) -> None:
    picture().save(tmp_path / "x.png")

    assert sheet(section(tmp_path / "x.png", "猫 кошка قطة แมว 🐈 \u0301")).width == WIDTH_PX
