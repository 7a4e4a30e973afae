"""Copies of sets: saved to disk or as Parquet, their splits, their pictures, and what is wrong with them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import DataError
from finetune.types import Dataset

Rows = Callable[..., list[dict[str, Any]]]


def parts(dataset: Dataset) -> dict[str | None, int]:
    return dict(Counter(example.part for example in dataset.examples))


# ── forms ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_saved_set_without_splits_is_left_to_be_split(
    saved: Callable[..., Path], loaded: Callable[..., Dataset], pets: Rows
) -> None:
    dataset = loaded(saved({None: pets(8)}))

    assert (dataset.task, dataset.labels, dataset.notes) == ("single-label", ("cat", "dog"), ())
    assert [example.label for example in dataset.examples] == ["cat", "dog"] * 4
    assert parts(dataset) == {None: 8}


def test_the_splits_of_a_saved_set_are_parts(
    saved: Callable[..., Path], loaded: Callable[..., Dataset], pets: Rows
) -> None:
    dataset = loaded(saved({"train": pets(6), "validation": pets(4, 10), "test": pets(2, 20)}))

    assert parts(dataset) == {"train": 6, "valid": 4, "test": 2}


@pytest.mark.parametrize(
    "names",
    [
        ("data/train-00000-of-00001-0a1b2c.parquet", "data/test-00000-of-00001-3d4e5f.parquet"),
        ("default/train/0000.parquet", "default/test/0000.parquet"),
        ("train.parquet", "test.parquet"),
        ("plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"),
    ],
)
def test_parquet_files_say_their_split_in_their_name_or_folder(
    parquet: Callable[..., Path], loaded: Callable[..., Dataset], pets: Rows, names: tuple[str, str]
) -> None:
    assert parts(loaded(parquet({names[0]: pets(4), names[1]: pets(2, 10)}))) == {"train": 4, "test": 2}


def test_the_files_of_one_split_belong_together_and_one_split_alone_is_left_to_be_split(
    parquet: Callable[..., Path], loaded: Callable[..., Dataset], pets: Rows
) -> None:
    root = parquet({"data/train-00000-of-00002.parquet": pets(4), "data/train-00001-of-00002.parquet": pets(4, 10)})

    assert parts(loaded(root)) == {None: 8}


def test_a_single_parquet_file_will_do(
    parquet: Callable[..., Path], loaded: Callable[..., Dataset], pets: Rows
) -> None:
    dataset = loaded(parquet({"cats and dogs.parquet": pets(4)}) / "cats and dogs.parquet")

    assert (dataset.name, len(dataset.examples)) == ("cats and dogs", 4)


def test_other_splits_are_left_alone_and_train_alone_is_left_to_be_split(
    saved: Callable[..., Path], loaded: Callable[..., Dataset], pets: Rows
) -> None:
    dataset = loaded(saved({"train": pets(4), "unsupervised": pets(4, 10)}))

    assert parts(dataset) == {None: 4}
    assert dataset.notes == ("The split(s) unsupervised are left alone: a run reads train, validation and test.",)


def test_several_splits_without_train_are_refused(
    saved: Callable[..., Path], refusal: Callable[..., str], pets: Rows
) -> None:
    assert refusal(saved({"validation": pets(4), "odd": pets(4, 10)})) == (
        "The set's splits are validation, odd, and none of them is called train. Save it with one that is."
    )


def test_several_configurations_are_refused_and_one_of_them_is_not(
    parquet: Callable[..., Path], loaded: Callable[..., Dataset], refusal: Callable[..., str], pets: Rows
) -> None:
    root = parquet({"small/train-0.parquet": pets(4), "large/train-0.parquet": pets(6)})

    assert refusal(root) == (
        "pets holds several configurations, large, small, and not 'default'. Choose one with --data pets/CONFIGURATION."
    )
    assert len(loaded(root / "large").examples) == 6


# ── what a model says of its data ───────────────────────────────────────────────────────────────────


def test_the_licence_is_the_one_that_the_set_states(
    saved: Callable[..., Path], parquet: Callable[..., Path], loaded: Callable[..., Dataset], pets: Rows
) -> None:
    assert loaded(saved({None: pets()}, licence="mit")).licence == "mit"
    root = parquet({"train.parquet": pets()})
    assert loaded(root).licence == "unknown"
    (root / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Pets\n")
    assert loaded(root).licence == "cc-by-4.0"
    (root / "README.md").write_text("---\nlicense: [cc-by-4.0, mit]\n---\n# Pets\n")
    assert loaded(root).licence == "cc-by-4.0, mit"
    (root / "README.md").write_text("---\nlicense: [\n---\n# Pets\n")
    assert loaded(root).licence == "unknown"


def test_a_copy_is_called_like_its_folder_and_does_not_tell_where_that_lies(
    saved: Callable[..., Path], loaded: Callable[..., Dataset], pets: Rows
) -> None:
    dataset = loaded(saved({None: pets()}))

    assert (dataset.name, dataset.source) == ("saved", "Hugging Face: a local copy")


# ── pictures ────────────────────────────────────────────────────────────────────────────────────────


def test_pictures_are_kept_byte_for_byte_under_the_hash_of_their_content(
    saved: Callable[..., Path], loaded: Callable[..., Dataset], pets: Rows
) -> None:
    rows = pets(4)

    paths = [example.path for example in loaded(saved({None: rows})).examples]

    assert [path.read_bytes() for path in paths] == [row["image"]["bytes"] for row in rows]
    assert all(path.name == f"{hashlib.sha256(path.read_bytes()).hexdigest()}.jpg" for path in paths)


def test_what_is_there_is_not_written_again_and_what_is_cut_off_is(
    saved: Callable[..., Path], loaded: Callable[..., Dataset], pets: Rows
) -> None:
    root = saved({None: pets(4)})
    first, second, *_ = [example.path for example in loaded(root).examples]
    whole, kept = second.read_bytes(), first.stat().st_mtime_ns
    second.write_bytes(whole[:20])

    loaded(root)

    assert (first.stat().st_mtime_ns, second.read_bytes()) == (kept, whole)
    assert not list(first.parent.parent.rglob("*.part"))


def test_what_is_no_picture_is_kept_for_the_audit_to_refuse(
    saved: Callable[..., Path], loaded: Callable[..., Dataset], pets: Rows
) -> None:
    rows = pets(4)
    rows[1]["image"]["bytes"] = b"no picture"

    assert loaded(saved({None: rows})).examples[1].path.suffix == ".bin"


@pytest.mark.parametrize("cell", [{"bytes": None, "path": "/etc/passwd"}, {"bytes": b"", "path": None}, None])
def test_a_picture_that_the_set_does_not_hold_is_refused_and_its_path_not_followed(
    saved: Callable[..., Path], refusal: Callable[..., str], pets: Rows, cell: Any
) -> None:
    rows = pets(4)
    rows[2]["image"] = cell

    assert refusal(saved({None: rows})) == (
        "saved/data-00000-of-00001.arrow, row 3 names a picture and does not hold it; save the set again with its "
        "pictures embedded. Correct the set, or choose other columns."
    )


def test_a_disk_that_cannot_be_written_to_is_named(
    saved: Callable[..., Path], refusal: Callable[..., str], pets: Rows, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file in the way")

    assert refusal(saved({None: pets()}), status=6).startswith("Cannot write to cache/pictures: ")


# ── damage ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_without_a_set_is_refused(tmp_path: Path, refusal: Callable[..., str]) -> None:
    (tmp_path / "empty").mkdir()

    assert refusal(tmp_path / "no") == (
        "no does not exist. Give --data what Dataset.save_to_disk wrote, or Parquet files."
    )
    assert refusal(tmp_path / "empty") == (
        "empty holds no data set: neither what Dataset.save_to_disk wrote nor Parquet files."
    )


@pytest.mark.parametrize("split", ["..", ".", "", "train/.."])
def test_a_split_that_would_lead_out_of_the_folder_is_refused(
    saved: Callable[..., Path], loaded: Callable[..., Dataset], pets: Rows, split: str
) -> None:
    copy = saved({"train": pets(4)})
    (copy / "dataset_dict.json").write_text(json.dumps({"splits": [split]}))

    with pytest.raises(DataError, match=r"which is none\. Copy the whole folder again"):
        loaded(copy)


@pytest.mark.parametrize("name", ["dataset_dict.json", "train/state.json", "train/dataset_info.json"])
@pytest.mark.parametrize("content", ["", "[]", '{"splits": 7, "_data_files": 7, "license": 7}'])
def test_damaged_descriptions_are_refused(
    saved: Callable[..., Path], refusal: Callable[..., str], pets: Rows, name: str, content: str
) -> None:
    root = saved({"train": pets(), "test": pets(2, 10)})
    (root / name).write_text(content)
    told = refusal(root)

    assert told.startswith(f"saved/{name} ")
    assert told.endswith("Save the set to disk again.")


def test_files_are_looked_for_in_their_folder_only(
    saved: Callable[..., Path], refusal: Callable[..., str], pets: Rows
) -> None:
    root = saved({None: pets()})
    (root / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../../outside.arrow"}], "_split": None}))

    assert refusal(root) == (
        "saved/outside.arrow is missing, which state.json beside it names. Copy the whole folder again."
    )


@pytest.mark.parametrize("size", [0, 10, 300])
@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_damaged_files_are_refused(
    saved: Callable[..., Path],
    parquet: Callable[..., Path],
    refusal: Callable[..., str],
    pets: Rows,
    size: int,
    form: str,
) -> None:
    root = saved({None: pets()}) if form == "arrow" else parquet({"train.parquet": pets()})
    (file,) = root.glob(f"*.{form}")
    file.write_bytes(file.read_bytes()[:size])

    told = refusal(root)

    assert told.startswith(f"{root.name}/{file.name} cannot be read: ")
    assert told.endswith("Copy or download it again.")
