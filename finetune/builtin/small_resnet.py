"""A small network to pretrain oneself: ResNet-18 (He et al. 2015) of half the width, with a stem for small pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from finetune.hookspecs import hookimpl
from finetune.types import Backbone

if TYPE_CHECKING:
    from finetune.networks.network import BackboneModel

WIDTHS = (32, 64, 128, 256)
"""Channels of the four stages; torchvision's ResNet-18 has twice as many."""
BLOCKS = 2

BACKBONE = Backbone(
    name="resnet18_half",
    family="resnet",
    summary="ResNet-18 of half the width, to pretrain on small pictures",
    build="finetune.builtin.small_resnet:build",
    parameters=2_795_040,
    image_size_px=64,
    min_image_size_px=16,
    crop_fraction=1.0,
)


@hookimpl
def finetune_register_backbones(register: Callable[[Backbone], None]) -> None:
    """Offer ``resnet18_half``."""
    register(BACKBONE)


def build(backbone: Backbone, image_size_px: int) -> BackboneModel:  # noqa: ARG001 - any size will do
    """Return the network with random weights: float32 (N, 3, S, S) to (N, 256, S / 16, S / 16)."""
    from collections import OrderedDict

    from torch import nn
    from torchvision.models.resnet import BasicBlock

    from finetune.networks.network import BackboneModel

    def stage(above: int, width: int, stride: int) -> nn.Sequential:
        widened = nn.Sequential(nn.Conv2d(above, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        first = BasicBlock(above, width, stride, widened if stride > 1 else None)
        return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(1, BLOCKS)))

    # Three pixels and no pooling: in small pictures there is nothing to be thrown away yet.
    stem = nn.Sequential(
        nn.Conv2d(3, WIDTHS[0], 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU(inplace=True)
    )
    above = (WIDTHS[0], *WIDTHS)
    layers = [
        (f"layer{number + 1}", stage(above[number], width, 2 if number else 1)) for number, width in enumerate(WIDTHS)
    ]
    stages: tuple[tuple[str, nn.Module], ...] = (("stem", stem), *layers)
    model = nn.Sequential(OrderedDict(stages))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return BackboneModel(model=model, stages=stages)
