"""How each family of torchvision's classifiers is built and cut into stages; this module imports torch.

A cut keeps everything that the published network computes before its pooling and classifier, in order, and shares
its tensors: nothing is copied, nothing is left behind but the classifier and the auxiliary heads, which only ever
served the original training. Shapes: ``N`` images, ``C`` channels, ``h``/``w`` cells, ``P`` patches, ``D`` features.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.vision_transformer import interpolate_embeddings

from finetune.networks.network import BackboneModel
from finetune.types import Backbone

Stages = tuple[tuple[str, nn.Module], ...]


def build(backbone: Backbone, image_size_px: int) -> BackboneModel:
    """Return torchvision's network ``backbone.name`` with random weights, cut into stages.

    The stages map float32 (N, 3, image_size_px, image_size_px) to (N, C, h, w), those of ``vit`` to (N, D). Nothing
    is downloaded. Follows ``torchvision.models.get_model(name, weights=None)``.
    """
    model = models.get_model(backbone.name, weights=None, **_arguments(backbone.family, image_size_px))
    stages = _CUTS[backbone.family](model)
    if backbone.family == "vit":
        adapt = partial(_adapt_vit, image_size_px=image_size_px, patch_size_px=model.patch_size)
        return BackboneModel(model=model, stages=stages, adapt_weights=adapt)
    if backbone.family == "densenet":
        return BackboneModel(model=model, stages=stages, adapt_weights=_adapt_densenet)
    # Swin's blocks work on (N, h, w, C).
    return BackboneModel(model=model, stages=stages, channels_last=backbone.family == "swin")


def _arguments(family: str, image_size_px: int) -> dict[str, Any]:
    """Return what a family's constructor must be told beside its defaults."""
    if family in ("inception_v3", "googlenet"):
        # Said or not, the slow initialiser draws a warning unless it is chosen. The input is not re-normalised in the
        # network (transform_input): the backbone's own mean and std of 0.5 amount to the same.
        return {"init_weights": False, "transform_input": False, "aux_logits": True}
    if family == "vit":
        return {"image_size": image_size_px}
    if family == "maxvit":
        return {"input_size": (image_size_px, image_size_px)}
    return {}


# ── cuts ────────────────────────────────────────────────────────────────────────────────────────────


def _pieces(layers: nn.Sequential, starts: Sequence[int]) -> Stages:
    """Return the runs of layers that begin at ``starts``, named stem, stage1, stage2 and so on."""
    ends = (*starts[1:], len(layers))
    names = ("stem", *(f"stage{number}" for number in range(1, len(starts))))
    return tuple((name, layers[start:end]) for name, start, end in zip(names, starts, ends, strict=True))


def _gathered(model: nn.Module, **stages: str) -> Stages:
    """Return stages made of a network's direct children, each stage given as their names in order."""
    return tuple(
        (stage, nn.Sequential(*(model.get_submodule(name) for name in names.split())))
        for stage, names in stages.items()
    )


def _cut_after_pools(model: Any) -> Stages:
    features = model.features
    after = [index + 1 for index, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
    return _pieces(features, [0, *(start for start in after if start < len(features))])


def _cut_at_strides(layers: nn.Sequential) -> Stages:
    return _pieces(layers, [0, *(index for index, layer in enumerate(layers) if index and _halves(layer))])


def _halves(layer: nn.Module) -> bool:
    return any(isinstance(part, nn.Conv2d) and part.stride[0] > 1 for part in layer.modules())


def _cut_densenet(model: Any) -> Stages:
    # The network's forward ends its features with a ReLU that is no module of its own.
    return _pieces(nn.Sequential(*model.features, nn.ReLU(inplace=True)), (0, 4, 6, 8, 10))


def _cut_swin(model: Any) -> Stages:
    # From channels-last (N, h, w, C), in which the blocks work, to (N, C, h, w).
    return _pieces(nn.Sequential(*model.features, model.norm, model.permute), (0, 1, 2, 4, 6))


def _cut_regnet(model: Any) -> Stages:
    return _pieces(nn.Sequential(model.stem, *model.trunk_output), (0, 1, 2, 3, 4))


def _cut_maxvit(model: Any) -> Stages:
    return _pieces(nn.Sequential(model.stem, *model.blocks), (0, 1, 2, 3, 4))


def _cut_vit(model: Any) -> Stages:
    layers = model.encoder.layers
    quarter = len(layers) // 4
    whole = nn.Sequential(PatchEmbedding(model), *layers, model.encoder.ln, ClassToken())
    return _pieces(whole, (0, *(1 + quarter * number for number in range(4))))


class PatchEmbedding(nn.Module):
    """The first steps of torchvision's ``VisionTransformer.forward``: images (N, 3, S, S) to tokens (N, 1 + P, D)."""

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.projection = vit.conv_proj
        self.class_token = vit.class_token
        self.position = vit.encoder.pos_embedding
        self.dropout = vit.encoder.dropout

    def forward(self, images: Tensor) -> Tensor:
        """Return patches and class token with their positions added: float32 (N, 1 + P, D)."""
        patches = self.projection(images).flatten(2).transpose(1, 2)  # (N, P, D)
        token = self.class_token.expand(images.shape[0], -1, -1)  # (N, 1, D)
        tokens: Tensor = self.dropout(torch.cat([token, patches], dim=1) + self.position)  # (N, 1 + P, D)
        return tokens


class ClassToken(nn.Module):
    """Picks the token that torchvision's ``VisionTransformer`` classifies by: (N, 1 + P, D) to (N, D)."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the first token of each image: float32 (N, D)."""
        return tokens[:, 0]


_CUTS: dict[str, Callable[[Any], Stages]] = {
    "alexnet": _cut_after_pools,
    "convnext": lambda model: _pieces(model.features, (0, 1, 2, 4, 6)),
    "densenet": _cut_densenet,
    "efficientnet": lambda model: _cut_at_strides(model.features),
    "googlenet": partial(
        _gathered,
        stem="conv1 maxpool1 conv2 conv3 maxpool2",
        stage1="inception3a inception3b maxpool3",
        stage2="inception4a inception4b inception4c inception4d inception4e maxpool4",
        stage3="inception5a inception5b",
    ),
    "inception_v3": partial(
        _gathered,
        stem="Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 maxpool1 Conv2d_3b_1x1 Conv2d_4a_3x3 maxpool2",
        stage1="Mixed_5b Mixed_5c Mixed_5d",
        stage2="Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e",
        stage3="Mixed_7a Mixed_7b Mixed_7c",
    ),
    "maxvit": _cut_maxvit,
    "mnasnet": lambda model: _cut_at_strides(model.layers),
    "mobilenet": lambda model: _cut_at_strides(model.features),
    "regnet": _cut_regnet,
    "resnet": partial(
        _gathered, stem="conv1 bn1 relu maxpool", layer1="layer1", layer2="layer2", layer3="layer3", layer4="layer4"
    ),
    "shufflenet_v2": partial(
        _gathered, stem="conv1 maxpool", stage2="stage2", stage3="stage3", stage4="stage4", conv5="conv5"
    ),
    "squeezenet": _cut_after_pools,
    "swin": _cut_swin,
    "vgg": _cut_after_pools,
    "vit": _cut_vit,
}


# ── published weight files that are older than their network's code ─────────────────────────────────

_DENSENET_OLD = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
_VIT_OLD = {".mlp.linear_1.": ".mlp.0.", ".mlp.linear_2.": ".mlp.3."}


def _adapt_densenet(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename ``norm.1`` to ``norm1`` and so on, as torchvision's own loader does for the published files."""
    return {_DENSENET_OLD.sub(r"\1\2", key): tensor for key, tensor in state.items()}


def _adapt_vit(state: dict[str, Tensor], image_size_px: int, patch_size_px: int) -> dict[str, Tensor]:
    """Rename the MLP's old keys, and resample the position embedding where the image size is another."""
    renamed = {_renamed_vit(key): tensor for key, tensor in state.items()}
    if "encoder.pos_embedding" not in renamed:  # a file for another network; the loader says so better
        return renamed
    adapted: dict[str, Tensor] = interpolate_embeddings(image_size_px, patch_size_px, renamed)
    return adapted


def _renamed_vit(key: str) -> str:
    for old, new in _VIT_OLD.items():
        key = key.replace(old, new)
    return key
