"""Which columns of a set are trained on, and for which task: as the user says, or by what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from finetune.errors import ConfigError, DataError
from finetune.names import unknown_name
from finetune.types import Columns, Task
from finetune_hf.features import Feature, Kind

PICTURE_NAMES = ("image", "img", "picture")
LABEL_NAMES = ("label", "labels")
LABEL_KINDS: frozenset[Kind] = frozenset({"class", "text", "whole number", "truth value"})


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The columns that are read, with what they hold, and the task they are for."""

    image: str
    labels: tuple[str, ...]
    group: str | None
    task: Task
    features: Mapping[str, Feature]

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that is read: the pictures', the group's if there is one, the labels'."""
        return (self.image, *((self.group,) if self.group else ()), *self.labels)


def choose(features: Mapping[str, Feature], said: Columns) -> Chosen:
    """Return what to read of a set with these columns.

    Raises ``ConfigError`` for options that do not fit the set, ``DataError`` where it has no pictures or no labels.
    """
    for option, value in (
        ("--label-separator", said.separator),
        ("--split-col", said.part),
        ("--skip-missing", said.skip_missing),
    ):
        if value:
            raise ConfigError(f"{option} is for tables of paths; a set of the hub says it itself. Leave it out.")
    for name in filter(None, (said.image, said.group, *said.labels)):
        if name not in features:
            raise ConfigError(unknown_name("column of the set", name, features))
    image = said.image or _pictures(features)
    if features[image] != Feature("picture"):
        raise ConfigError(f"The column '{image}' holds {features[image]}, and no pictures. {_listed(features)}")
    labels = said.labels or (_labels(features),)
    task = _task(labels, features, said.task)
    return Chosen(image=image, labels=labels, group=said.group, task=task, features=features)


def _pictures(features: Mapping[str, Feature]) -> str:
    found = [name for name, feature in features.items() if feature == Feature("picture")]
    usual = [name for name in PICTURE_NAMES if name in found]
    if not usual and len(found) != 1:
        number = f"{len(found)} columns of pictures" if found else "no column of pictures"
        raise DataError(f"The set has {number}. {_listed(features)} Say which with --image-col.")
    return usual[0] if usual else found[0]


def _labels(features: Mapping[str, Feature]) -> str:
    usual = [name for name in LABEL_NAMES if name in features]
    classes = [name for name, feature in features.items() if feature.kind == "class"]
    if not usual and len(classes) != 1:
        number = f"{len(classes)} columns of classes" if classes else "no column called label or labels"
        raise DataError(f"The set has {number}. {_listed(features)} Say which with --label-col.")
    return usual[0] if usual else classes[0]


def _task(labels: tuple[str, ...], features: Mapping[str, Feature], said: Task | None) -> Task:
    possible = _possible(tuple(features[name] for name in labels))
    if not possible or said not in (None, *possible):
        held = ", ".join(f"'{name}' ({features[name]})" for name in labels)
        allowed = f"--task {' or '.join(possible)}" if possible else "another --label-col"
        asked = f"--task {said} is not possible" if said else "No task is possible"
        raise ConfigError(f"{asked} with the column(s) {held}; give {allowed}.")
    return said or possible[0]


def _possible(columns: tuple[Feature, ...]) -> tuple[Task, ...]:
    """Return the tasks that label columns allow, the likeliest first."""
    kinds = {column.kind for column in columns}
    if len(columns) == 1 and columns[0].is_list:
        return ("multi-label",) if kinds <= LABEL_KINDS else ()
    if any(column.is_list for column in columns):
        return ()
    if len(columns) > 1:
        return ("multi-label",) if kinds == {"truth value"} else ("regression",) if _are_numbers(kinds) else ()
    if kinds == {"number"}:
        return ("regression",)
    if kinds == {"whole number"}:
        return ("single-label", "regression")
    return ("single-label",) if kinds <= LABEL_KINDS else ()


def _are_numbers(kinds: set[Kind]) -> bool:
    return kinds <= {"number", "whole number"}


def _listed(features: Mapping[str, Feature]) -> str:
    return "Its columns are " + ", ".join(f"{name} ({feature})" for name, feature in list(features.items())[:12]) + "."
