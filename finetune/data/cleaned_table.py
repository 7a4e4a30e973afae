"""A data set without what an audit found wrong, as a table; the pictures stay where and as they are."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from finetune.data.audit import Audit
from finetune.data.findings import what_it_shows
from finetune.data.units import Grouping, common_root
from finetune.errors import ConfigError
from finetune.types import Dataset, Example

LABEL_SEPARATOR = "|"
Row = tuple[str, ...]


def check_place(table: Path, dataset: Dataset) -> None:
    """Raise ``ConfigError`` unless the table can be written: a new .csv file, in or above the pictures' folder."""
    if table.suffix.lower() != ".csv":
        raise ConfigError(f"--fix {table} is not allowed; give a file name that ends with .csv.")
    if table.exists():
        raise ConfigError(f"--fix {table} exists, and nothing is ever written over; give another name, or remove it.")
    if not table.absolute().parent.is_dir():
        raise ConfigError(f"--fix {table}: its folder does not exist. Make it first, or give another.")
    places = _Places(table)
    outside = [example.path for example in dataset.examples if places.of(example.path) is None]
    if outside:
        root = common_root([example.path for example in dataset.examples])
        raise ConfigError(
            f"--fix {table} is not allowed: {len(outside)} picture(s) are not below its folder, first {outside[0]}, "
            f"and a table may not point outside. Give --fix {root / table.name}."
        )


def cleaned(audit: Audit) -> list[Example]:
    """Return the pictures without unreadable ones, later copies, and equal ones that have different labels."""
    answers: dict[str, set[object]] = {}
    for picture in audit.checked:
        answers.setdefault(picture.sha256, set()).add(what_it_shows(picture.example))
    first = {picture.sha256: picture.example for picture in reversed(audit.checked)}
    return [
        picture.example
        for picture in audit.checked
        if first[picture.sha256] is picture.example and len(answers[picture.sha256]) == 1
    ]


def rows_of(table: Path, examples: Sequence[Example], dataset: Dataset, grouping: Grouping) -> Iterator[Row]:
    """Yield the header and a row for each picture.

    The columns are ``image``, a path relative to the table's folder; ``label``, or ``labels`` separated by '|', or one
    column for each value; and ``split`` and ``group`` where the data set says them.
    """
    places = _Places(table)
    has_parts = any(example.part for example in examples)
    has_groups = any(grouping(example) for example in examples)
    yield ("image", *_label_columns(dataset), *(("split",) if has_parts else ()), *(("group",) if has_groups else ()))
    for example in examples:
        parts = (example.part or "",) if has_parts else ()
        groups = (grouping(example) or "",) if has_groups else ()
        yield (places.of(example.path) or "", *_label_cells(example, dataset), *parts, *groups)


def command_for(table: Path, dataset: Dataset) -> str:
    """Return the command that trains on the table."""
    several = ["--label-separator", LABEL_SEPARATOR] if dataset.task == "multi-label" else []
    values = [word for name in dataset.labels for word in ("--label-col", name)] if dataset.task == "regression" else []
    task = ["--task", dataset.task] if values else []
    return shlex.join(["finetune", "run", "--data", str(table), *several, *values, *task])


def _label_columns(dataset: Dataset) -> Row:
    if dataset.task == "regression":
        return dataset.labels
    return ("label",) if dataset.task == "single-label" else ("labels",)


def _label_cells(example: Example, dataset: Dataset) -> Row:
    if dataset.task == "regression":
        return tuple(map(repr, example.values))
    return (example.label,) if dataset.task == "single-label" else (LABEL_SEPARATOR.join(example.labels),)


class _Places:
    """Where pictures are, seen from a table; each folder is looked up once."""

    def __init__(self, table: Path) -> None:
        self._root = table.absolute().parent.resolve()
        self._folders: dict[Path, str | None] = {}

    def of(self, picture: Path) -> str | None:
        """Return the picture's path relative to the table's folder, with forward slashes; None if it is outside."""
        folder = picture.parent
        if folder not in self._folders:
            real = folder.resolve()
            below = real.is_relative_to(self._root)
            self._folders[folder] = real.relative_to(self._root).as_posix() if below else None
        place = self._folders[folder]
        return None if place is None else (Path(place) / picture.name).as_posix()
