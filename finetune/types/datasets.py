"""Data sets: what plugins register, what their ``load`` is asked for, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from finetune.config import RunOptions
from finetune.types.common import Part, Reporter, Task


@dataclass(frozen=True, kw_only=True)
class Example:
    """One picture and what it shows, in the form that the data set's task has.

    A single ``label``; or ``labels``, which may be none at all; or ``values``, finite numbers in the order of the data
    set's labels. ``part`` is where the data set says that the picture belongs; None for all pictures but those of a
    'test' part, or for none. ``group`` is what must not be divided between parts: the patient, the animal, the scene.
    """

    path: Path
    label: str = ""
    labels: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    part: Part | None = None
    group: str | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Pictures at hand, ready to be audited and split.

    ``labels`` is the order of the network's outputs; for regression, the names of the values. ``source`` and
    ``licence`` go into every model trained on it, so they name where the pictures come from, and never a path of this
    machine. ``notes`` are sentences that the run repeats to the user, for one: that a sample stands in for the real
    set, and how to get the real one. ``ignored`` are files that lay among the pictures and are none by their name.
    """

    name: str
    examples: tuple[Example, ...]
    labels: tuple[str, ...]
    source: str
    licence: str
    task: Task = "single-label"
    notes: tuple[str, ...] = ()
    ignored: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where a table has what, as the user said it; None or empty: where it usually is.

    ``task`` is None where the form of the labels decides. Rows of pictures that are not there are left out where
    ``skip_missing`` is set, and refused otherwise.
    """

    task: Task | None = None
    image: str | None = None
    labels: tuple[str, ...] = ()
    separator: str | None = None
    part: str | None = None
    group: str | None = None
    skip_missing: bool = False


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place where a data set's pictures come from, with the recipe that suits it.

    ``accepts_data``: a copy at hand, given with ``--data``, is taken for this source. ``accepts_name``: what is
    published under a name, given with ``--name``, is fetched from it. ``has_columns``: it is a table, of which
    ``--label-col`` and its like are asked.
    """

    name: str
    summary: str
    accepts_data: bool = False
    accepts_name: bool = False
    has_columns: bool = False
    recipe: RunOptions = field(default_factory=RunOptions)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Options under a name, for one: those of a published system; asked for with ``--recipe``."""

    name: str
    summary: str
    options: RunOptions


@dataclass(frozen=True, kw_only=True)
class DatasetRequest:
    """What a data set's ``load`` function is asked for.

    ``data`` is the user's own copy (then nothing may be downloaded), ``name`` the one under which it is published;
    ``cache`` is a folder that belongs to this data set alone and survives between runs; it may have to be made.
    ``columns`` say what a table has where.
    """

    source: str
    data: Path | None
    cache: Path
    reporter: Reporter
    name: str | None = None
    columns: Columns = field(default_factory=Columns)


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A registered data set; ``load`` names a ``(DatasetRequest) -> Dataset`` function.

    The first source is the default. A recipe that is asked for is laid over the source's own.
    """

    name: str
    summary: str
    sources: tuple[Source, ...]
    load: str
    recipes: tuple[Recipe, ...] = ()
    needs_data: bool = False
