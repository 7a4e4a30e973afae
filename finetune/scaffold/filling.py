"""Templates into files: the rooms of ``templates/`` that a distribution is made of, and the words they leave open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from string import Template

_SUFFIX = ".template"
_HIDDEN = "dot."
"""What the names of hidden files begin with among the templates, so that tools do not take them for ours."""


def fill(folder: Path, *rooms: str, words: Mapping[str, str]) -> None:
    """Write every file of these rooms into a folder; ``words`` stand for the placeholders, in names and in texts."""
    for room in rooms:
        for place, file in _files(files("finetune.scaffold") / "templates" / room, PurePosixPath()):
            path = folder / Template(place.removesuffix(_SUFFIX)).substitute(words)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(Template(file.read_text(encoding="utf-8")).substitute(words), encoding="utf-8")


def _files(folder: Traversable, above: PurePosixPath) -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        hidden = entry.name.startswith(_HIDDEN)
        place = above / (entry.name.replace(_HIDDEN, ".", 1) if hidden else entry.name)
        if entry.is_dir():
            yield from _files(entry, place)
        elif entry.name.endswith(_SUFFIX):
            yield str(place), entry
