from __future__ import annotations

import io
import zipfile
from collections import Counter

import pytest

from finetune.data.audit import audit
from finetune.errors import DataError
from finetune_classics import cats_dogs
from finetune_classics.cats_dogs import load


@pytest.fixture
def archive(photos, tmp_path) -> bytes:
    """The archive's layout: photos by number, one of them empty, Windows' clutter, and texts beside them."""
    names = [f"PetImages/{animal}/{number}.jpg" for animal in ("Cat", "Dog") for number in range(15)]
    content = photos(tmp_path / "content", names)
    (content / "PetImages" / "Cat" / "7.jpg").write_bytes(b"")
    for name in ("PetImages/Cat/Thumbs.db", "PetImages/Dog/Thumbs.db", "readme[1].txt", "CDLA-Permissive-2.0.pdf"):
        (content / name).write_bytes(b"no photo")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        for path in sorted(content.rglob("*")):
            written.write(path, path.relative_to(content))
    return file.getvalue()


def counts(dataset):
    return Counter((example.part, example.label) for example in dataset.examples)


def test_a_download_brings_labels_in_lower_case_and_no_split(publish, archive, request_for):
    publish(cats_dogs, archive)
    dataset = load(request_for())
    assert (dataset.name, dataset.labels) == ("cats-dogs", ("cat", "dog"))
    assert counts(dataset) == {(None, "cat"): 15, (None, "dog"): 15}
    assert dataset.ignored == ()


def test_the_unreadable_among_them_are_left_out_by_the_run(publish, archive, request_for, reporter):
    publish(cats_dogs, archive)
    checked = audit(load(request_for()), 0.08, reporter)
    assert [refused.example.path.name for refused in checked.refused] == ["7.jpg"]
    assert len(checked.checked) == 29


def test_a_wrong_checksum_is_refused(publish, archive, request_for):
    mirror = publish(cats_dogs, archive)
    mirror.files["kagglecatsanddogs_5340.zip"] = archive[::-1]
    with pytest.raises(DataError, match=r"is not the published kagglecatsanddogs_5340\.zip"):
        load(request_for())


def test_a_broken_connection_is_taken_up(publish, archive, request_for, tmp_path):
    mirror = publish(cats_dogs, archive)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kagglecatsanddogs_5340.zip.part").write_bytes(archive[:300])
    assert len(load(request_for()).examples) == 30
    assert mirror.asked == [("kagglecatsanddogs_5340.zip", "bytes=300-")]


@pytest.mark.parametrize(
    "folders",
    [("cat", "dog"), ("Cat", "Dog"), ("CATS", "DOGS"), ("PetImages/Cat", "PetImages/Dog")],
    ids="-".join,
)
def test_class_folders_count_in_any_case(folders, photos, request_for, tmp_path):
    cat, dog = folders
    dataset = load(request_for(photos(tmp_path / "copy", [f"{cat}/1.jpg", f"{cat}/2.jpg", f"{dog}/1.jpg"])))
    assert dataset.labels == ("cat", "dog")
    assert counts(dataset) == {(None, "cat"): 2, (None, "dog"): 1}


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_a_split_of_the_copy_is_kept(validation, photos, request_for, tmp_path):
    names = [f"{part}/{label}/1.jpg" for part in ("train", validation) for label in ("cats", "dogs")]
    dataset = load(request_for(photos(tmp_path / "copy", names)))
    assert counts(dataset) == {(part, label): 1 for part in ("train", "valid") for label in ("cat", "dog")}


def test_a_test_folder_is_the_test_part(photos, request_for, tmp_path):
    names = [f"{part}/{label}/1.jpg" for part in ("train", "test") for label in ("cat", "dog")]
    dataset = load(request_for(photos(tmp_path / "copy", names)))
    assert counts(dataset) == {(part, label): 1 for part in ("train", "test") for label in ("cat", "dog")}


@pytest.mark.parametrize("inside", ["train", "."])
def test_kaggles_own_layout_is_read(inside, photos, request_for, tmp_path):
    photos(tmp_path / "copy" / inside, ["cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "other.jpg"])
    dataset = load(request_for(tmp_path / "copy"))
    assert dataset.labels == ("cat", "dog")
    assert counts(dataset) == {(None, "cat"): 2, (None, "dog"): 1}


@pytest.mark.parametrize("classes", [("cat", "horse"), ("cat", "Cats"), ("cat", "dog", "horse")], ids="-".join)
def test_other_classes_are_refused(classes, photos, request_for, tmp_path):
    copy = photos(tmp_path / "copy", [f"{name}/1.jpg" for name in classes])
    with pytest.raises(
        DataError, match=r"is not a copy of cats and dogs: its class folders are .* Give --data a folder"
    ):
        load(request_for(copy))


def test_both_licences_are_stated(photos, request_for, tmp_path):
    licence = load(request_for(photos(tmp_path / "copy", ["cat/1.jpg", "dog/1.jpg"]))).licence
    assert "CDLA-Permissive-2.0" in licence
    assert "non-commercial research only" in licence
