"""CIFAR-10: 60,000 pictures of 32 px in ten classes, 10,000 of them for testing only.

Krizhevsky: Learning multiple layers of features from tiny images, 2009. https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from finetune.builtin.folder import VALIDATION_NAMES
from finetune.download import Archive
from finetune.errors import DataError
from finetune.types import Dataset, DatasetRequest
from finetune_classics import batches
from finetune_classics.published import Published, read_folders, root_of

PUBLISHED = Published(
    name="cifar10",
    title="CIFAR-10",
    url="https://www.cs.toronto.edu/~kriz",
    variable="FINETUNE_CIFAR10_URL",
    archive=Archive(
        "cifar-10-binary.tar.gz",
        # Size and SHA-256 as published by TensorFlow Datasets, tensorflow_datasets/url_checksums/cifar10.txt. The
        # authors' page states the MD5 c32a1d4ab5d03f1284b67883e8d87530.
        size=170_052_171,
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        unpacked=430_000_000,  # 184 MB of batches, and 60,000 files of a disk block each
    ),
    inner=batches.FOLDER,
    labels={label: label for label in batches.LABELS},
    layout="train and test folders of the ten classes, or with data_batch_1.bin to test_batch.bin",
    licence="none stated by its authors; a labelled subset of the 80 Million Tiny Images, since withdrawn",
    finish=batches.decode_published,
)


def load(request: DatasetRequest) -> Dataset:
    """Return the training pictures, without parts: the run holds a share of each class out for validation.

    The test pictures are no part of the data set; a note says where they are. Raises ``DataError`` for a copy that
    is none, ``ResourceError`` where network or disk fail.
    """
    root = root_of(request, PUBLISHED)
    if batches.are_in(root):
        root = batches.decode_copy(root, request)
    batches.refuse_pickles(root)
    parts = _parts(root)
    train, test = parts.get("train"), parts.get("test")
    if test and not train:
        raise DataError(f"{root} holds a test folder and no train folder. Give --data one with {PUBLISHED.layout}.")
    split = train is None or any(name in parts for name in VALIDATION_NAMES)
    found = read_folders(request, root if split else train or root, PUBLISHED)
    return replace(found, notes=(*found.notes, *_notes(found, test)))


def _parts(root: Path) -> dict[str, Path]:
    return {entry.name.lower(): entry for entry in root.iterdir() if entry.is_dir()} if root.is_dir() else {}


def _notes(found: Dataset, test: Path | None) -> tuple[str, ...]:
    if test is None:
        return (f"CIFAR-10: {len(found.examples):,} pictures, and no test folder beside them.",)
    count = sum(path.is_file() for path in test.glob("*/*"))
    return (
        f"CIFAR-10: {len(found.examples):,} pictures to train and validate on; the {count:,} test pictures in {test} "
        f"are held apart. To score a copy of the model on them: finetune verify MODEL --data {shlex.quote(str(test))}",
    )
