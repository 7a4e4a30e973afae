from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from finetune.errors import DataError
from finetune.reporting import SILENT
from finetune.testing import Case, Conformance
from finetune.types import Dataset, DatasetRequest
from finetune_example_plugin import NUMBERED, load

PICTURES = Path(__file__).with_name("pictures")


class TestConformance(Conformance):
    case = Case(plugin="file-names", data=PICTURES)


def loaded(data: Path, cache: Path) -> Dataset:
    return load(DatasetRequest(source="copy", data=data, cache=cache, reporter=SILENT))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("cat.0", "cat"),
        ("american_bulldog_12", "american_bulldog"),
        ("Tulip (3)", "Tulip"),
        ("german-shepherd-7", "german-shepherd"),
        ("Schäferhund 004", "Schäferhund"),
        ("dog7", "dog"),
    ],
)
def test_a_name_says_the_label(name: str, label: str) -> None:
    match = NUMBERED.fullmatch(name)
    assert match
    assert match["label"] == label


@pytest.mark.parametrize("name", ["2024", "holiday", "_1", "photo final"])
def test_a_name_without_label_or_number_says_none(name: str) -> None:
    assert NUMBERED.fullmatch(name) is None


def test_pictures_in_folders_within_are_found_and_others_are_named(tmp_path: Path) -> None:
    shutil.copytree(PICTURES, tmp_path / "data" / "more")
    (tmp_path / "data" / "holiday.jpg").touch()
    dataset = loaded(tmp_path / "data", tmp_path / "cache")
    assert dataset.labels == ("checks", "stripes")
    assert [path.name for path in dataset.ignored] == ["holiday.jpg"]


def test_a_folder_without_such_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no pictures with names such as cat\.0\.jpg"):
        loaded(tmp_path, tmp_path / "cache")
