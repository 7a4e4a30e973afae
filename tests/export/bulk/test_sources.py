"""Files, folders, patterns and lists become pictures, in an order that depends on their names alone."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_export.bulk.sources import Entry, entries
from finetune_export.errors import UsageError


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Work in a folder that holds these files."""
    monkeypatch.chdir(tmp_path)

    def filled(*names: str) -> None:
        for name in random.sample(names, len(names)):  # so that it is not their age that sorts them
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()

    return filled


def paths(*sources: str) -> list[str]:
    found = list(entries(sources))
    assert [entry.problem for entry in found] == [""] * len(found)
    return [entry.path for entry in found]


def problem(source: str) -> str:
    (entry,) = entries([source])
    assert entry.path == source
    return entry.problem


def test_a_file_is_itself_be_it_there_or_not(inside: Callable[..., None]) -> None:
    inside("b.txt")
    assert paths("b.txt", "gone.jpg", "") == ["b.txt", "gone.jpg", ""]


def test_a_folder_is_all_pictures_below_it_by_name(inside: Callable[..., None]) -> None:
    inside("in/b.jpg", "in/a/z.PNG", "in/a/c/1.webp", "in/c.gif", "in/notes.txt", "in/d.jpeg.txt", "in/B.bmp")
    assert paths("in") == ["in/B.bmp", "in/a/c/1.webp", "in/a/z.PNG", "in/b.jpg", "in/c.gif"]
    assert paths("in/") == paths("in")
    assert paths("./in") == [f"./{path}" for path in paths("in")]


def test_hidden_files_and_folders_are_left_out(inside: Callable[..., None]) -> None:
    inside("in/._a.jpg", "in/.thumbs/b.jpg", "in/c.jpg")
    assert paths("in") == ["in/c.jpg"]
    assert paths("in/.thumbs") == ["in/.thumbs/b.jpg"]


def test_a_linked_file_is_a_picture_and_a_linked_folder_is_not_entered(inside: Callable[..., None]) -> None:
    inside("in/a.jpg", "other/b.jpg")
    Path("in/link.jpg").symlink_to("../other/b.jpg")
    Path("in/loop").symlink_to(".")
    Path("door").symlink_to("other")
    assert paths("in") == ["in/a.jpg", "in/link.jpg"]
    assert paths("door") == ["door/b.jpg"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("in/*.jpg", ["in/a.jpg"]),
        ("in/**/*.jpg", ["in/a.jpg", "in/ants/1.jpg", "in/ants/old/2.jpg", "in/bees/1.jpg"]),
        ("in/*/1.jpg", ["in/ants/1.jpg", "in/bees/1.jpg"]),
        ("in/**/old/*", ["in/ants/old/2.jpg"]),
        ("in/**/**/old/**", ["in/ants/old/2.jpg"]),
        ("in/[ab]*", ["in/a.jpg", "in/ants/1.jpg", "in/ants/3.png", "in/ants/old/2.jpg", "in/bees/1.jpg"]),
        ("in/a?ts", ["in/ants/1.jpg", "in/ants/3.png", "in/ants/old/2.jpg"]),
        ("i*/ants/*.png", ["in/ants/3.png"]),
        ("**/3.png", ["in/ants/3.png"]),
        ("in/ants/../*.jpg", ["in/ants/../a.jpg"]),
    ],
)
def test_a_pattern_is_all_pictures_it_means_and_those_in_folders_it_means(
    pattern: str, found: Sequence[str], inside: Callable[..., None]
) -> None:
    inside("in/a.jpg", "in/ants/1.jpg", "in/ants/old/2.jpg", "in/ants/3.png", "in/bees/1.jpg", "in/notes.txt")
    assert paths(pattern) == found


def test_a_file_whose_name_looks_like_a_pattern_is_itself(inside: Callable[..., None]) -> None:
    inside("a[1].jpg", "a1.jpg")
    assert paths("a[1].jpg") == ["a[1].jpg"]
    assert paths("a[12].jpg") == ["a1.jpg"]


def test_what_means_no_picture_is_an_entry_that_says_so(inside: Callable[..., None]) -> None:
    inside("empty/notes.txt")
    assert problem("empty").startswith("a folder without pictures; they end with .jpg, .jpeg, ")
    assert problem("empty/*.jpg") == "no picture matches this pattern"
    assert list(entries(["gone/*.jpg"])) == [Entry("gone", "the folder cannot be read (No such file or directory)")]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="everything can be read here")
def test_a_folder_that_cannot_be_read_is_an_entry_and_the_others_are_found(inside: Callable[..., None]) -> None:
    inside("in/a.jpg", "in/b/1.jpg", "in/c.jpg")
    Path("in/b").chmod(0)
    first, second, third = entries(["in"])
    Path("in/b").chmod(0o700)
    assert (first.path, third.path) == ("in/a.jpg", "in/c.jpg")
    assert second == Entry("in/b", "the folder cannot be read (Permission denied)")


def test_a_list_on_stdin_that_is_closed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)  # what Python does then
    with pytest.raises(UsageError, match=r"^- stands for a list of paths on stdin, which is closed; pipe one in, or "):
        list(entries(["-"]))


NAMES = st.sampled_from(["a", "b", "ab", "B", "a b", "é"])
FILES = st.lists(st.lists(NAMES, min_size=1, max_size=4).map(lambda parts: "/".join(parts) + ".jpg"), unique=True)


@given(files=FILES)
def test_a_folders_pictures_are_sorted_by_their_parts(
    files: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("in")
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    found = [Path(entry.path) for entry in entries([str(root)]) if not entry.problem]
    assert found == sorted(root / name for name in files)
    assert found == [Path(entry.path) for entry in entries([f"{root}/**/*.jpg"]) if not entry.problem]
