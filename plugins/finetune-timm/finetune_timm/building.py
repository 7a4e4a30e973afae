"""timm's networks, built and cut into stages; this module imports timm and torch.

A cut keeps everything that the published network computes before its classifier, in order, and shares its tensors:
nothing is copied. Shapes: ``N`` images, ``S`` their side in pixels, ``C`` channels, ``T`` tokens, ``D`` features.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg, reparameterize_model
from torch import Tensor, nn

from finetune.networks.network import HEAD_PREFIX, BackboneModel, pooled, unchanged
from finetune.types import Backbone
from finetune_timm.cutting import Body, cuts, is_boundary, is_channels_last, only_value, parameters_by_step
from finetune_timm.recording import PICTURES_AXIS, NotRecordedError, Recording, record
from finetune_timm.staging import stages_of
from finetune_timm.table import PREFIX

Stages = tuple[tuple[str, nn.Module], ...]
_MERGING = ("fuse", "reparameterize", "switch_to_deploy")
"""What timm's modules call the method that merges their parallel branches."""


def build(backbone: Backbone, image_size_px: int) -> BackboneModel:
    """Return timm's network with random weights, cut into stages.

    The stages map float32 (N, 3, S, S) to a map (N, C, h, w) or tokens (N, T, C) where timm pools by the mean, and to
    what timm pools, (N, D), where it does otherwise. Nothing is downloaded. Follows ``timm.create_model``.
    """
    name = backbone.name.removeprefix(PREFIX)
    # Attention is spelt out: fused, some networks cannot be exported with a batch of any size.
    model: nn.Module = timm.create_model(name, exportable=True, **arguments(name, image_size_px))
    merges = any(hasattr(module, method) for module in model.modules() for method in _MERGING)
    return BackboneModel(
        model=model,
        stages=stages(model, image_size_px),
        adapt_weights=partial(adapted, model=model, name=name, image_size_px=image_size_px),
        for_export=merged if merges else unchanged,
    )


def arguments(name: str, image_size_px: int) -> dict[str, Any]:
    """Return what timm's constructor must be told: another image size than its own, if the network is made for one."""
    facts = get_pretrained_cfg(name)
    is_other = facts is not None and facts.fixed_input_size and facts.input_size[-1] != image_size_px
    return {"img_size": image_size_px} if is_other else {}


def merged(body: nn.Module) -> nn.Module:
    """Return the body with its parallel branches, and the norms after its convolutions, merged where timm knows how."""
    return reparameterize_model(body, inplace=True)


# ── stages ──────────────────────────────────────────────────────────────────────────────────────────


def stages(model: nn.Module, image_size_px: int) -> Stages:
    """Return the network up to its classifier, cut where it can be; as one stage, ``network``, where it cannot."""
    apart = classifiers(model)
    try:
        body = body_of(model, record(model, image_size_px, apart))
    except NotRecordedError:
        return (("network", Whole(model, apart)),)
    modules = stages_of(model, body, cuts(body))
    names = ["stem", *(f"stage{number}" for number in range(1, len(modules)))] if len(modules) > 1 else ["network"]
    return tuple(zip(names, modules, strict=True))


def classifiers(model: Any) -> tuple[str, ...]:
    """Return the names of the modules that timm calls the network's classifiers."""
    named = model.pretrained_cfg.get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)


def body_of(model: nn.Module, recording: Recording) -> Body:
    """Return what of a recording the body is: up to the features where timm pools them by the mean, else pooled.

    Raises ``NotRecordedError`` where what comes of it is not one tensor with an entry for each picture.
    """
    parameters = parameters_by_step(recording, model)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    features, vector = only_value(recording.features), only_value(recording.vector)
    has_layers = any(parameters[recording.features_end :])
    if features and not has_layers and pools_by_mean(model, recording.shapes[features.number]):
        return Body(recording, recording.features_end, features, parameters, sizes)
    if vector is None or recording.shapes[vector.number][:1] != (PICTURES_AXIS,):
        raise NotRecordedError("its features are not one tensor")
    return Body(recording, len(recording.steps), vector, parameters, sizes)


@torch.no_grad()
def pools_by_mean(model: Any, shape: tuple[int, ...]) -> bool:
    """Whether the network's head takes the mean of features of this shape, as finetune's own does."""
    if not is_boundary(shape):
        return False
    features = torch.arange(2 * torch.Size(shape[1:]).numel()).sin().reshape(2, *shape[1:])
    was_training = model.training
    theirs = model.eval().forward_head(features, pre_logits=True)
    model.train(was_training)
    ours = pooled(features.permute(0, 3, 1, 2) if is_channels_last(shape) else features)
    return isinstance(theirs, Tensor) and theirs.shape == ours.shape and torch.allclose(theirs, ours, atol=1e-6)


class Whole(nn.Module):
    """A network up to its classifier as one module: images (N, 3, S, S) to what timm pools, (N, D).

    Its modules are copies that hold the network's own tensors.
    """

    def __init__(self, model: nn.Module, apart: Sequence[str]) -> None:
        super().__init__()
        shared: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
        self.network: Any = copy.deepcopy(model, shared)
        for name in apart:
            self.network.set_submodule(name, nn.Identity())

    def forward(self, images: Tensor) -> Tensor:
        """Return what the network's classifier is given."""
        vector: Tensor = self.network.forward_head(self.network.forward_features(images), pre_logits=True)
        return vector


# ── weights ─────────────────────────────────────────────────────────────────────────────────────────


def adapted(state: dict[str, Tensor], *, model: nn.Module, name: str, image_size_px: int) -> dict[str, Tensor]:
    """Return a state dict as this network has it: timm renames old keys, and resamples positions for another size.

    Follows ``timm.models.load_pretrained``, which is given the state dict. What timm cannot make fit is returned as it
    is, for the loader to say what is wrong with it.
    """
    own = model.state_dict()
    apart = tuple(f"{classifier}." for classifier in classifiers(model))
    classifier = {key: tensor for key, tensor in own.items() if key.startswith(apart)}
    given = {key: tensor for key, tensor in state.items() if key in own or not key.startswith(HEAD_PREFIX)}
    if all(key in given and given[key].shape == own[key].shape for key in own.keys() - classifier.keys()):
        return state
    overlay = {"state_dict": {**given, **classifier}, "label_offset": 0}
    try:
        made = timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay=overlay, **arguments(name, image_size_px)
        )
    except Exception:  # it is made for files of certain forms, and fails on others in ways that no list foresees
        return state
    return dict(made.state_dict())
