from __future__ import annotations

import hashlib
import io
import zipfile
from collections import Counter

import pytest

from finetune.errors import ConfigError, DataError, ResourceError
from finetune_classics import hymenoptera
from finetune_classics.hymenoptera import load

NAMES = [
    "train/ants/1.jpg",
    "train/ants/imageNotFound.gif",
    "train/bees/2.jpg",
    "train/bees/3.jpg",
    "val/ants/4.jpg",
    "val/bees/5.jpg",
]
COUNTS = {("train", "ants"): 1, ("train", "bees"): 2, ("valid", "ants"): 1, ("valid", "bees"): 1}


def zip_of(folder) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return file.getvalue()


def counts(dataset):
    return Counter((example.part, example.label) for example in dataset.examples)


@pytest.fixture
def archive(photos, tmp_path) -> bytes:
    return zip_of(photos(tmp_path / "content" / "hymenoptera_data", NAMES).parent)


def test_a_download_brings_labels_and_the_official_split(publish, archive, request_for, tmp_path):
    publish(hymenoptera, archive)
    dataset = load(request_for())
    assert (dataset.name, dataset.labels) == ("hymenoptera", ("ants", "bees"))
    assert counts(dataset) == COUNTS
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["published"]


def test_what_was_downloaded_is_not_asked_for_again(publish, archive, request_for):
    mirror = publish(hymenoptera, archive)
    assert load(request_for()) == load(request_for())
    assert len(mirror.asked) == 1


def test_a_connection_that_breaks_is_taken_up_where_it_broke(publish, archive, request_for):
    mirror = publish(hymenoptera, archive)
    mirror.hang_up_after = 500
    with pytest.raises(ResourceError, match=r"hymenoptera_data\.zip: the connection ended after 500 of .* --data DIR"):
        load(request_for())
    mirror.hang_up_after = None
    assert counts(load(request_for())) == COUNTS
    assert mirror.asked == [("hymenoptera_data.zip", None), ("hymenoptera_data.zip", "bytes=500-")]


def test_another_archive_is_refused_and_removed(publish, archive, request_for, tmp_path):
    mirror = publish(hymenoptera, archive)
    mirror.files["hymenoptera_data.zip"] = bytes(len(archive))
    with pytest.raises(DataError, match=r"is not the published hymenoptera_data\.zip: expected .* removed\. Run the"):
        load(request_for())
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_placeholder_among_the_ants_is_left_out_and_said(photos, request_for, tmp_path):
    dataset = load(request_for(photos(tmp_path / "copy", NAMES)))
    assert [path.name for path in dataset.ignored] == ["imageNotFound.gif"]
    assert dataset.notes == (
        "imageNotFound.gif lies among the ants and shows none: left out, as torchvision's ImageFolder does.",
    )


def test_without_the_placeholder_there_is_nothing_to_say(photos, request_for, tmp_path):
    dataset = load(request_for(photos(tmp_path / "copy", [name for name in NAMES if "imageNot" not in name])))
    assert (dataset.ignored, dataset.notes) == ((), ())


@pytest.mark.parametrize("inside", ["hymenoptera_data", "."])
def test_an_unpacked_copy_is_read_where_it_lies(inside, photos, request_for, monkeypatch, tmp_path):
    monkeypatch.setenv("FINETUNE_HYMENOPTERA_URL", "nowhere")
    photos(tmp_path / "copy" / inside, NAMES)
    dataset = load(request_for(tmp_path / "copy"))
    assert counts(dataset) == COUNTS
    assert all(example.path.is_relative_to(tmp_path / "copy") for example in dataset.examples)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("given", [".", "hymenoptera_data.zip"])
def test_an_archive_at_hand_is_unpacked_into_the_cache_and_stays(given, publish, archive, request_for, tmp_path):
    mirror = publish(hymenoptera, archive)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "hymenoptera_data.zip").write_bytes(archive)
    assert counts(load(request_for(tmp_path / "home" / given))) == COUNTS
    assert mirror.asked == []
    assert (tmp_path / "home" / "hymenoptera_data.zip").read_bytes() == archive


def test_an_archive_at_hand_that_is_another_is_refused_and_stays(publish, archive, request_for, tmp_path):
    publish(hymenoptera, archive)
    other = tmp_path / "hymenoptera_data.zip"
    other.write_bytes(b"half of it")
    digest = hashlib.sha256(b"half of it").hexdigest()
    with pytest.raises(DataError, match=rf"is not the published .* got 10 bytes with {digest}\. Download it anew, or"):
        load(request_for(other))
    assert other.is_file()


def test_class_folders_without_parts_are_split_by_the_run(photos, request_for, tmp_path):
    dataset = load(request_for(photos(tmp_path / "copy", ["ants/1.jpg", "bees/2.jpg", "Bees/3.jpg"])))
    assert counts(dataset) == {(None, "ants"): 1, (None, "bees"): 2}


def test_other_classes_are_refused_with_what_a_copy_looks_like(photos, request_for, tmp_path):
    copy = photos(tmp_path / "copy", ["cats/1.jpg", "dogs/2.jpg"])
    with pytest.raises(DataError) as caught:
        load(request_for(copy))
    assert str(caught.value) == (
        f"{copy} is not a copy of Hymenoptera: its class folders are cats, dogs, and not ants, bees. "
        "Give --data a folder with train/ants, train/bees, val/ants and val/bees."
    )


def test_of_many_other_classes_only_the_first_are_named(photos, request_for, tmp_path):
    copy = photos(tmp_path / "copy", [f"class{number:02}/1.jpg" for number in range(30)])
    with pytest.raises(DataError, match=r"class00, .*class09, …, and not ants"):
        load(request_for(copy))


@pytest.mark.parametrize("made", ["missing", "empty"])
def test_a_folder_that_is_no_copy_is_refused(made, request_for, tmp_path):
    if made == "empty":
        (tmp_path / "copy").mkdir()
    with pytest.raises(DataError, match=r"copy (does not exist|holds no class folders).* Give --data a folder"):
        load(request_for(tmp_path / "copy"))


def test_where_a_copy_lies_does_not_go_into_the_model(photos, request_for, tmp_path):
    dataset = load(request_for(photos(tmp_path / "copy", NAMES)))
    assert dataset.source == "https://download.pytorch.org/tutorial/hymenoptera_data.zip"
    assert "non-commercial" in dataset.licence


def test_the_mirrors_address_must_be_http(request_for, monkeypatch):
    monkeypatch.setenv("FINETUNE_HYMENOPTERA_URL", "file:///etc")
    with pytest.raises(ConfigError, match="FINETUNE_HYMENOPTERA_URL 'file:///etc' is not allowed; give an address"):
        load(request_for())
