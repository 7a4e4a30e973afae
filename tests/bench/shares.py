"""How pictures are divided for a comparison: always the same ones are held out, and the seed picks what is learned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random

from finetune.types import Example

Classes = Mapping[str, Sequence[Path]]
"""The pictures of each class."""
Parts = Mapping[str, Classes]
"""The parts train, valid and test."""


def by_class(examples: Iterable[Example]) -> dict[str, list[Path]]:
    """Return the pictures of each class, sorted by path."""
    classes: dict[str, list[Path]] = {}
    for example in sorted(examples, key=lambda example: example.path):
        classes.setdefault(str(example.label), []).append(example.path)
    return classes


def shares(classes: Classes, *, train: int, valid: int, test: int, seed: int) -> Parts:
    """Return parts with so many pictures of each class.

    ``valid`` and ``test`` are the same pictures whatever ``train`` and ``seed`` are; the fewer training pictures of a
    seed are among its more. Raises ``ValueError`` for a class that has too few.
    """
    parts: dict[str, dict[str, list[Path]]] = {"train": {}, "valid": {}, "test": {}}
    for label, pictures in classes.items():
        if len(pictures) < (needed := train + valid + test):
            raise ValueError(f"{label} has {len(pictures)} pictures, and {needed} are needed")
        shuffled = _shuffled(pictures, f"held out of {label}")
        parts["test"][label] = shuffled[:test]
        parts["valid"][label] = shuffled[test : test + valid]
        parts["train"][label] = _shuffled(shuffled[test + valid :], f"{seed} of {label}")[:train]
    return parts


def _shuffled(pictures: Sequence[Path], by: str) -> list[Path]:
    return Random(by).sample(pictures, len(pictures))  # a text seeds alike on every machine


def linked(parts: Parts, folder: Path) -> Path:
    """Link the pictures into ``folder/<part>/<class>``; return the folder."""
    for part, classes in parts.items():
        for label, pictures in classes.items():
            place = folder / part / label
            place.mkdir(parents=True, exist_ok=True)
            for picture in pictures:
                (place / picture.name).symlink_to(picture)
    return folder
