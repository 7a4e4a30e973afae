"""The photos of each section, as folders; subsets and other layouts are made of links in a temporary folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain, islice, zip_longest
from pathlib import Path

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"}
MIX = {"dogs": 0.6, "catsdogs": 0.15, "cifar10/train": 0.25}
"""Of what a set of any size is mixed, so that sizes differ in nothing else."""
TRAIN_SHARE = 0.8
"""Of each source, the first so many are trained on: in turn, so that no class is without."""
FEW_CLASSES = 4
"""Of how many classes a subset is."""


class Photos:
    """Folders of photos below ``real``; ``work`` takes what is made. With ``most``, only so many of each part."""

    def __init__(self, real: Path, work: Path, most: int | None = None) -> None:
        self._real, self._work, self._most = real, work, most

    def hymenoptera(self) -> Path:
        """Return ants and bees, with parts ``train`` and ``val``."""
        return self._in_parts("hymenoptera", {"train": "train", "val": "val"})

    def cifar10(self) -> Path:
        """Return the subset of CIFAR-10; its test pictures are the part ``valid``."""
        return self._in_parts("cifar10", {"train": "train", "test": "valid"})

    def dogs(self) -> Path:
        """Return 60 breeds, not divided."""
        return self._whole("dogs")

    def catsdogs(self) -> Path:
        """Return cats and dogs, not divided."""
        return self._whole("catsdogs")

    def mixed(self, count: int) -> Path:
        """Return ``count`` photos of all three, always mixed alike, four fifths of them to train on."""
        target = self._work / f"mixed-{count}"
        taken = [list(islice(in_turn(self._real / source), round(count * share))) for source, share in MIX.items()]
        for source, paths in zip(MIX, taken, strict=True):
            for number, path in enumerate(paths):
                part = "train" if number < round(len(paths) * TRAIN_SHARE) else "valid"
                _link(path, target / part / f"{source.partition('/')[0]}-{path.parent.name}")
        return target

    def _whole(self, name: str) -> Path:
        return self._subset(self._real / name, self._work / name) if self._most else self._real / name

    def _in_parts(self, name: str, parts: dict[str, str]) -> Path:
        target = self._work / name
        target.mkdir(exist_ok=True)
        for source, part in parts.items():
            if self._most:
                self._subset(self._real / name / source, target / part)
            elif not (target / part).is_symlink():
                (target / part).symlink_to(self._real / name / source, target_is_directory=True)
        return target

    def _subset(self, source: Path, target: Path) -> Path:
        for path in islice(in_turn(source, FEW_CLASSES), self._most):
            _link(path, target / path.parent.name)
        return target


def in_turn(folder: Path, classes: int | None = None) -> Iterator[Path]:
    """Yield the pictures of the first ``classes``, or all: the first of each class, then the second of each."""
    folders = sorted(entry for entry in folder.iterdir() if entry.is_dir())[:classes]
    return (path for path in chain.from_iterable(zip_longest(*map(pictures, folders))) if path)


def pictures(folder: Path) -> list[Path]:
    """Return the pictures of one class in the order of their names."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _link(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / path.name
    if not os.path.lexists(link):
        link.symlink_to(path)
