"""CIFAR-10: 60,000 pictures of 32 px in ten classes, 10,000 of them for testing only.

Krizhevsky: Learning multiple layers of features from tiny images, 2009. https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

from dataclasses import replace

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
    """Return the pictures: those of ``train``, of which the run validates on a share, and those of ``test``.

    The test pictures are the test part, which the exported file is scored on once, at the end. Raises ``DataError`` for
    a copy that is none, ``ResourceError`` where network or disk fail.
    """
    root = root_of(request, PUBLISHED)
    if batches.are_in(root):
        root = batches.decode_copy(root, request)
    batches.refuse_pickles(root)
    parts = {entry.name.lower() for entry in root.iterdir() if entry.is_dir()} if root.is_dir() else set()
    if "test" in parts and "train" not in parts:
        raise DataError(f"{root} holds a test folder and no train folder. Give --data one with {PUBLISHED.layout}.")
    found = read_folders(request, root, PUBLISHED)
    return replace(found, notes=(*found.notes, _note(found)))


def _note(found: Dataset) -> str:
    tested = sum(example.part == "test" for example in found.examples)
    trained = f"CIFAR-10: {len(found.examples) - tested:,} pictures to train and validate on"
    return f"{trained}; the {tested:,} test pictures are for the end." if tested else f"{trained}, and no test part."
