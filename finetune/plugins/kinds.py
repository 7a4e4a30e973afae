"""The kinds of things that plugins register, and what a thing of each kind has to be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune.config import resolve
from finetune.types import (
    Backbone,
    Command,
    DatasetSpec,
    ExportTarget,
    Metric,
    Recipe,
    ReportSection,
    Source,
    TrainingCallback,
)

REFERENCE = re.compile(r"\w+(\.\w+)*:\w+")
NAME = re.compile(r"\w[\w.:+-]*")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of registered things: its name, its hook, its type, and the attribute that names its function."""

    name: str
    type: type[Any]
    function: str

    @property
    def hook(self) -> str:
        """The name of the hook that registers such things."""
        return f"finetune_register_{self.name}s"


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(name="dataset", type=DatasetSpec, function="load"),
        Kind(name="backbone", type=Backbone, function="build"),
        Kind(name="target", type=ExportTarget, function="export"),
        Kind(name="metric", type=Metric, function="measure"),
        Kind(name="callback", type=TrainingCallback, function="build"),
        Kind(name="section", type=ReportSection, function="build"),
        Kind(name="command", type=Command, function="run"),
    )
}


def check(kind: Kind, item: Any) -> None:
    """Raise ``TypeError`` unless ``item`` is a well-formed thing of this kind."""
    if not isinstance(item, kind.type):
        raise TypeError(f"register() of {kind.name}s takes a {kind.type.__name__}, got {type(item).__name__}")
    if not (isinstance(item.name, str) and NAME.fullmatch(item.name)):
        raise TypeError(f"name={item.name!r} of a {kind.name} is not a name: letters, digits and _ . : + - only")
    reference = getattr(item, kind.function)
    if not (isinstance(reference, str) and REFERENCE.fullmatch(reference)):
        raise TypeError(f"{kind.function}={reference!r} of {kind.name} '{item.name}' is not 'package.module:function'")
    if isinstance(item, DatasetSpec):
        _check_sources(item)
        _check_recipes(item)


def _check_sources(spec: DatasetSpec) -> None:
    sources = spec.sources
    if not (isinstance(sources, tuple) and sources and all(isinstance(source, Source) for source in sources)):
        raise TypeError(f"sources={sources!r} of dataset '{spec.name}' is not a tuple of at least one Source")


def _check_recipes(spec: DatasetSpec) -> None:
    """Refuse now what would look like the user's mistake later."""
    if not (isinstance(spec.recipes, tuple) and all(isinstance(recipe, Recipe) for recipe in spec.recipes)):
        raise TypeError(f"recipes={spec.recipes!r} of dataset '{spec.name}' is not a tuple of Recipe")
    names = [recipe.name for recipe in spec.recipes]
    if len(set(names)) < len(names):
        raise TypeError(f"the recipes of dataset '{spec.name}' have no names of their own: {', '.join(names)}")
    for options in (*(source.recipe for source in spec.sources), *(recipe.options for recipe in spec.recipes)):
        resolve(options)
