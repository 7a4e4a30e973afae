"""The plugin, held against every rule for what it offers, with small stand-ins for Stanford Dogs."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from finetune.testing import Case, Conformance

BREEDS = ("n02085620-Chihuahua", "n02089078-black-and-tan_coonhound")
LISTS = {"train_list.mat": (1, 2), "test_list.mat": (3,)}


def write_photos(folder: Path) -> None:
    for kind, breed in enumerate(BREEDS):
        (folder / "Images" / breed).mkdir(parents=True)
        for number in (1, 2, 3):
            photo = Image.new("RGB", (40, 36), (100 * kind, 60 * number, 60))
            photo.save(folder / "Images" / breed / f"{breed[:9]}_{number}.jpg")


def write_lists(folder: Path) -> None:
    folder.mkdir()
    for file, numbers in LISTS.items():
        names = [f"{breed}/{breed[:9]}_{number}.jpg" for breed in BREEDS for number in numbers]
        cells = np.empty((len(names), 1), dtype=object)
        cells[:, 0] = names
        savemat(folder / file, {"file_list": cells})


class TestConformance(Conformance):
    """The sample and the kinds as they are drawn, twice, and Stanford Dogs with three photos of two breeds."""

    case = Case(plugin="dogbreeds")

    @classmethod
    def prepare(cls, folder: Path) -> Case:
        write_photos(folder / "images")
        write_lists(folder / "lists")
        archives = {}
        for name in ("lists", "images"):
            file = archives[f"{name}.tar"] = folder / f"{name}.tar"
            with tarfile.open(file, "w") as archive:
                for path in sorted((folder / name).iterdir()):
                    archive.add(path, path.name)
        return replace(cls.case, archives=archives)
