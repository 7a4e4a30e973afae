from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from finetune.errors import ConfigError, DataError, ResourceError
from finetune.intent import discover
from finetune_dogbreeds import stanford
from finetune_dogbreeds.dataset import load

TRAIN = ("n02085620-Chihuahua/n02085620_1.jpg", "n02089078-black-and-tan_coonhound/n02089078_2.jpg")
TEST = ("n02085620-Chihuahua/n02085620_3.jpg", "n02089078-black-and-tan_coonhound/n02089078_4.jpg")


def write_photos(folder: Path, names=TRAIN + TEST) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (120, 90, 60)).save(path)


def write_lists(folder: Path, train=TRAIN, test=TEST) -> None:
    for file, names in (("train_list.mat", train), ("test_list.mat", test)):
        cells = np.empty((len(names), 1), dtype=object)
        cells[:, 0] = names
        savemat(folder / file, {"file_list": cells, "labels": np.ones((len(names), 1))})


@pytest.fixture
def offered(published, monkeypatch, tmp_path):
    """Offer two archives as they are published on a server of this machine, and return the server."""
    content = tmp_path / "content"
    write_photos(content / "images" / "Images")
    (content / "lists").mkdir()
    write_lists(content / "lists")
    archives = [published.offer(f"{name}.tar", tar_of(content / name)) for name in ("lists", "images")]
    monkeypatch.setattr(stanford, "ARCHIVES", tuple(archives))
    monkeypatch.setenv(stanford.URL_VARIABLE, published.url)
    return published


def tar_of(folder: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)
    return file.getvalue()


def parts_of(dataset) -> dict[str, str | None]:
    return {example.path.name: example.part for example in dataset.examples}


OFFICIAL = {
    "n02085620_1.jpg": "train",
    "n02089078_2.jpg": "train",
    "n02085620_3.jpg": "valid",
    "n02089078_4.jpg": "valid",
}


def test_a_download_brings_labels_and_the_official_split(offered, request_for, reporter, tmp_path):
    dataset = load(request_for("stanford"))
    assert dataset.labels == ("Chihuahua", "black-and-tan coonhound")
    assert parts_of(dataset) == OFFICIAL
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["stanford-dogs"]
    steps = [f"{step} {name}.tar" for step in ("Downloading", "Unpacking") for name in ("lists", "images")]
    assert reporter.titles == steps


def test_what_was_downloaded_is_not_asked_for_again(offered, request_for):
    load(request_for("stanford"))
    offered.files.clear()
    assert parts_of(load(request_for("stanford"))) == OFFICIAL


def test_another_archive_than_the_published_one_is_refused(offered, request_for, tmp_path):
    offered.files["lists.tar"] = offered.files["images.tar"]
    with pytest.raises(DataError, match=r"lists\.tar is not the published lists\.tar: expected .* with SHA-256"):
        load(request_for("stanford"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_server_that_lacks_an_archive_is_named_with_the_remedy(offered, request_for):
    del offered.files["images.tar"]
    with pytest.raises(ResourceError, match=r"images\.tar: the server answered 404 .* --data DIR\."):
        load(request_for("stanford"))


def test_the_address_must_be_http(request_for, monkeypatch):
    monkeypatch.setenv(stanford.URL_VARIABLE, "file:///etc")
    with pytest.raises(ConfigError, match="FINETUNE_DOGBREEDS_URL 'file:///etc' is not allowed; give an address"):
        load(request_for("stanford"))


@pytest.mark.parametrize("source", ["sample", "stanford", "kinds"])
@pytest.mark.parametrize("inside", ["Images", "."])
def test_a_copy_at_hand_needs_no_network(source, inside, request_for, tmp_path, monkeypatch):
    monkeypatch.setenv(stanford.URL_VARIABLE, "nowhere")
    write_photos(tmp_path / "dogs" / inside)
    write_lists(tmp_path / "dogs")
    assert parts_of(load(request_for(source, tmp_path / "dogs"))) == OFFICIAL


def test_a_copy_without_lists_has_no_parts(request_for, tmp_path):
    write_photos(tmp_path / "dogs")
    dataset = load(request_for("stanford", tmp_path / "dogs"))
    assert set(parts_of(dataset).values()) == {None}
    assert dataset.notes == ("Stanford Dogs: 4 photos, no lists of the official split: split by chance.",)


def test_a_copy_at_hand_takes_the_recipe_for_photos(tmp_path):
    write_photos(tmp_path / "dogs")
    intent = discover({"plugin": "dogbreeds", "data": tmp_path / "dogs"})
    assert (intent.source.name, intent.config.weights) == ("stanford", "pretrained")


def test_photos_in_neither_list_are_left_out_and_said(request_for, tmp_path):
    write_photos(tmp_path / "dogs")
    write_lists(tmp_path / "dogs", train=TRAIN[:1], test=TEST[:1])
    dataset = load(request_for("stanford", tmp_path / "dogs"))
    assert parts_of(dataset) == {"n02085620_1.jpg": "train", "n02085620_3.jpg": "valid"}
    assert dataset.notes[1] == "2 photos are in neither list and were left out."


def test_lists_of_other_photos_are_refused(request_for, tmp_path):
    write_photos(tmp_path / "dogs")
    write_lists(tmp_path / "dogs", train=("n1/a.jpg", "n1/b.jpg"), test=("n1/c.jpg",))
    with pytest.raises(DataError, match=r"None of the 4 photos in .* is in the lists"):
        load(request_for("stanford", tmp_path / "dogs"))


def test_one_list_without_the_other_is_refused(request_for, tmp_path):
    write_photos(tmp_path / "dogs")
    write_lists(tmp_path / "dogs")
    (tmp_path / "dogs" / "test_list.mat").unlink()
    with pytest.raises(DataError, match=r"has train_list\.mat but no test_list\.mat"):
        load(request_for("stanford", tmp_path / "dogs"))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 400], ids=["empty", "text", "zeros"])
def test_a_damaged_list_is_refused(content, request_for, tmp_path):
    write_photos(tmp_path / "dogs")
    write_lists(tmp_path / "dogs")
    (tmp_path / "dogs" / "train_list.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"train_list\.mat is not a list of Stanford Dogs"):
        load(request_for("stanford", tmp_path / "dogs"))


@pytest.mark.parametrize("made", ["missing", "empty", "strange"])
def test_a_folder_that_is_no_copy_is_refused_with_what_was_looked_for(made, request_for, tmp_path):
    root = tmp_path / "dogs"
    if made != "missing":
        root.mkdir()
    if made == "strange":
        write_photos(root, ("cats/tom.jpg",))
    with pytest.raises(DataError, match=r"not a copy of Stanford Dogs: no photos in folders such as n02085620-Chihua"):
        load(request_for("stanford", root))


@pytest.mark.parametrize(
    ("synset", "label"),
    [
        ("n02085620-Chihuahua", "Chihuahua"),
        ("n02089078-black-and-tan_coonhound", "black-and-tan coonhound"),
        ("n02086240-Shih-Tzu", "Shih-Tzu"),
    ],
)
def test_labels_are_names_that_people_use(synset, label):
    assert stanford.label_of(synset) == label


def test_where_a_copy_lies_does_not_go_into_the_model(request_for, tmp_path):
    write_photos(tmp_path / "dogs")
    assert load(request_for("stanford", tmp_path / "dogs")).source == stanford.URL
