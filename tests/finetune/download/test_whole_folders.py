"""A folder that is whole or not there, and what killed processes have left of others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from finetune.download import reading, whole_folder, writing_to
from finetune.errors import ConfigError, DataError, ResourceError


def test_a_folder_gets_its_name_at_the_end(names_in, tree, tmp_path):
    with whole_folder(tmp_path / "made") as unfinished:
        (unfinished / "a.txt").write_text("a")
        assert not (tmp_path / "made").exists()
    assert tree(tmp_path / "made") == {"a.txt": b"a"}
    assert names_in(tmp_path) == ["made"]


def test_a_folder_is_not_left_by_an_error(names_in, tmp_path):
    with pytest.raises(ValueError, match="half way"), whole_folder(tmp_path / "made"):
        raise ValueError("half way")
    assert names_in(tmp_path) == []


def left_by_another(folder: Path) -> Path:
    """Make a folder that was last changed long ago, as all that is in it."""
    (folder / "cats").mkdir(parents=True)
    (folder / "cats" / "tom.txt").write_text("a cat")
    for path in (folder / "cats" / "tom.txt", folder / "cats", folder):
        os.utime(path, (0, 0))
    return folder


def test_what_killed_processes_left_is_swept(names_in, tmp_path):
    left_by_another(tmp_path / ".made-killed")
    with whole_folder(tmp_path / "made"):
        pass
    assert names_in(tmp_path) == ["made"]


@pytest.mark.parametrize("touched", [".", "cats", "cats/tom.txt"])
def test_what_is_being_filled_is_not_swept_however_deep_that_happens(touched, names_in, tmp_path):
    busy = left_by_another(tmp_path / ".made-busy")
    os.utime(busy / touched)
    with whole_folder(tmp_path / "made"):
        pass
    assert names_in(tmp_path) == [".made-busy", "made"]
    assert names_in(busy / "cats") == ["tom.txt"]


def test_of_two_processes_the_first_is_kept(names_in, tree, tmp_path):
    with whole_folder(tmp_path / "made") as second:
        (second / "who").write_text("second")
        with whole_folder(tmp_path / "made") as first:
            (first / "who").write_text("first")
    assert tree(tmp_path / "made") == {"who": b"first"}
    assert names_in(tmp_path) == ["made"]


@pytest.mark.parametrize("kind", ["folder", "file", "dangling link"])
def test_what_has_to_be_made_anew_is_refused_where_another_process_was_first(kind, names_in, tmp_path):
    made = tmp_path / "made"
    text = rf"^{made} was made by another process meanwhile\. Choose another name\.$"
    with pytest.raises(ConfigError, match=text), writing_to(tmp_path), whole_folder(made, anew=True):
        {
            "folder": lambda: (made / "of_another").mkdir(parents=True),
            "file": lambda: made.write_text("of another"),
            "dangling link": lambda: made.symlink_to(tmp_path / "nowhere"),
        }[kind]()
    assert names_in(tmp_path) == ["made"]


def test_what_is_made_anew_is_on_the_disk_before_it_has_its_name_and_so_is_the_name(monkeypatch, tmp_path):
    made, synced = tmp_path / "made", set()
    monkeypatch.setattr(os, "fsync", lambda file: synced.add((os.fstat(file).st_ino, made.exists())))
    with whole_folder(made, anew=True) as unfinished:
        (unfinished / "cats").mkdir()
        (unfinished / "cats" / "tom.txt").write_text("a cat")
    before = {(path.stat().st_ino, False) for path in (made, made / "cats", made / "cats" / "tom.txt")}
    assert synced == before | {(tmp_path.stat().st_ino, True)}


def test_a_disk_that_refuses_is_named(tmp_path):
    reason = r"Cannot write to .*full: No space left on device\. Check space"
    with pytest.raises(ResourceError, match=reason), writing_to(tmp_path / "full"):
        raise OSError(28, "No space left on device")


def test_a_file_that_refuses_is_named(tmp_path):
    reason = r"Cannot read .*a\.bin: No such file or directory\. Check it and its permissions"
    with pytest.raises(DataError, match=reason), reading(tmp_path / "a.bin"):
        (tmp_path / "a.bin").read_bytes()
