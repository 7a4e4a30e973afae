"""What the labels of a table say: which task they are for, and how the cells of a line are read for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from finetune.builtin.labels import composed, has_control_character
from finetune.builtin.table.problems import Kind, UnfitError
from finetune.builtin.table.reading import Line
from finetune.errors import ConfigError, DataError
from finetune.types import Columns, Task

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
SWITCHES = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
FIRST_INFINITE = 2.0**128 - 2.0**103
"""From here on, float32, which targets are, rounds to infinity."""

EMPTY = Kind("without a label or value", "Fill it in, or remove the row.")
NOT_A_NAME = Kind("with a control character in the label", "Remove it.")
NOT_A_NUMBER = Kind("without a finite number", "Write numbers as 3.25 or 1e-3, or choose another --label-col.")
NOT_A_SWITCH = Kind("with neither yes nor no", "Write 0 or 1, true or false, yes or no.")

Reader = Callable[[Sequence[str]], dict[str, Any]]
"""From the cells of the label columns to that argument of an ``Example``; raises ``UnfitError``."""


@dataclass
class Survey:
    """What the cells of the label columns look like: the first of each kind that rules something out, as said of it."""

    no_number: str = ""
    no_switch: str = ""
    decimal: str = ""
    divided: str = ""
    switched: dict[str, bool] = field(default_factory=dict)
    """For each column that is not empty, whether all its cells are switches."""

    def look_at(self, lines: Iterable[Line], columns: Sequence[str], unit: str) -> Survey:
        """Look at every cell that is not empty, and return the survey."""
        for number, cells in lines:
            for column, cell in zip(columns, map(str.strip, cells), strict=True):
                if cell:
                    self.switched[column] = self.switched.get(column, True) and cell.lower() in SWITCHES
                for name in _ruled_out_by(cell) if cell else ():
                    if not getattr(self, name):
                        setattr(self, name, f"{unit} {number} has '{cell[:40]}' in the column '{column}'")
        return self


def _ruled_out_by(cell: str) -> Iterator[str]:
    number = NUMBER.fullmatch(cell)
    if not number:
        yield "no_number"
    elif not WHOLE.fullmatch(cell):
        yield "decimal"
    if cell.lower() not in SWITCHES:
        yield "no_switch"
    if "|" in cell:
        yield "divided"


def task_as_said(said: Columns, columns: Sequence[str]) -> Task | None:
    """Return the task where the options alone decide it; raise ``ConfigError`` where they contradict each other."""
    several = len(columns) > 1
    if said.separator and (several or said.task not in (None, "multi-label")):
        other = f"--task {said.task}" if said.task not in (None, "multi-label") else "several --label-col"
        raise ConfigError(f"--label-separator divides the labels in one column, and {other} has none; leave out one.")
    if said.task == "single-label" and several:
        raise ConfigError(f"--task single-label takes one column, and --label-col names {len(columns)}; name one.")
    if said.task == "multi-label" and not several and not said.separator:
        raise ConfigError(
            f"--task multi-label needs --label-separator, for the labels in the column '{columns[0]}', or a "
            "--label-col for each label."
        )
    return "multi-label" if said.separator else said.task


def task_by_form(survey: Survey, columns: Sequence[str]) -> Task:
    """Return the task that the cells are of, where nobody said it.

    Raises ``ConfigError`` where they may be of two, ``DataError`` where they are of none.
    """
    if len(columns) == 1:
        return _task_of_one(survey)
    if not survey.no_switch:
        return "multi-label"
    if not survey.no_number:
        _refuse_stray(survey)
        return "regression"
    raise DataError(
        f"{survey.no_number}, which is no number, and {survey.no_switch}, which is none of 0, 1, true, false, yes and "
        "no. Several label columns hold either; choose others with --label-col."
    )


def _refuse_stray(survey: Survey) -> None:
    """Refuse numbers beside a column of 0 and 1: one that is mistyped would make values of all labels."""
    if switched := next((column for column, only in survey.switched.items() if only), None):
        raise ConfigError(
            f"{survey.no_switch}, while '{switched}' holds only 0 and 1: values or labels? Say --task regression, or "
            "correct the cell to 0 or 1."
        )


def _task_of_one(survey: Survey) -> Task:
    if survey.decimal and not survey.no_number:
        raise ConfigError(f"{survey.decimal}: a value or a label? Say --task regression or --task single-label.")
    if survey.divided:
        raise ConfigError(f"{survey.divided}: one label or several? Say --task single-label or --label-separator '|'.")
    return "single-label"


def reader(task: Task, columns: Sequence[str], separator: str | None) -> Reader:
    """Return how the cells of a line are read for a task."""
    if task == "single-label":
        return _one
    if task == "regression":
        return partial(_values, columns)
    return partial(_divided, separator) if separator else partial(_switched, columns)


def _one(cells: Sequence[str]) -> dict[str, Any]:
    label = _name(cells[0])
    if not label:
        raise UnfitError(EMPTY, "its label is empty")
    return {"label": label}


def _divided(separator: str, cells: Sequence[str]) -> dict[str, Any]:
    names = map(_name, cells[0].split(separator))
    return {"labels": tuple(dict.fromkeys(name for name in names if name))}


def _name(text: str) -> str:
    name = composed(text.strip())
    if has_control_character(name):
        raise UnfitError(NOT_A_NAME, f"the label {name!r} has a line break or control character")
    return name


def _switched(columns: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    return {"labels": tuple(c for c, cell in zip(columns, cells, strict=True) if _switch(c, cell.strip()))}


def _switch(column: str, cell: str) -> bool:
    if not cell:
        raise UnfitError(EMPTY, f"the column '{column}' is empty")
    if cell.lower() not in SWITCHES:
        raise UnfitError(NOT_A_SWITCH, f"'{cell[:40]}' in the column '{column}' is neither 0 nor 1")
    return SWITCHES[cell.lower()]


def _values(columns: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    return {"values": tuple(_value(c, cell.strip()) for c, cell in zip(columns, cells, strict=True))}


def _value(column: str, cell: str) -> float:
    if not cell:
        raise UnfitError(EMPTY, f"the column '{column}' is empty")
    if not NUMBER.fullmatch(cell) or abs(float(cell)) >= FIRST_INFINITE:
        raise UnfitError(NOT_A_NUMBER, f"'{cell[:40]}' in the column '{column}' is no finite number")
    return float(cell)
