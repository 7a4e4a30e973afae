"""From the folders of several runs to the page that compares them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from finetune.errors import ConfigError
from finetune.evaluation.catalogue import shares_of
from finetune.plugins import load_plugins
from finetune.report.asking import Asked
from finetune.report.comparison import differing, facts, results
from finetune.report.comparison.comparing import Comparison, compare
from finetune.report.comparison.folders import runs_in
from finetune.report.reading import DAMAGED
from finetune.report.rendering import page
from finetune.run_folder import write, writing
from finetune.types import Block

COMPARISON = "comparison.html"
SUFFIXES = (".html", ".htm")
TITLE = "Comparison of {} runs"
_TITLED = re.compile(rb"<title>" + TITLE.format("[0-9]+").encode() + rb"</title>")
_HEAD_BYTES = 4096  # the title is among the first thousand
SECTIONS: tuple[tuple[str, str, Callable[[Comparison], Iterable[Block]]], ...] = (
    ("glance", "At a glance", results.glance),
    ("paired", "On the same pictures", results.on_shared_pictures),
    ("pictures", "Where they part", differing.pictures),
    ("classes", "Classes", differing.classes),
    ("scores", "Scores", results.scores),
    ("curves", "Learning curves", facts.curves),
    ("settings", "What differs between them", facts.settings),
    ("calibration", "Calibration", facts.calibration),
    ("cost", "Time and size", facts.cost),
    ("verification", "Verification", facts.verification),
)


class Compared(NamedTuple):
    """Where the page is, and what is on it."""

    path: Path
    comparison: Comparison


def make_comparison(
    folders: Sequence[Path], note: Callable[[str], None], *, out: Path | None = None, data: Path | None = None
) -> Compared:
    """Write the page that compares the runs in ``folders``, each held against the first.

    It is ``out``, or ``comparison.html`` in the folder that holds the first run's, and takes the place of a comparison
    alone. A cross-validation stands for its folds. ``data`` is the folder where the pictures are now, if they moved.
    Damage to a record that only a section needs leaves a word in its place; ``note`` says so, too. Raises
    ``ConfigError`` for folders and runs that cannot be compared and for another file in the page's place, ``DataError``
    for ``data`` that is no folder, and ``ResourceError`` where the page cannot be written.
    """
    if out is not None and out.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--out {out} is no name of a page; let it end in {' or '.join(SUFFIXES)}.")
    runs = runs_in(folders)
    path = runs[0].parent / COMPARISON if out is None else out
    _refuse_what_is_no_comparison(path)
    comparison = compare(runs, shares_of(load_plugins().metrics), data)
    title = TITLE.format(len(runs))
    # A file name may hold bytes that are no text; they are escaped as in the runs' records.
    html = page(title, ", ".join(_named(comparison)), _asked(comparison, note))
    write(path, html.encode(errors="backslashreplace"))
    return Compared(path, comparison)


def _refuse_what_is_no_comparison(path: Path) -> None:
    """Raise ``ConfigError`` where a page would take the place of what is none of its kind."""
    if path.is_file():
        with writing(path), path.open("rb") as file:
            is_ours = _TITLED.search(file.read(_HEAD_BYTES))
        if not is_ours:
            raise ConfigError(f"{path} is no comparison of runs, and stays as it is. Name another page with --out.")


def _named(comparison: Comparison) -> list[str]:
    return [f"{run.letter}: {run.name}" for run in comparison.runs]


def _asked(comparison: Comparison, note: Callable[[str], None]) -> list[Asked]:
    asked = []
    for name, title, build in SECTIONS:
        try:
            asked.append(Asked(name=name, title=title, blocks=tuple(build(comparison))))
        except DAMAGED as error:
            problem = f"A run's records are damaged: {' '.join(str(error).split()) or type(error).__name__}"
            note(f"The comparison goes without the section '{title}'. {problem}")
            asked.append(Asked(name=name, title=title, problem=problem))
    return [section for section in asked if section.blocks or section.problem]
