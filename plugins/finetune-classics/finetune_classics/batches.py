"""CIFAR-10's binary batches, decoded once into PNG files. The pickled batches are refused: pickles can run code.

A batch is a row of records: one byte for the label, then 3 × 32 × 32 bytes for the picture, colour by colour and
row by row (https://www.cs.toronto.edu/~kriz/cifar.html).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.download import reading, whole_folder, writing_to
from finetune.errors import DataError
from finetune.types import DatasetRequest, Reporter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDER = "cifar-10-batches-bin"
TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST = ("test_batch.bin",)
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE_PX = 32
RECORD_BYTES = 1 + 3 * SIDE_PX * SIDE_PX


def are_in(folder: Path) -> bool:
    """Return whether the folder holds binary batches."""
    return (folder / TRAIN[0]).is_file()


def refuse_pickles(root: Path) -> None:
    """Raise ``DataError`` where the folder holds the pickled batches."""
    for folder in (root, root / "cifar-10-batches-py"):
        if (folder / "data_batch_1").is_file():
            raise DataError(
                f"{folder} holds CIFAR-10 as pickles, which can run code and are never loaded. "
                f"Give --data the binary version ({TRAIN[0]} …), or folders of pictures."
            )


def decode_published(unpacked: Path, reporter: Reporter) -> None:
    """Turn the folder of the unpacked archive into ``train/<label>`` and ``test/<label>`` with PNG files."""
    _decode(unpacked / FOLDER, unpacked, reporter)
    shutil.rmtree(unpacked / FOLDER)


def decode_copy(batches: Path, request: DatasetRequest) -> Path:
    """Return a folder in the cache with the pictures of the user's batches, which stay as they are.

    Its name is made of their content, so that other batches are other pictures.
    """
    _refuse_missing(batches)
    content = hashlib.sha256()
    for name in (*TRAIN, *TEST):
        with reading(batches / name):
            content.update((batches / name).read_bytes())
    folder = request.cache / f"copy-{content.hexdigest()[:16]}"
    if not folder.is_dir():
        with writing_to(request.cache), whole_folder(folder) as unfinished:
            _decode(batches, unfinished, request.reporter)
    return folder


def _decode(batches: Path, folder: Path, reporter: Reporter) -> None:
    _refuse_missing(batches)
    for part, names in (("train", TRAIN), ("test", TEST)):
        for label in LABELS:
            (folder / part / label).mkdir(parents=True)
        for name in names:
            _write_pictures(batches / name, folder / part, reporter)


def _refuse_missing(batches: Path) -> None:
    missing = [name for name in (*TRAIN, *TEST) if not (batches / name).is_file()]
    if missing:
        raise DataError(f"{batches} has no {missing[0]}. Give --data a folder with all six batches of CIFAR-10.")


def _write_pictures(batch: Path, folder: Path, reporter: Reporter) -> None:
    from PIL import Image

    records = _records(batch)
    reporter.begin(f"Writing the pictures of {batch.name}", len(records), "pictures")
    for index, (label, pixels) in enumerate(_pictures(records)):
        path = folder / LABELS[label] / f"{batch.stem}_{index:05}.png"
        # Level 1: larger by a tenth than the default, and several times faster.
        Image.fromarray(pixels).save(path, compress_level=1)
        reporter.advance()
    reporter.end()


def _records(batch: Path) -> NDArray[np.uint8]:
    import numpy as np

    with reading(batch):
        content = np.fromfile(batch, dtype=np.uint8)
    if not content.size or content.size % RECORD_BYTES:
        raise DataError(
            f"{batch} has {content.size:,} bytes, which is no whole number of pictures of {RECORD_BYTES:,} bytes. "
            "Copy it again."
        )
    records = content.reshape(-1, RECORD_BYTES)
    highest = int(records[:, 0].max())
    if highest >= len(LABELS):
        raise DataError(f"{batch} has the label {highest}; only 0 to {len(LABELS) - 1} exist. Copy it again.")
    return records


def _pictures(records: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield label index and picture, uint8 (32, 32, 3) RGB, of each record."""
    pixels = records[:, 1:].reshape(-1, 3, SIDE_PX, SIDE_PX).transpose(0, 2, 3, 1)
    for label, picture in zip(records[:, 0], pixels, strict=True):
        yield int(label), picture.copy()
