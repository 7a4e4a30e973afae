"""The kinds of things that plugins register, and what a thing of each kind has to be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, get_args, get_type_hints

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
    Task,
    TrainingCallback,
    Weights,
)
from finetune_export.cli.output import CONTROL

REFERENCE = re.compile(r"\w+(\.\w+)*:\w+")
NAME = re.compile(r"\w[\w.:+-]{0,199}")
OWN_COMMANDS = frozenset(
    {
        *("advise", "audit", "explain", "list", "lr-find", "plugins", "pretrain"),
        *("report", "run", "runs", "verify"),
        *("bench", "check", "inspect", "predict", "serve"),  # the runtime's
    }
)
"""finetune's own commands, whose names no plugin may take; here as words, for loading plugins loads no commands."""
SCALARS: Mapping[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}
TASKS = get_args(Task)
JUDGED_BY = get_args(get_type_hints(ExportTarget)["judged_by"])


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of registered things: its name, its hook, its type, and the attribute that names its function.

    ``words`` are what people call it, and ``asked`` how they ask for one.
    """

    name: str
    type: type[Any]
    function: str
    words: str
    asked: str

    @property
    def hook(self) -> str:
        """The name of the hook that registers such things."""
        return f"finetune_register_{self.name}s"


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(name="dataset", type=DatasetSpec, function="load", words="data set", asked="finetune run --plugin {name}"),
        Kind(
            name="backbone",
            type=Backbone,
            function="build",
            words="backbone",
            asked="finetune run --data DIR --backbone {name}",
        ),
        Kind(
            name="target",
            type=ExportTarget,
            function="export",
            words="target",
            asked="finetune run --data DIR --target {name}",
        ),
        Kind(
            name="metric",
            type=Metric,
            function="measure",
            words="metric",
            asked="finetune run --data DIR --monitor {name}",
        ),
        Kind(
            name="callback",
            type=TrainingCallback,
            function="build",
            words="callback",
            asked="finetune run --data DIR --callback {name}",
        ),
        Kind(name="section", type=ReportSection, function="build", words="report section", asked="finetune report RUN"),
        Kind(name="command", type=Command, function="run", words="command", asked="finetune {name}"),
    )
}


def check(kind: Kind, item: Any) -> None:
    """Raise ``TypeError`` unless ``item`` is a well-formed thing of this kind."""
    if not isinstance(item, kind.type):
        raise TypeError(f"register() of {kind.name}s takes a {kind.type.__name__}, got {type(item).__name__}")
    if not (isinstance(item.name, str) and NAME.fullmatch(item.name)):
        allowed = "letters, digits and _ . : + - only, 200 at most"
        raise TypeError(f"name={item.name!r} of a {kind.name} is not a name: {allowed}")
    reference = getattr(item, kind.function)
    if not (isinstance(reference, str) and REFERENCE.fullmatch(reference)):
        raise TypeError(f"{kind.function}={reference!r} of {kind.name} '{item.name}' is not 'package.module:function'")
    _check_scalars(item, f"{kind.name} '{item.name}'")
    _check_parts(item)


def _check_parts(item: Any) -> None:
    """Check what things of one kind alone have."""
    match item:
        case DatasetSpec():
            _check_sources(item)
            _check_recipes(item)
        case Backbone() if item.weights is not None:
            _check_weights(item.name, item.weights)
        case Metric():
            _check_tasks(item)
        case ExportTarget() if item.judged_by not in JUDGED_BY:
            words = " or ".join(map(repr, JUDGED_BY))
            raise TypeError(f"judged_by={item.judged_by!r} of target '{item.name}' is not {words}")


def _check_tasks(metric: Metric) -> None:
    tasks = metric.tasks
    if not (isinstance(tasks, tuple) and tasks and all(task in TASKS for task in tasks)):
        words = ", ".join(map(repr, TASKS))
        raise TypeError(f"tasks={tasks!r} of metric '{metric.name}' is not a tuple of at least one of {words}")


def _check_weights(backbone: str, weights: Weights) -> None:
    """Refuse weights that nobody could check: those behind a URL need a hash, others the functions that fetch them."""
    if not isinstance(weights, Weights):
        raise TypeError(f"weights={weights!r} of backbone '{backbone}' is not a Weights")
    _check_scalars(weights, f"the weights of '{backbone}'")
    for name in ("fetch", "find"):
        reference = getattr(weights, name)
        if reference and not REFERENCE.fullmatch(reference):
            raise TypeError(f"{name}={reference!r} of the weights of '{backbone}' is not 'package.module:function'")
    if bool(weights.fetch) != bool(weights.find):
        raise TypeError(f"the weights of '{backbone}' have one of fetch and find; give both, or neither")
    if not weights.sha256 and not weights.fetch:
        raise TypeError(
            f"the weights of '{backbone}' have no sha256; give it, or fetch and find, which check by themselves"
        )


def _check_scalars(item: Any, what: str) -> None:
    """Refuse now what would break the lists that are made of it later, or the terminal that they are printed to."""
    for name, said, allowed in _scalars(item.__class__):
        value: Any = getattr(item, name)
        if not isinstance(value, allowed):
            raise TypeError(f"{name}={value!r} of {what} is not {said}")
        if isinstance(value, str) and not value.isprintable() and CONTROL.search(value):
            raise TypeError(f"{name}={value!r} of {what} has control characters; it has to be one line of plain text")


@cache
def _scalars(of: type[Any]) -> tuple[tuple[str, str, tuple[type, ...]], ...]:
    """Return name, type as it is written, and allowed types of the fields that are scalars."""
    return tuple((f.name, str(f.type), SCALARS[str(f.type)]) for f in fields(of) if str(f.type) in SCALARS)


def _check_sources(spec: DatasetSpec) -> None:
    sources = spec.sources
    if not (isinstance(sources, tuple) and sources and all(isinstance(source, Source) for source in sources)):
        raise TypeError(f"sources={sources!r} of dataset '{spec.name}' is not a tuple of at least one Source")
    for source in sources:
        _check_scalars(source, f"a source of dataset '{spec.name}'")


def _check_recipes(spec: DatasetSpec) -> None:
    """Refuse now what would look like the user's mistake later."""
    if not (isinstance(spec.recipes, tuple) and all(isinstance(recipe, Recipe) for recipe in spec.recipes)):
        raise TypeError(f"recipes={spec.recipes!r} of dataset '{spec.name}' is not a tuple of Recipe")
    for recipe in spec.recipes:
        _check_scalars(recipe, f"a recipe of dataset '{spec.name}'")
    names = [recipe.name for recipe in spec.recipes]
    if len(set(names)) < len(names):
        raise TypeError(f"the recipes of dataset '{spec.name}' have no names of their own: {', '.join(names)}")
    for options in (*(source.recipe for source in spec.sources), *(recipe.options for recipe in spec.recipes)):
        resolve(options)
