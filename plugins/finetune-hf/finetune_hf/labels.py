"""From the cells of a set's label columns to what a picture shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from finetune.builtin.labels import composed, has_control_character
from finetune.builtin.table.forms import FIRST_INFINITE
from finetune.errors import DataError
from finetune_hf.choosing import Chosen
from finetune_hf.features import Feature


def shown(cells: Sequence[Any], chosen: Chosen) -> dict[str, Any] | None:
    """Return what a picture shows, as that argument of an ``Example``; None where the set does not say.

    That is so for what is null, and for the class -1, as hidden test labels are published. Raises ``DataError`` for a
    class that the set does not list, a name with a control character, or a number that is not finite.
    """
    features = [chosen.features[name] for name in chosen.labels]
    if any(cell is None for cell in cells):
        return None
    if chosen.task == "regression":
        return {"values": tuple(map(_number, cells))}
    if chosen.task == "single-label":
        name = _name(cells[0], features[0])
        return {"label": name} if name else None
    if len(cells) > 1:
        return {"labels": tuple(name for name, cell in zip(chosen.labels, cells, strict=True) if cell)}
    names = (_name(cell, features[0]) for cell in cells[0])
    return {"labels": tuple(dict.fromkeys(name for name in names if name))}


def listed(chosen: Chosen) -> tuple[str, ...] | None:
    """Return the labels in the order that the set gives them, or None where it lists none."""
    if chosen.task == "regression" or len(chosen.labels) > 1:
        return chosen.labels
    feature = chosen.features[chosen.labels[0]]
    return tuple(_clean(name) for name in feature.names) if feature.kind == "class" else None


def _name(cell: Any, feature: Feature) -> str:
    if cell is None:
        return ""
    if feature.kind != "class":
        return _clean(str(cell).lower() if isinstance(cell, bool) else str(cell))
    if cell == -1:
        return ""
    if not 0 <= cell < len(feature.names):
        raise DataError(f"has the class {cell}, and the set lists {len(feature.names)}")
    return _clean(feature.names[cell])


def _clean(name: str) -> str:
    name = composed(name.strip())
    if has_control_character(name):
        raise DataError(f"has the label {name!r} with a line break or control character")
    return name


def _number(cell: Any) -> float:
    if not math.isfinite(cell) or abs(cell) >= FIRST_INFINITE:
        raise DataError(f"has the value {cell}, which is no finite number")
    return float(cell)
