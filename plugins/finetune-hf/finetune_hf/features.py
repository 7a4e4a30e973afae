"""What the columns of a set hold: as the ``datasets`` library wrote it into the files, or by their Arrow types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

Kind = Literal["picture", "class", "text", "whole number", "number", "truth value", "other"]
_METADATA = b"huggingface"
_LISTS = ("Sequence", "List", "LargeList")


@dataclass(frozen=True)
class Feature:
    """What one column holds: things of a kind, or lists of them; classes have ``names``, in their order."""

    kind: Kind
    names: tuple[str, ...] = ()
    is_list: bool = False

    def __str__(self) -> str:
        return f"lists of {self.kind}" if self.is_list else self.kind


def features_of(schema: pa.Schema) -> dict[str, Feature]:
    """Return what each column of a file holds."""
    said = _said(schema.metadata or {})
    return {
        field.name: (_from_said(said[field.name]) if field.name in said else _from_type(field.type)) for field in schema
    }


def _said(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    try:
        found = json.loads(metadata.get(_METADATA, b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _from_said(said: Any) -> Feature:
    if isinstance(said, list):  # as releases before 2.0 write lists
        return _listed(_from_said(said[0]) if said else Feature("other"))
    kind = said.get("_type") if isinstance(said, dict) else None
    if kind in _LISTS:
        return _listed(_from_said(said.get("feature")))
    if kind == "Image":
        return Feature("picture")
    if kind == "ClassLabel" and isinstance(said.get("names"), list):
        return Feature("class", tuple(map(str, said["names"])))
    if kind in ("Value", "ClassLabel"):
        return Feature(_kind_of_dtype(str(said.get("dtype", "int64"))))
    return Feature("other")


def _listed(feature: Feature) -> Feature:
    return Feature("other") if feature.is_list else Feature(feature.kind, feature.names, is_list=True)


def _kind_of_dtype(dtype: str) -> Kind:
    if "string" in dtype:
        return "text"
    if dtype.startswith(("float", "double", "half")):
        return "number"
    if dtype.startswith(("int", "uint")):
        return "whole number"
    return "truth value" if dtype.startswith("bool") else "other"


def _from_type(kind: pa.DataType) -> Feature:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _listed(_from_type(kind.value_type))
    if pa.types.is_struct(kind):
        return Feature("picture" if kind.get_field_index("bytes") >= 0 else "other")
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return Feature("picture")
    return Feature(_kind_of_dtype(str(kind)))
