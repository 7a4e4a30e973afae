"""What the plugin offers: every classifier of timm. Light: the facts are in a table, and timm is not imported."""

from __future__ import annotations

import re
from collections.abc import Callable

from finetune.hookspecs import hookimpl
from finetune.types import Backbone, Weights
from finetune_timm.table import PREFIX, Row, rows

FINETUNE_API = "1.0"
HUB = "https://huggingface.co/"
_HASH = re.compile(r"-([0-9a-f]{8,})\.pth$")


@hookimpl
def finetune_register_backbones(register: Callable[[Backbone], None]) -> None:
    """Offer ``timm:<architecture>.<tag>`` for all weights of timm, ``timm:<architecture>`` for what has none."""
    for row in rows():
        register(_backbone(row))


def _backbone(row: Row) -> Backbone:
    return Backbone(
        name=PREFIX + row.name,
        family=row.family,
        summary=f"timm, weights under {row.licence}" if row.source else "timm, for --weights none",
        build="finetune_timm.building:build",
        parameters=row.parameters,
        image_size_px=row.image_size_px,
        min_image_size_px=row.min_image_size_px,
        image_size_multiple_px=row.multiple_px,
        crop_fraction=row.crop_fraction,
        mean=row.mean,
        std=row.std,
        weights=_weights(row),
    )


def _weights(row: Row) -> Weights | None:
    """Return where the weights are: on the hub, or at a URL that states their hash; None for what cannot be checked."""
    tag = row.name.partition(".")[2]
    if row.source.startswith("https:"):
        hash_in_name = _HASH.search(row.source)
        if not hash_in_name:
            return None
        return Weights(name=tag, url=row.source, sha256=hash_in_name[1], licence=row.licence, source="timm")
    if not row.source:
        return None
    repository = f"timm/{row.name}" if row.source == "timm" else row.source
    return Weights(
        name=tag,
        url=HUB + repository,
        sha256="",
        licence=row.licence,
        source=f"{repository} on the Hugging Face hub",
        fetch="finetune_timm.hub:fetch",
        find="finetune_timm.hub:find",
    )
