"""``finetune list``: the names that can be asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from finetune.errors import ConfigError
from finetune_export.cli.output import print_json, print_table

if TYPE_CHECKING:
    from finetune.plugins import Plugins
    from finetune.types import Backbone

Kind = Literal["datasets", "recipes", "backbones", "targets", "metrics", "callbacks", "sections", "commands"]

HEADINGS: dict[Kind, tuple[str, ...]] = {
    "datasets": ("data set", "source", "what it is"),
    "recipes": ("data set", "recipe", "what it is"),
    "backbones": ("backbone", "family", "parameters", "size", "weights", "licence", "what it is", "weights from"),
    "targets": ("target", "what it is"),
    "metrics": ("metric", "tasks", "better", "what it is"),
    "callbacks": ("callback", "plugin", "what it is"),
    "sections": ("section", "plugin", "what it is"),
    "commands": ("command", "plugin", "what it is"),
}


def list_registered(
    kind: Annotated[Kind, Parameter(help="What to list.")],
    pattern: Annotated[
        str | None,
        Parameter(help="Only those with this in their name, or a name like it: res*50. Case does not count."),
    ] = None,
    /,
    *,
    json: Annotated[bool, Parameter(negative=(), help="Print a JSON array.")] = False,
) -> None:
    """List what can be used by name: data sets with their recipes, backbones, targets, metrics, and what plugins add.

    Examples:
      finetune list backbones
      finetune list backbones resnet
    """
    from finetune.plugins import load_plugins

    found = load_plugins()
    items = _matching(list(_items(kind, found)), kind, pattern)
    if json:
        print_json([_facts(kind, item, found) for item in items])
    else:
        print_table([HEADINGS[kind], *(row for item in items for row in _rows(kind, item, found))])


def _items(kind: Kind, found: Plugins) -> Iterator[Any]:
    if kind == "recipes":
        yield from ((spec, recipe) for spec in found.datasets.values() for recipe in spec.recipes)
    else:
        yield from getattr(found, kind).values()


def _matching(items: list[Any], kind: Kind, pattern: str | None) -> list[Any]:
    """Return the items whose name is like a pattern; raise ``ConfigError`` where there is one, and none is."""
    chosen = [item for item in items if pattern is None or any(_is_like(name, pattern) for name in _names(kind, item))]
    if pattern is not None and not chosen:
        raise ConfigError(
            f"None of the {len(items)} {kind} has a name like '{pattern}'. Give a part of one, or a pattern such as "
            f"'res*50'; 'finetune list {kind}' shows all."
        )
    return chosen


def _names(kind: Kind, item: Any) -> tuple[str, ...]:
    """Return what an item goes by; a recipe by its data set, too."""
    return tuple(named.name for named in item) if kind == "recipes" else (item.name,)


def _is_like(name: str, pattern: str) -> bool:
    name, pattern = name.casefold(), pattern.casefold()
    return fnmatchcase(name, pattern) if any(sign in pattern for sign in "*?[") else pattern in name


def _facts(kind: Kind, item: Any, found: Plugins) -> object:
    """Return an item for scripts: its fields, and whose it is where the table says so."""
    if kind == "recipes":
        spec, recipe = item
        return {"dataset": spec.name, **asdict(recipe)}
    return {**asdict(item), "plugin": _plugin(kind, item, found)} if "plugin" in HEADINGS[kind] else item


def _plugin(kind: Kind, item: Any, found: Plugins) -> str:
    return found.origin(kind.removesuffix("s"), item.name)


def _rows(kind: Kind, item: Any, found: Plugins) -> Iterator[tuple[str, ...]]:
    """Yield the rows of an item, under the headings of its kind."""
    match kind:
        case "datasets":
            yield from ((item.name, source.name, source.summary) for source in item.sources)
        case "recipes":
            spec, recipe = item
            yield spec.name, recipe.name, recipe.summary
        case "backbones":
            yield _backbone(item)
        case "targets":
            yield item.name, item.summary
        case "metrics":
            yield item.name, ", ".join(item.tasks), "higher" if item.higher_is_better else "lower", item.summary
        case _:
            yield item.name, _plugin(kind, item, found), item.title if kind == "sections" else item.summary


def _backbone(item: Backbone) -> tuple[str, ...]:
    parameters, size = f"{item.parameters / 1e6:.1f} M", f"{item.image_size_px} px"
    weights = item.weights
    name, licence, source = (weights.name, weights.licence, weights.source) if weights else ("none", "", "")
    return item.name, item.family, parameters, size, name, licence, item.summary, source
