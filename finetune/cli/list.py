"""``finetune list``: the names that can be asked for."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from finetune_export.cli.output import print_json, print_table

if TYPE_CHECKING:
    from finetune.plugins import Plugins

Kind = Literal["datasets", "recipes", "backbones", "targets", "metrics"]


def list_registered(
    kind: Annotated[Kind, Parameter(help="What to list.")],
    /,
    *,
    json: Annotated[bool, Parameter(negative=(), help="Print a JSON array.")] = False,
) -> None:
    """List the data sets, their recipes, backbones, export targets or metrics that can be used by name.

    Examples:
      finetune list backbones
    """
    if kind == "metrics":
        _list_metrics(json)
        return
    from finetune.plugins import load_plugins

    found = load_plugins()
    if json and kind == "recipes":
        print_json([{"dataset": spec.name, **asdict(r)} for spec in found.datasets.values() for r in spec.recipes])
    elif json:
        print_json(list(getattr(found, kind).values()))
    else:
        print_table(
            {"datasets": _datasets, "recipes": _recipes, "backbones": _backbones, "targets": _targets}[kind](found)
        )


def _datasets(found: Plugins) -> list[tuple[str, ...]]:
    rows = [(spec.name, source.name, source.summary) for spec in found.datasets.values() for source in spec.sources]
    return [("data set", "source", "what it is"), *rows]


def _recipes(found: Plugins) -> list[tuple[str, ...]]:
    rows = [(spec.name, recipe.name, recipe.summary) for spec in found.datasets.values() for recipe in spec.recipes]
    return [("data set", "recipe", "what it is"), *rows]


def _backbones(found: Plugins) -> list[tuple[str, ...]]:
    rows = [
        (
            b.name,
            b.family,
            f"{b.parameters / 1e6:.1f} M",
            f"{b.image_size_px} px",
            b.weights.name if b.weights else "none",
            b.summary,
        )
        for b in found.backbones.values()
    ]
    return [("backbone", "family", "parameters", "size", "weights", "what it is"), *rows]


def _targets(found: Plugins) -> list[tuple[str, ...]]:
    return [("target", "what it is"), *((target.name, target.summary) for target in found.targets.values())]


def _list_metrics(json: bool) -> None:
    from finetune.evaluation.catalogue import METRICS

    metrics = METRICS.values()
    rows = [(m.name, ", ".join(m.tasks), "higher" if m.higher_is_better else "lower", m.summary) for m in metrics]
    if json:
        print_json(list(metrics))
    else:
        print_table([("metric", "tasks", "better", "what it is"), *rows])
