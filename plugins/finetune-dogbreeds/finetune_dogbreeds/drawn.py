"""A drawn set of pictures: drawn once into the cache, the same ones on every machine, whole or not at all."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from finetune.download import whole_folder, writing_to
from finetune.errors import DataError
from finetune.types import Dataset, Example, Reporter
from finetune_dogbreeds.breeds import Breed
from finetune_dogbreeds.processes import Task, drawn_files
from finetune_export.machine import cores

LICENCE = "Apache-2.0 (drawn by finetune-dogbreeds)"
WORTH_A_PROCESS = 200
"""So many pictures, two seconds of work, for each process: to start one takes some tenths of a second."""


@dataclass(frozen=True, kw_only=True)
class DrawnSet:
    """Pictures to be drawn: ``per_breed`` of each of the ``breeds``, or kinds, which are its labels.

    ``source`` is its name, as ``--source`` takes it, and ``what`` its name in a sentence. ``version`` is raised when a
    change of the drawing changes pictures: what an older one has left in the cache is then let alone.
    """

    source: str
    what: str
    version: int
    breeds: tuple[Breed, ...]
    per_breed: int
    notes: tuple[str, ...]
    seed: int = 0

    @property
    def folder(self) -> str:
        """The name of its folder in the cache."""
        return f"{self.source}-v{self.version}"

    def tasks(self) -> list[Task]:
        """Return what there is to draw, breed by breed."""
        return [(breed, index) for breed in self.breeds for index in range(self.per_breed)]


def load_drawn(drawn: DrawnSet, cache: Path, reporter: Reporter) -> Dataset:
    """Return the drawn pictures, drawing them into ``cache`` unless they are there.

    Raises ``ResourceError`` where the cache cannot be written or processes end, ``DataError`` where pictures have gone
    from it.
    """
    folder = cache / drawn.folder
    if not folder.is_dir():
        with writing_to(folder), whole_folder(folder) as unfinished:
            _draw_all(drawn, unfinished, reporter)
    examples = tuple(Example(path=folder / _place(task), label=task[0].name) for task in drawn.tasks())
    _check_complete(folder, examples)
    return Dataset(
        name="dogbreeds",
        examples=examples,
        labels=tuple(sorted({example.label for example in examples})),
        source=drawn.source,
        licence=LICENCE,
        notes=drawn.notes,
    )


def _place(task: Task) -> str:
    breed, index = task
    return f"{breed.name}/{index:03d}.jpg"


def _check_complete(folder: Path, examples: tuple[Example, ...]) -> None:
    missing = [example.path for example in examples if not example.path.is_file()]
    if missing:
        gone = f"{len(missing)} of {len(examples)} pictures"
        raise DataError(f"{gone} have gone from {folder}. Delete that folder; the next run draws it anew.")


def _draw_all(drawn: DrawnSet, folder: Path, reporter: Reporter) -> None:
    tasks = drawn.tasks()
    reporter.begin(f"Drawing {drawn.what}", len(tasks), "pictures")
    for breed in drawn.breeds:
        (folder / breed.name).mkdir()
    # Others draw, and only this process writes: what it leaves when it is stopped, nobody adds to.
    with contextlib.closing(drawn_files(tasks, drawn.seed, min(cores(), len(tasks) // WORTH_A_PROCESS))) as files:
        for task, file in zip(tasks, files, strict=True):
            (folder / _place(task)).write_bytes(file)
            reporter.advance(detail=task[0].name)
    reporter.end()
