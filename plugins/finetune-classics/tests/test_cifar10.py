from __future__ import annotations

import io
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.data.audit import audit
from finetune.data.splits import SplitRules, split
from finetune.errors import DataError, ResourceError
from finetune_classics import batches, cifar10
from finetune_classics.batches import LABELS, TEST, TRAIN
from finetune_classics.cifar10 import load

PER_CLASS = 2
"""So many pictures of each class are in each batch of these tests; in the real ones it is 1,000 on average."""


def records(seed: int) -> np.ndarray:
    """Return a batch as published: label, then 1,024 bytes each of red, green and blue."""
    drawn = np.random.default_rng(seed).integers(0, 256, (10 * PER_CLASS, 3073), dtype=np.uint8)
    drawn[:, 0] = np.arange(len(drawn)) % 10
    return drawn


def write_batches(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for seed, name in enumerate((*TRAIN, *TEST)):
        records(seed).tofile(folder / name)
    (folder / "batches.meta.txt").write_text("\n".join(LABELS) + "\n\n")
    return folder


@pytest.fixture
def archive(tmp_path) -> bytes:
    write_batches(tmp_path / "content" / batches.FOLDER)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as written:
        written.add(tmp_path / "content" / batches.FOLDER, batches.FOLDER)
    return file.getvalue()


def counts(dataset):
    return Counter((example.part, example.label) for example in dataset.examples)


PARTS = {(part, label): count * PER_CLASS for part, count in (("train", 5), ("test", 1)) for label in LABELS}


def test_a_download_brings_pictures_to_train_on_and_a_test_part(publish, archive, request_for, tmp_path):
    publish(cifar10, archive)
    dataset = load(request_for())
    assert (dataset.name, dataset.labels) == ("cifar10", LABELS)
    assert counts(dataset) == PARTS
    assert sorted(path.name for path in (tmp_path / "cache" / "published").iterdir()) == ["test", "train"]


def test_the_labels_are_in_the_official_order():
    assert LABELS[0] == "airplane"
    assert LABELS[9] == "truck"
    assert list(LABELS) == sorted(LABELS)


def test_a_note_counts_the_pictures_of_each_part(publish, archive, request_for):
    publish(cifar10, archive)
    (note,) = load(request_for()).notes
    assert note == "CIFAR-10: 100 pictures to train and validate on; the 20 test pictures are for the end."


def test_validation_is_carved_out_of_the_training_pictures_alike_every_time(publish, archive, request_for, reporter):
    publish(cifar10, archive)
    dataset = load(request_for())
    checked = audit(dataset, 0, reporter)
    first, again, other = (split(checked, dataset, SplitRules(valid_share=0.2, seed=seed)) for seed in (42, 42, 43))
    assert Counter(example.label for example in first.valid) == dict.fromkeys(LABELS, 2)
    assert Counter(example.label for example in first.test) == dict.fromkeys(LABELS, PER_CLASS)
    assert first == again
    assert first != other


def test_a_picture_is_its_record(publish, archive, request_for):
    publish(cifar10, archive)
    dataset = load(request_for())
    (path,) = (e.path for e in dataset.examples if e.path.name == "data_batch_2_00013.png")
    assert path.parent.name == LABELS[3]
    with Image.open(path) as image:
        pixels = np.asarray(image)
    record = records(1)[13]
    assert pixels.shape == (32, 32, 3)
    assert pixels[:, :, 0].ravel().tolist() == record[1:1025].tolist()
    assert pixels[:, :, 2].ravel().tolist() == record[2049:].tolist()


def test_decoding_happens_once(publish, archive, request_for, reporter):
    mirror = publish(cifar10, archive)
    load(request_for())
    first = list(reporter.titles)
    load(request_for())
    assert reporter.titles == first
    assert first[:3] == [
        "Downloading cifar-10-binary.tar.gz",
        "Unpacking cifar-10-binary.tar.gz",
        "Writing the pictures of data_batch_1.bin",
    ]
    assert len(mirror.asked) == 1


def test_an_interruption_while_decoding_leaves_no_half_set(publish, archive, request_for, monkeypatch, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    mirror = publish(cifar10, archive)
    with monkeypatch.context() as patched:
        patched.setattr(batches, "_pictures", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load(request_for())
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["cifar-10-binary.tar.gz"]
    assert counts(load(request_for())) == PARTS
    assert len(mirror.asked) == 1


def test_a_broken_connection_is_taken_up(publish, archive, request_for):
    mirror = publish(cifar10, archive)
    mirror.hang_up_after = 1000
    with pytest.raises(ResourceError, match="the connection ended after 1,000 of"):
        load(request_for())
    mirror.hang_up_after = None
    assert counts(load(request_for())) == PARTS
    assert mirror.asked[1] == ("cifar-10-binary.tar.gz", "bytes=1000-")


def test_a_wrong_checksum_is_refused_and_removed(publish, archive, request_for, tmp_path):
    mirror = publish(cifar10, archive)
    mirror.files["cifar-10-binary.tar.gz"] = archive[::-1]
    with pytest.raises(DataError, match=r"is not the published cifar-10-binary\.tar\.gz: expected .* removed"):
        load(request_for())
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("inside", [batches.FOLDER, "."])
def test_batches_at_hand_are_decoded_into_the_cache_and_stay(inside, request_for, tmp_path):
    folder = write_batches(tmp_path / "copy" / inside)
    before = sorted(path.name for path in folder.iterdir())
    dataset = load(request_for(tmp_path / "copy"))
    assert counts(dataset) == PARTS
    assert all(example.path.is_relative_to(tmp_path / "cache") for example in dataset.examples)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_other_batches_are_other_pictures(request_for, tmp_path):
    folder = write_batches(tmp_path / "copy")
    first = load(request_for(folder))
    assert load(request_for(folder)) == first
    records(99).tofile(folder / TRAIN[0])
    assert load(request_for(folder)).examples != first.examples


def test_an_archive_at_hand_is_decoded(publish, archive, request_for, tmp_path):
    mirror = publish(cifar10, archive)
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(archive)
    assert counts(load(request_for(tmp_path / "cifar-10-binary.tar.gz"))) == PARTS
    assert mirror.asked == []


def test_folders_of_pictures_are_read_where_they_lie(photos, request_for, tmp_path):
    copy = photos(tmp_path / "copy", [f"{part}/{label}/1.jpg" for part in ("train", "test") for label in LABELS])
    dataset = load(request_for(copy))
    assert counts(dataset) == {(part, label): 1 for part in ("train", "test") for label in LABELS}
    assert "the 10 test pictures are for the end" in dataset.notes[0]


def test_a_validation_folder_of_the_copy_is_kept(photos, request_for, tmp_path):
    names = [f"{part}/{label}/1.jpg" for part in ("train", "val", "test") for label in LABELS]
    dataset = load(request_for(photos(tmp_path / "copy", names)))
    assert counts(dataset) == {(part, label): 1 for part in ("train", "valid", "test") for label in LABELS}
    assert "20 pictures to train and validate on; the 10 test pictures" in dataset.notes[-1]


def test_class_folders_alone_have_no_test_part(photos, request_for, tmp_path):
    dataset = load(request_for(photos(tmp_path / "copy", [f"{label}/1.jpg" for label in LABELS])))
    assert dataset.notes == ("CIFAR-10: 10 pictures to train and validate on, and no test part.",)


def test_pickles_are_refused(request_for, tmp_path):
    (tmp_path / "copy" / "cifar-10-batches-py").mkdir(parents=True)
    (tmp_path / "copy" / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"\x80\x02}")
    for given in ("copy", "copy/cifar-10-batches-py"):
        with pytest.raises(
            DataError, match=r"as pickles, which can run code and are never loaded\. Give --data the bin"
        ):
            load(request_for(tmp_path / given))


@pytest.mark.parametrize("content", [b"", b"short", bytes(3072), bytes(3074)], ids=["empty", "short", "less", "more"])
def test_a_batch_that_is_cut_is_refused_with_its_size(content, request_for, tmp_path):
    folder = write_batches(tmp_path / "copy")
    (folder / TRAIN[2]).write_bytes(content)
    with pytest.raises(DataError, match=rf"data_batch_3\.bin has {len(content):,} bytes, which is no whole number"):
        load(request_for(folder))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_label_that_does_not_exist_is_refused(request_for, tmp_path):
    folder = write_batches(tmp_path / "copy")
    (folder / TEST[0]).write_bytes(b"\x0a" + bytes(3072))
    with pytest.raises(DataError, match=r"test_batch\.bin has the label 10; only 0 to 9 exist\. Copy it again\."):
        load(request_for(folder))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that opens and cannot be read")
def test_a_batch_that_cannot_be_read_is_blamed_and_not_the_cache(request_for, tmp_path):
    folder = write_batches(tmp_path / "copy")
    (folder / TRAIN[1]).unlink()
    (folder / TRAIN[1]).symlink_to("/proc/self/mem")
    with pytest.raises(DataError, match=r"Cannot read .*data_batch_2\.bin: Input/output error\. Check it and its"):
        load(request_for(folder))


def test_a_missing_batch_is_named(request_for, tmp_path):
    folder = write_batches(tmp_path / "copy")
    (folder / TRAIN[4]).unlink()
    with pytest.raises(DataError, match=r"has no data_batch_5\.bin\. Give --data a folder with all six batches"):
        load(request_for(folder))


def test_test_pictures_alone_are_refused(photos, request_for, tmp_path):
    copy = photos(tmp_path / "copy", [f"test/{label}/1.jpg" for label in LABELS])
    with pytest.raises(DataError, match=r"holds a test folder and no train folder\. Give --data one with train and"):
        load(request_for(copy))


def test_other_classes_are_refused(photos, request_for, tmp_path):
    copy = photos(tmp_path / "copy", [f"train/{label}/1.jpg" for label in LABELS[:9]])
    with pytest.raises(DataError, match=r"is not a copy of CIFAR-10: its class folders are airplane, .*, and not"):
        load(request_for(copy))
