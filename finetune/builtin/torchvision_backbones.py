"""Every classifier of torchvision as a backbone; imports neither torch nor torchvision."""

from __future__ import annotations

import re
from collections.abc import Callable

from finetune.builtin.torchvision_table import ROWS, Row
from finetune.hookspecs import hookimpl
from finetune.types import Backbone, Weights

_SERVER = "https://download.pytorch.org/models/"
_HASH = re.compile(r"-([0-9a-f]+)$")

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

# torchvision normalises for the first two as for ImageNet, and once more in the network (transform_input=True);
# together that is a mean and a deviation of 0.5 on the raw picture.
_NORMALISED_BY_HALF = ("googlenet", "inception_v3", "efficientnet_v2_l")


@hookimpl
def finetune_register_backbones(register: Callable[[Backbone], None]) -> None:
    """Offer all classifiers of torchvision, with its default weights for each."""
    for row in ROWS:
        register(_backbone(row))


def _backbone(row: Row) -> Backbone:
    mean, std = _HALF if row.name in _NORMALISED_BY_HALF else _IMAGENET
    return Backbone(
        name=row.name,
        family=row.family,
        summary=f"{row.parameters / 1e6:.1f} M parameters, {row.top1_percent} % top-1 on ImageNet-1k (torchvision)",
        build="finetune.builtin.torchvision_families:build",
        parameters=row.parameters,
        image_size_px=row.image_size_px,
        min_image_size_px=row.min_image_size_px,
        image_size_multiple_px=row.multiple_px,
        crop_fraction=row.image_size_px / row.resize_px,
        mean=mean,
        std=std,
        weights=_weights(row),
    )


def _weights(row: Row) -> Weights:
    hash_in_name = _HASH.search(row.file)
    assert hash_in_name, f"torchvision puts the first digits of the SHA-256 into file names, not in {row.file}"
    swag = "SWAG" in row.weights
    return Weights(
        name=f"IMAGENET1K_{row.weights}",
        url=f"{_SERVER}{row.file}.pth",
        sha256=hash_in_name[1],
        # SWAG weights are Meta's, for non-commercial use; the others come with the library, under its licence.
        licence="CC-BY-NC-4.0" if swag else "BSD-3-Clause",
        source="SWAG by Meta, published by torchvision" if swag else "torchvision, trained on ImageNet-1k",
    )
