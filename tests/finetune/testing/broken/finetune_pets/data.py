"""The data set ``pets``."""

from pathlib import Path

import numpy as np
from PIL import Image

from finetune.download import Archive, download_folder, whole_folder
from finetune.errors import ConfigError, FinetuneError
from finetune.types import Dataset, DatasetRequest, Example

LABELS = ("cat", "dog", "hamster", "parrot")
EACH = 3
ARCHIVE = Archive("pets.zip", size=1_000_000, sha256="0" * 64)
URL = "https://pets.example.org"


def load(request: DatasetRequest) -> Dataset:
    """Return the pets of the source that is asked for."""
    root = _root(request)
    labels = LABELS
    examples = [_example(path) for path in sorted(root.rglob("*.png"))]
    return Dataset(
        name="pets",
        examples=tuple(examples),
        labels=labels,
        source="https://pets.example.org",
        licence="CC0-1.0",
        notes=("Three kinds of pets.",),
    )


def _root(request: DatasetRequest) -> Path:
    if request.source == "copy":
        if request.data is None:
            raise ConfigError("Which copy? Give --data DIR.")
        return request.data
    if request.source == "web":
        return download_folder(request.cache / "web", URL, (ARCHIVE,), request.reporter)
    return draw(request.cache / "drawn")


def draw(folder: Path) -> Path:
    """Return the folder with drawn pets in two parts, which are drawn unless they are there."""
    if not folder.is_dir():
        with whole_folder(folder) as unfinished:
            draw_into(unfinished)
    return folder


def draw_into(folder: Path) -> None:
    """Draw each pet."""
    for kind, label in enumerate(LABELS):
        for number in range(EACH):
            pixels = np.random.default_rng([kind, number]).integers(0, 256, (40, 40, 3)).astype(np.uint8)
            part = "valid" if number == 0 else "train"
            (folder / part / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / part / label / f"{number}.png")


def _example(path: Path) -> Example:
    part = path.parent.parent.name
    return Example(path=path, label=path.parent.name, part=part)


__all__ = ["FinetuneError", "draw", "draw_into", "load"]
