"""Pictures that moved: found by their content, whatever they are called now."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from finetune.data.moved import by_content
from finetune.errors import DataError


def test_pictures_at_any_depth_are_found_by_their_content_and_nothing_else_is(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    contents = {
        tmp_path / "a.PNG": b"one",
        tmp_path / "deep" / "er" / "b.jpg": b"two",
        tmp_path / "notes.txt": b"three",
    }
    for path, content in contents.items():
        path.write_bytes(content)

    found = by_content(tmp_path)

    assert found == {
        hashlib.sha256(content).hexdigest(): path for path, content in contents.items() if path.name != "notes.txt"
    }


def test_of_equal_pictures_the_first_by_name_is_found(tmp_path: Path) -> None:
    for name in ("c.jpg", "a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"the same")
    assert list(by_content(tmp_path).values()) == [tmp_path / "a.jpg"]


def test_a_file_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"one")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "nowhere.jpg").symlink_to(tmp_path / "gone.jpg")
    assert list(by_content(tmp_path).values()) == [tmp_path / "a.jpg"]


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"one")
    with pytest.raises(
        DataError, match=r"^--data .*a\.jpg is not a folder\. Give the folder where the pictures are now"
    ):
        by_content(tmp_path / "a.jpg")
