"""The embedded sample: dogs drawn once into the cache, the same ones on every machine."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from finetune.errors import DataError, ResourceError
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

_ABANDONED_AFTER_S = 3600.0


def load_sample(cache: Path, reporter: Reporter) -> Dataset:
    """Return the drawn sample, drawing it into ``cache`` unless it is there.

    Raises ``ResourceError`` where the cache cannot be written, ``DataError`` where pictures have gone from it.
    """
    folder = cache / f"sample-v{VERSION}"
    if not folder.is_dir():
        try:
            _draw_into(folder, reporter)
        except OSError as error:
            reason = error.strerror or error
            raise ResourceError(f"Cannot write the sample to {folder}: {reason}. Free or change the cache.") from error
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


def _draw_into(folder: Path, reporter: Reporter) -> None:
    """Draw beside the final name and move there at the end, so that the name never stands for half a set."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _draw_all(unfinished, reporter)
        _publish(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _draw_all(folder: Path, reporter: Reporter) -> None:
    reporter.begin("Drawing the sample of dogs", len(BREEDS) * PER_BREED)
    for breed in BREEDS:
        (folder / breed.name).mkdir()
        for index in range(PER_BREED):
            (folder / breed.name / f"{index:03d}.jpg").write_bytes(jpeg(draw(breed, index, SEED)))
            reporter.advance(detail=breed.name)
    reporter.end()


def _publish(unfinished: Path, folder: Path) -> None:
    unfinished.chmod(0o755)  # mkdtemp made it for this user only
    try:
        unfinished.replace(folder)
    except OSError:
        # Another process was first; its pictures are the same.
        if not folder.is_dir():
            raise


def _sweep(folder: Path) -> None:
    """Remove what runs that were killed have left; one that is being drawn right now is younger."""
    for old in folder.parent.glob(f".{folder.name}-*"):
        if time.time() - old.stat().st_mtime > _ABANDONED_AFTER_S:
            shutil.rmtree(old, ignore_errors=True)
