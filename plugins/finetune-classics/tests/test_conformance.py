"""The plugin, held against every rule for what it offers, with small stand-ins for what is published."""

from __future__ import annotations

import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

from PIL import Image

from finetune.testing import Case, Conformance
from finetune_classics import batches


def write_zip(file: Path, names: list[str]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for number, name in enumerate(names):
            picture = io.BytesIO()
            Image.new("RGB", (40, 36), (9 * number, 90, 60)).save(picture, "JPEG")
            archive.writestr(name, picture.getvalue())


def write_batches(file: Path) -> None:
    """Write a record of each label into every batch, the pictures all different."""
    with tarfile.open(file, "w:gz") as archive:
        for place, name in enumerate((*batches.TRAIN, *batches.TEST)):
            records = [bytes([label]) + bytes([20 * place + label]) * 3072 for label in range(len(batches.LABELS))]
            info = tarfile.TarInfo(f"{batches.FOLDER}/{name}")
            info.size = len(content := b"".join(records))
            archive.addfile(info, io.BytesIO(content))


class TestHymenoptera(Conformance):
    """The tutorial's archive, with two photos of each part and class."""

    case = Case(plugin="classics", only=("hymenoptera",))

    @classmethod
    def prepare(cls, folder: Path) -> Case:
        file = folder / "hymenoptera_data.zip"
        places = [f"hymenoptera_data/{part}/{label}" for part in ("train", "val") for label in ("ants", "bees")]
        write_zip(file, [f"{place}/{number}.jpg" for place in places for number in range(2)])
        return replace(cls.case, archives={file.name: file})


class TestCatsDogs(Conformance):
    """Microsoft's archive, with four photos of each class."""

    case = Case(plugin="classics", only=("cats-dogs",))

    @classmethod
    def prepare(cls, folder: Path) -> Case:
        file = folder / "kagglecatsanddogs_5340.zip"
        write_zip(file, [f"PetImages/{label}/{number}.jpg" for label in ("Cat", "Dog") for number in range(4)])
        return replace(cls.case, archives={file.name: file})


class TestCifar10(Conformance):
    """The binary archive, with one picture of each class in every batch."""

    case = Case(plugin="classics", only=("cifar10",))

    @classmethod
    def prepare(cls, folder: Path) -> Case:
        file = folder / "cifar-10-binary.tar.gz"
        write_batches(file)
        return replace(cls.case, archives={file.name: file})
