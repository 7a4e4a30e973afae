"""The embedded sample: dogs drawn once into the cache, the same ones on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from finetune.download import whole_folder, writing_to
from finetune.errors import DataError
from finetune.types import Dataset, Example, Reporter
from finetune_dogbreeds.breeds import BREEDS
from finetune_dogbreeds.picture import draw, jpeg

VERSION = 1
"""Raise it when a change of the drawing changes pictures: an older sample in the cache is then left alone."""

PER_BREED = 100
SEED = 0
LICENCE = "Apache-2.0 (drawn by finetune-dogbreeds)"
NOTES = (
    f"These are {len(BREEDS) * PER_BREED:,} drawn dogs of {len(BREEDS)} breeds, a sample embedded in the plugin: "
    "not photos.",
    "For the real Stanford Dogs (120 breeds, 20,580 photos, 794 MB to download) say '--source stanford', "
    "with '--data DIR' if a copy is at hand.",
)


def load_sample(cache: Path, reporter: Reporter) -> Dataset:
    """Return the drawn sample, drawing it into ``cache`` unless it is there.

    Raises ``ResourceError`` where the cache cannot be written, ``DataError`` where pictures have gone from it.
    """
    folder = cache / f"sample-v{VERSION}"
    if not folder.is_dir():
        with writing_to(folder), whole_folder(folder) as unfinished:
            _draw_all(unfinished, reporter)
    examples = tuple(Example(path=folder / name, label=label) for label, name in _files())
    _check_complete(folder, examples)
    return Dataset(
        name="dogbreeds",
        examples=examples,
        labels=tuple(sorted({example.label for example in examples})),
        source="sample",
        licence=LICENCE,
        notes=NOTES,
    )


def _files() -> Iterator[tuple[str, str]]:
    for breed in BREEDS:
        for index in range(PER_BREED):
            yield breed.name, f"{breed.name}/{index:03d}.jpg"


def _check_complete(folder: Path, examples: tuple[Example, ...]) -> None:
    missing = [example.path for example in examples if not example.path.is_file()]
    if missing:
        gone = f"{len(missing)} of {len(examples)} pictures"
        raise DataError(f"{gone} have gone from {folder}. Delete that folder; the next run draws it anew.")


def _draw_all(folder: Path, reporter: Reporter) -> None:
    reporter.begin("Drawing the sample of dogs", len(BREEDS) * PER_BREED)
    for breed in BREEDS:
        (folder / breed.name).mkdir()
        for index in range(PER_BREED):
            (folder / breed.name / f"{index:03d}.jpg").write_bytes(jpeg(draw(breed, index, SEED)))
            reporter.advance(detail=breed.name)
    reporter.end()
