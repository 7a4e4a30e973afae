"""The pictures of a table: where they may lie, those that are missing, and those that are named twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.types import Dataset

OUTSIDE = (
    "leads out of the table's folder. A stranger's table could name any file: put the pictures below the table's "
    "folder, and name them from there."
)


@pytest.fixture
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a picture that lies elsewhere."""
    path = tmp_path_factory.mktemp("elsewhere") / "private.jpg"
    path.write_bytes(b"private")
    return path


# ── where they lie ──────────────────────────────────────────────────────────────────────────────────


def test_paths_are_relative_to_the_tables_folder(
    table: Callable[..., Path], loaded: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "e.jpg").touch()
    table("image,label\ndeep/e.jpg,cat\n./deep/../a.jpg,dog\n")
    monkeypatch.chdir(tmp_path)

    paths = [example.path for example in loaded(Path("photos.csv")).examples]

    assert paths == [tmp_path.resolve() / "deep" / "e.jpg", tmp_path.resolve() / "a.jpg"]


def test_absolute_paths_below_the_tables_folder_are_taken_also_through_a_link(
    table: Callable[..., Path], loaded: Callable[..., Dataset], tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    table(f"image,label\n{tmp_path}/a.jpg,cat\n{link}/b.jpg,dog\n")

    assert len(loaded(link / "photos.csv").examples) == 2


def test_the_data_set_is_called_like_its_table_and_does_not_tell_where_that_lies(
    table: Callable[..., Path], loaded: Callable[..., Dataset]
) -> None:
    dataset = loaded(table("image,label\na.jpg,cat\nb.jpg,dog\n", "my pets.csv"))

    assert (dataset.name, dataset.source, dataset.licence) == ("my pets", "a local table", "unknown")


@pytest.mark.parametrize("way", ["{absolute}", "../{folder}/private.jpg", "deep/../../{folder}/private.jpg"])
def test_a_path_that_leads_out_of_the_folder_is_refused(
    table: Callable[..., Path], refusal: Callable[..., str], tmp_path: Path, stranger: Path, way: str
) -> None:
    cell = way.format(absolute=stranger, folder=f"../{stranger.parent.name}")
    path = table(f"image,label\na.jpg,dog\n{cell},cat\n../{tmp_path.name}2/x.jpg,dog\n/etc/passwd,cat\n")

    assert refusal(path) == (
        f"photos.csv, line 3: {cell} {OUTSIDE} More of it: 2 outside the table's folder (lines 4, 5)."
    )


def test_skipping_what_is_missing_does_not_skip_what_lies_outside(
    table: Callable[..., Path], refusal: Callable[..., str]
) -> None:
    path = table("image,label\na.jpg,dog\nb.jpg,cat\n../no.jpg,cat\n")

    assert refusal(path, skip_missing=True) == f"photos.csv, line 4: ../no.jpg {OUTSIDE}"


# ── the split of an earlier run ─────────────────────────────────────────────────────────────────────


def split_of_a_run(table: Callable[..., Path], stranger: Path, content: bytes) -> Path:
    other = stranger.with_name("other.jpg")
    other.write_bytes(b"other")
    rows = [("train", "cat", stranger, content), ("train", "dog", other, b"other")]
    lines = [f"{part},{label},{path},{hashlib.sha256(known).hexdigest()}" for part, label, path, known in rows]
    return table("\n".join(["part,label,path,sha256", *lines]), "split.csv")


def test_pictures_elsewhere_are_taken_with_the_hash_of_their_content(
    table: Callable[..., Path], loaded: Callable[..., Dataset], stranger: Path
) -> None:
    dataset = loaded(split_of_a_run(table, stranger, b"private"))

    assert [(e.path, e.part, e.label) for e in dataset.examples] == [
        (stranger, "train", "cat"),
        (stranger.with_name("other.jpg"), "train", "dog"),
    ]
    assert dataset.notes == ("The column 'part' says which part a picture belongs to.",)


def test_pictures_elsewhere_with_another_content_are_refused(
    table: Callable[..., Path], refusal: Callable[..., str], stranger: Path
) -> None:
    assert refusal(split_of_a_run(table, stranger, b"guessed")) == (
        f"split.csv, line 2: {stranger} leads out of the table's folder, and its sha256 is not the table's. "
        "Restore it, or make the table anew."
    )


# ── missing ─────────────────────────────────────────────────────────────────────────────────────────

HOLES = "image,label\na.jpg,cat\nno.jpg,dog\nb.jpg,dog\n" + "".join(f"no{i}.jpg,dog\n" for i in range(40))


def test_missing_pictures_are_named_and_counted(table: Callable[..., Path], refusal: Callable[..., str]) -> None:
    assert refusal(table(HOLES)) == (
        "photos.csv, line 3: the picture no.jpg is not there. Correct the path, or leave such rows out with "
        "--skip-missing. More of it: 40 with a missing picture (lines 5, 6, 7, …)."
    )


def test_missing_pictures_are_left_out_where_that_is_said(
    table: Callable[..., Path], loaded: Callable[..., Dataset]
) -> None:
    dataset = loaded(table(HOLES), skip_missing=True)

    assert len(dataset.examples) == 2
    assert dataset.notes == ("Left out 41 row(s), first line 3: the picture no.jpg is not there.",)


def test_a_table_without_any_picture_is_refused_even_so(
    table: Callable[..., Path], refusal: Callable[..., str]
) -> None:
    assert refusal(table("image,label\nx.jpg,cat\ny.jpg,dog\n"), skip_missing=True) == (
        "None of the 2 pictures of photos.csv is there; line 2: the picture x.jpg is not there. "
        "Paths are relative to the table's folder."
    )


@pytest.mark.parametrize("cell", ["", "  "])
def test_a_row_without_a_path_is_refused(table: Callable[..., Path], refusal: Callable[..., str], cell: str) -> None:
    assert refusal(table(f"image,label\na.jpg,cat\n{cell},dog\n"), skip_missing=True) == (
        "photos.csv, line 3: it names no picture. Fill it in, or remove the row."
    )


@pytest.mark.parametrize("cell", ["n" * 300 + ".jpg", '"a\n.jpg"', "https://example.org/a.jpg"])
def test_what_is_no_file_is_missing(table: Callable[..., Path], refusal: Callable[..., str], cell: str) -> None:
    told = refusal(table(f"image,label\na.jpg,cat\n{cell},dog\n"))

    assert told.startswith("photos.csv, line 3: the p")
    assert "--skip-missing" in told


def test_all_kinds_of_problems_are_counted_together(table: Callable[..., Path], refusal: Callable[..., str]) -> None:
    path = table("image,label\na.jpg,cat\nno.jpg,dog\nb.jpg,\nc.jpg\n/d.jpg,cat\nd.jpg,\n")

    assert refusal(path) == (
        "photos.csv, line 3: the picture no.jpg is not there. Correct the path, or leave such rows out with "
        "--skip-missing. More of it: 2 without a label or value (lines 4, 7), 1 of another length (line 5), "
        "1 outside the table's folder (line 6)."
    )


# ── twice ───────────────────────────────────────────────────────────────────────────────────────────


def test_rows_that_say_the_same_count_once(table: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    dataset = loaded(table("image,label\na.jpg,cat\nb.jpg,dog\n./a.jpg,cat\na.jpg, cat\n"))

    assert [example.path.name for example in dataset.examples] == ["a.jpg", "b.jpg"]
    assert dataset.notes == ("2 row(s) say again what another says, and count once; first line 4.",)


def test_rows_that_say_different_things_of_a_picture_are_kept_and_listed(
    table: Callable[..., Path], loaded: Callable[..., Dataset], tmp_path: Path
) -> None:
    dataset = loaded(table("image,label\na.jpg,cat\nb.jpg,dog\na.jpg,dog\nb.jpg,cat\n"))

    assert [example.label for example in dataset.examples] == ["cat", "dog", "dog", "cat"]
    assert dataset.notes == (
        f"2 row(s) say something else of a picture than another row: {tmp_path / 'a.jpg'} in lines 2 and 4; "
        f"{tmp_path / 'b.jpg'} in lines 3 and 5.",
    )


def test_the_list_of_such_rows_ends(table: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    rows = "".join(f"a.jpg,{label}\n" for label in "mnopqrstu")

    (note,) = loaded(table(f"image,label\n{rows}")).notes

    assert note.startswith("8 row(s) say something else")
    assert note.endswith("in lines 2 and 7; ….")
