"""From an open table to a data set: lines become examples, and what is wrong with any of them is told once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from finetune.builtin.labels import alike
from finetune.builtin.table.columns import Chosen, choose
from finetune.builtin.table.forms import Reader, Survey, reader, task_as_said, task_by_form
from finetune.builtin.table.places import MISSING, Places
from finetune.builtin.table.problems import Kind, Problems, UnfitError
from finetune.builtin.table.reading import Table, open_table
from finetune.errors import DataError
from finetune.types import Columns, Dataset, DatasetRequest, Example, Part, Task

LOCAL = "a local table"
"""What the contract says of the source: where it lay is the user's own business, and not the model's."""
PARTS: dict[str, Part] = {
    "train": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
}
NO_PART = Kind("without a known part", "Write train, valid or test, or rename the column.")
MOST_LISTED = 5
"""So many pictures with rows that differ are listed."""


def load(request: DatasetRequest) -> Dataset:
    """Return the pictures of the table ``request.data``.

    Raises ``DataError`` for a table that cannot be trained on, ``ConfigError`` where the options do not fit it, and
    ``ResourceError`` where it needs a package that is not installed.
    """
    assert request.data is not None, "the run asks for --data where needs_data is set"
    table = open_table(request.data)
    request.reporter.begin("Reading the table")
    try:
        return _read(table, request.columns)
    except OSError as error:
        raise DataError(f"{error.filename or table.path} cannot be read: {error.strerror or error}.") from error
    finally:
        request.reporter.end()


def _read(table: Table, said: Columns) -> Dataset:
    chosen, notes = choose(table, said)
    task, more = _task(table, chosen, said)
    rows = _Rows(table, chosen, reader(task, chosen.labels, said.separator), said.skip_missing)
    examples = rows.examples()
    labels = _labels(table, task, chosen, said.separator, examples)
    without = sum(not example.labels for example in examples) if task == "multi-label" else 0
    return Dataset(
        name=table.path.stem,
        examples=examples,
        labels=labels,
        source=LOCAL,
        licence="unknown",
        task=task,
        notes=(
            *notes,
            *more,
            *rows.notes(),
            *_ungrouped(chosen, examples),
            *([f"No label applies to {without} of {len(examples)} pictures."] if without else []),
            *(alike(labels) if task != "regression" else []),
        ),
    )


def _task(table: Table, chosen: Chosen, said: Columns) -> tuple[Task, list[str]]:
    if task := task_as_said(said, chosen.labels):
        return task, []
    survey = Survey().look_at(table.lines(chosen.labels), chosen.labels, table.unit)
    task = task_by_form(survey, chosen.labels)
    if task == "single-label" and not survey.no_number:
        note = f"The numbers in the column '{chosen.labels[0]}' count as labels; for amounts say --task regression."
        return task, [note]
    return task, []


def _labels(
    table: Table, task: Task, chosen: Chosen, separator: str | None, examples: tuple[Example, ...]
) -> tuple[str, ...]:
    if not examples:
        raise DataError(f"{table.path} names no pictures. Its columns are the first line, and its pictures follow.")
    if task == "regression":
        return chosen.labels
    shown = {label for example in examples for label in (example.labels if task == "multi-label" else (example.label,))}
    labels = chosen.labels if task == "multi-label" and not separator else tuple(sorted(shown))
    if unused := [label for label in labels if label not in shown]:
        raise DataError(f"{table.path}: the label '{unused[0]}' applies to no picture. Leave its column out.")
    if len(labels) < (2 if task == "single-label" else 1):
        found = f"one label, '{labels[0]}'; at least two are" if labels else "no labels; at least one is"
        raise DataError(f"{table.path} holds {found} needed. See --label-col and --task.")
    return labels


def _ungrouped(chosen: Chosen, examples: tuple[Example, ...]) -> Iterator[str]:
    without = sum(example.group is None for example in examples)
    if chosen.group and without:
        yield (
            f"The column '{chosen.group}' is empty for {without} of {len(examples)} pictures; each of them counts as a "
            "group of its own."
        )


@dataclass
class _Rows:
    """Reads a table's lines into examples, each picture's row once."""

    table: Table
    chosen: Chosen
    read: Reader
    skip_missing: bool
    _seen: dict[Path, tuple[int, Example]] = field(default_factory=dict)
    _missing: list[tuple[int, str]] = field(default_factory=list)
    _repeated: list[int] = field(default_factory=list)
    _differing: list[str] = field(default_factory=list)

    def examples(self) -> tuple[Example, ...]:
        """Return the examples in the order of their rows; raise ``DataError`` where any line is wrong."""
        problems = Problems(str(self.table.path), self.table.unit)
        found = tuple(self._found(problems))
        problems.refuse()
        if self._missing and not found:
            line, text = self._missing[0]
            raise DataError(
                f"None of the {len(self._missing)} pictures of {self.table.path} is there; {self.table.unit} {line}: "
                f"{text}. Paths are relative to the table's folder."
            )
        return found

    def notes(self) -> Iterator[str]:
        """Yield what was left out or is odd."""
        if self._missing:
            line, text = self._missing[0]
            yield f"Left out {len(self._missing)} row(s), first {self.table.unit} {line}: {text}."
        if self._repeated:
            first = f"{self.table.unit} {self._repeated[0]}"
            yield f"{len(self._repeated)} row(s) say again what another says, and count once; first {first}."
        if self._differing:
            listed = "; ".join(self._differing[:MOST_LISTED]) + ("; …" if len(self._differing) > MOST_LISTED else "")
            yield f"{len(self._differing)} row(s) say something else of a picture than another row: {listed}."

    def _found(self, problems: Problems) -> Iterator[Example]:
        places = Places(self.table.path.parent)
        for line, cells in self.table.lines(self.chosen.names, problems):
            try:
                example = self._example(places, cells)
            except UnfitError as error:
                if error.kind is MISSING and self.skip_missing:
                    self._missing.append((line, str(error)))
                else:
                    problems.add(line, error)
            else:
                if self._is_new(line, example):
                    yield example

    def _example(self, places: Places, cells: tuple[str, ...]) -> Example:
        cell = dict(zip(self.chosen.names, cells, strict=True))
        path = places.find(cell[self.chosen.image], cell.get(self.chosen.sha256 or "", "").strip())
        shown = self.read(cells[len(cells) - len(self.chosen.labels) :])
        group = cell[self.chosen.group].strip() if self.chosen.group else ""
        part = _part(cell[self.chosen.part]) if self.chosen.part else None
        return Example(path=path, part=part, group=group or None, **shown)

    def _is_new(self, line: int, example: Example) -> bool:
        first_line, first = self._seen.setdefault(example.path, (line, example))
        if first is example:
            return True
        if first == example:
            self._repeated.append(line)
            return False
        self._differing.append(f"{example.path} in {self.table.unit}s {first_line} and {line}")
        return True


def _part(cell: str) -> Part | None:
    word = cell.strip().lower()
    if word and word not in PARTS:
        raise UnfitError(NO_PART, f"'{cell.strip()[:40]}' is no part")
    return PARTS.get(word)
