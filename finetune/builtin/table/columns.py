"""Which column of a table holds what: as the user says, or by the names that columns usually have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from finetune.builtin.labels import composed
from finetune.builtin.table.reading import Table
from finetune.errors import ConfigError, DataError
from finetune.names import unknown_name
from finetune.types import Columns

IMAGE_NAMES = ("image", "path", "file", "filename", "image_path")
LABEL_NAMES = ("label", "labels")
PART_NAME, GROUP_NAME, SHA256_NAME = "split", "group", "sha256"
MOST_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The columns of a table that are read. None: the table has none such."""

    image: str
    labels: tuple[str, ...]
    part: str | None = None
    group: str | None = None
    sha256: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Every column once, the labels at the end."""
        single = (self.image, self.part, self.group, self.sha256)
        return (*(name for name in single if name is not None), *self.labels)


def choose(table: Table, said: Columns) -> tuple[Chosen, list[str]]:
    """Return the columns to read, and sentences on those that were taken for their names alone.

    Raises ``ConfigError`` for a column that the table lacks or that was given twice, ``DataError`` where none has the
    name that is usual.
    """
    free = _free(table, said)
    sha256 = _usual(free, (SHA256_NAME,))
    # The split of an earlier run calls the column 'part'; elsewhere that word may mean anything.
    parts = (PART_NAME, "part") if sha256 else (PART_NAME,)
    chosen = Chosen(
        image=_given(table, said.image) or _needed(table, free, IMAGE_NAMES, "--image-col"),
        labels=_several(table, said.labels) or (_needed(table, free, LABEL_NAMES, "--label-col"),),
        part=_given(table, said.part) or _usual(free, parts),
        group=_given(table, said.group) or _usual(free, (GROUP_NAME,)),
        sha256=sha256,
    )
    _refuse_twice(chosen)
    return chosen, list(_notes(chosen, said, table.header))


def _free(table: Table, said: Columns) -> list[str]:
    """Return the columns that the user has not named for anything."""
    named = {_given(table, name) for name in (said.image, *said.labels, said.part, said.group)}
    return [name for name in table.header if name not in named]


def _several(table: Table, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for given in names if (name := _given(table, given)))


def _given(table: Table, name: str | None) -> str | None:
    if name is None or (name := composed(name.strip())) in table.header:
        return name
    raise ConfigError(unknown_name(f"column of {table.path.name}", name, filter(None, table.header)))


def _usual(header: Sequence[str], names: Iterable[str]) -> str | None:
    return next((column for name in names for column in header if column.casefold() == name), None)


def _needed(table: Table, free: Sequence[str], names: Sequence[str], option: str) -> str:
    if found := _usual(free, names) or _usual(table.header, names):
        return found
    shown = ", ".join(filter(None, table.header[:MOST_SHOWN])) + (", …" if len(table.header) > MOST_SHOWN else "")
    content = "pictures' paths" if names is IMAGE_NAMES else "labels"
    raise DataError(
        f"{table.path} has no column called {', '.join(names[:-1])} or {names[-1]}; its columns are {shown}. Say with "
        f"{option} which holds the {content}."
    )


def _refuse_twice(chosen: Chosen) -> None:
    for position, name in enumerate(chosen.names):
        if name in chosen.names[:position]:
            raise ConfigError(f"The column '{name}' is named for two things; give each a column of its own.")


def _notes(chosen: Chosen, said: Columns, header: Sequence[str]) -> Iterable[str]:
    if chosen.part and not said.part:
        yield f"The column '{chosen.part}' says which part a picture belongs to."
    if chosen.group and not said.group:
        yield f"The column '{chosen.group}' says which pictures stay together."
    others = [name for name in header if name.casefold() in IMAGE_NAMES and name != chosen.image]
    if others and not said.image:
        yield f"The column '{chosen.image}' holds the pictures' paths; '{others[0]}' would with --image-col."
