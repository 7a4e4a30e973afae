"""The network: a backbone's body in stages, and the head that is trained on top of it.

Shapes: ``N`` images, ``S`` their side in pixels, ``C`` channels, ``h``/``w`` cells of a feature map, ``D`` features,
``K`` classes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torchvision.ops import Permute

from finetune.config import Head
from finetune.errors import ConfigError, PluginError
from finetune.names import unknown_name
from finetune.plugins import blaming, load_function
from finetune.types import Backbone

HEAD_PREFIX = "head."
"""What the keys of the head begin with in a run's weight file."""

DROPOUT = 0.5
"""Share of the features that the linear head does without at each training step."""
HIDDEN = 512
"""Width of the hidden layer of fastai's head."""


def identity(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict as it is: the published weights need no adapting."""
    return state


def unchanged(body: nn.Module) -> nn.Module:
    """Return the body as it is: it is exported in the form that it was trained in."""
    return body


@dataclass(frozen=True, kw_only=True)
class BackboneModel:
    """What a backbone's ``build`` function returns.

    ``model`` is the whole published network with random weights, its own classifier included, so that its state
    dict has the published keys. ``stages`` are named modules that share its tensors; one after the other they map
    float32 (N, 3, S, S), normalised with the backbone's mean and std, to a feature map (N, C, h, w) or a vector
    (N, D). ``adapt_weights`` turns a published state dict into one for this network, for one by resampling a ViT's
    position embedding to another image size; what it does not know it leaves alone. Between stages one tensor is
    handed on, a map, tokens or a vector; ``channels_last``: a map as (N, h, w, C), which only the last stage turns.
    ``for_export`` turns a body in eval mode (a copy of its own, which it may change) into one that computes the same
    with less, for one by merging parallel branches that only training needs.
    """

    model: nn.Module
    stages: tuple[tuple[str, nn.Module], ...]
    adapt_weights: Callable[[dict[str, Tensor]], dict[str, Tensor]] = identity
    channels_last: bool = False
    for_export: Callable[[nn.Module], nn.Module] = unchanged


# ── building ────────────────────────────────────────────────────────────────────────────────────────


def build_backbone(backbone: Backbone, image_size_px: int) -> BackboneModel:
    """Return the backbone's network with random weights, for square images of ``image_size_px``.

    Raises ``ConfigError`` for an image size that the backbone cannot take, ``PluginError`` where its ``build``
    function is missing, fails or returns something else.
    """
    check_image_size(backbone, image_size_px)
    what = f"The backbone '{backbone.name}'"
    build = load_function(backbone.build, what)
    with blaming(what):
        built = build(backbone, image_size_px)
    _check_built(backbone, built)
    return cast(BackboneModel, built)


def check_image_size(backbone: Backbone, image_size_px: int) -> None:
    """Raise ``ConfigError`` unless the backbone takes square images of this size."""
    multiple = backbone.image_size_multiple_px
    smallest = -(-backbone.min_image_size_px // multiple) * multiple
    if image_size_px >= smallest and image_size_px % multiple == 0:
        return
    nearest = max(smallest, (image_size_px + multiple // 2) // multiple * multiple)
    allowed = f"multiples of {multiple} from {smallest} on" if multiple > 1 else f"{smallest} or more"
    raise ConfigError(
        f"--image-size {image_size_px} is not allowed for the backbone '{backbone.name}', which takes {allowed}; "
        f"the nearest is {nearest}."
    )


def _check_built(backbone: Backbone, built: object) -> None:
    if not isinstance(built, BackboneModel):
        raise PluginError(_broken(backbone, f"returned {type(built).__name__} instead of BackboneModel"))
    names = [name for name, _ in built.stages]
    if not names or len(set(names)) < len(names) or any(not name or "." in name for name in names):
        raise PluginError(_broken(backbone, f"needs at least one stage, with unique names without dots, not {names}"))


def _broken(backbone: Backbone, what: str) -> str:
    return f"The backbone '{backbone.name}' is broken: {backbone.build} {what}. Report it to the plugin's author."


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


# ── body and head ───────────────────────────────────────────────────────────────────────────────────


def make_body(backbone: BackboneModel) -> nn.Sequential:
    """Return the stages as one module, a child for each; it shares the backbone's tensors.

    Maps float32 (N, 3, S, S), normalised, to (N, C, h, w) or (N, D).
    """
    return nn.Sequential(OrderedDict(backbone.stages))


def pooled(features: Tensor) -> Tensor:
    """Return one vector per picture, float (N, C): the mean of a map (N, C, h, w) or of tokens (N, T, C)."""
    if features.ndim == 4:
        return features.mean((2, 3))
    return features.mean(1) if features.ndim == 3 else features


class MeanPool(nn.Module):
    """The mean over a map or over tokens (``pooled``), as the published networks themselves pool."""

    def forward(self, features: Tensor) -> Tensor:
        """Return the mean of each channel: float32 (N, C)."""
        return pooled(features)


class ConcatPool(nn.Module):
    """The largest value of each channel of a map, then the mean: (N, C, h, w) to (N, 2 C), as fastai pools."""

    def forward(self, features: Tensor) -> Tensor:
        """Return both poolings side by side: float32 (N, 2 C)."""
        return torch.cat([features.amax((2, 3)), features.mean((2, 3))], dim=1)


def make_head(features: int, classes: int, *, kind: Head = "linear", ndim: int = 4) -> nn.Sequential:
    """Return a new head with the children ``pool`` and ``classifier``: features to logits float32 (N, K).

    ``features`` is the width C of the body's output of ``ndim`` axes: a map (N, C, h, w), tokens (N, T, C) or a
    vector (N, C).
    """
    concatenated = kind == "fastai" and ndim == 4
    pool = ConcatPool() if concatenated else MeanPool()
    width = 2 * features if concatenated else features
    classifier = _two_layers(width, classes) if kind == "fastai" else _linear(width, classes)
    return nn.Sequential(OrderedDict(pool=pool, classifier=classifier))


def _linear(features: int, classes: int) -> nn.Sequential:
    """Return a linear classifier of normalised features, starting near zero as torchvision's MobileNets do.

    Each picture's features are normalised (as in ConvNeXt's head), so that one learning rate suits every backbone.
    With few pictures it beat fastai's head of two layers, and it adds next to nothing to the file.
    """
    linear = nn.Linear(features, classes)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.LayerNorm(features, elementwise_affine=False), nn.Dropout(DROPOUT), linear)


def _two_layers(features: int, classes: int) -> nn.Sequential:
    """Return the layers that fastai's ``create_head`` puts after its pooling, initialised as there."""
    layers = nn.Sequential(
        nn.BatchNorm1d(features),
        nn.Dropout(0.25),
        nn.Linear(features, HIDDEN, bias=False),
        nn.ReLU(inplace=True),
        nn.BatchNorm1d(HIDDEN),
        nn.Dropout(0.5),
        nn.Linear(HIDDEN, classes, bias=False),
    )
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
        if isinstance(layer, nn.BatchNorm1d):
            nn.init.constant_(layer.bias, 1e-3)
    return layers


class Network(nn.Module):
    """A body and a head: normalised images float32 (N, 3, S, S) to logits float32 (N, K).

    ``original_keys`` maps the body's state-dict keys to those of the published network; see ``original_keys``.
    ``channels_last`` is the backbone's: inner stages hand on (N, h, w, C); so is ``for_export``.
    """

    def __init__(
        self,
        body: nn.Sequential,
        head: nn.Sequential,
        original_keys: Mapping[str, str],
        channels_last: bool = False,
        for_export: Callable[[nn.Module], nn.Module] = unchanged,
    ) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.original_keys = dict(original_keys)
        self.channels_last = channels_last
        self.for_export = for_export

    def embed(self, images: Tensor) -> Tensor:
        """Return what the classifier sees, the pooled features: float32 (N, D)."""
        embedding: Tensor = self.head.get_submodule("pool")(self.body(images))
        return embedding

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, before softmax or sigmoid: float32 (N, K)."""
        return self.classify(self.embed(images))

    def classify(self, embedding: Tensor) -> Tensor:
        """Return the logits for what ``embed`` returned: float32 (N, D) to (N, K)."""
        logits: Tensor = self.head.get_submodule("classifier")(embedding)
        return logits


def assemble(model: BackboneModel, classes: int, image_size_px: int, head: Head = "linear") -> Network:
    """Return the backbone's body under a new head for so many classes; it shares the model's tensors."""
    body = make_body(model)
    new_head = head_for(body, classes, image_size_px, head)
    return Network(body, new_head, original_keys(model), model.channels_last, model.for_export)


def head_for(body: nn.Module, classes: int, image_size_px: int, kind: Head) -> nn.Sequential:
    """Return a new head that fits a body's output; raise as ``output_width`` does."""
    features, ndim = output_width(body, image_size_px)
    return make_head(features, classes, kind=kind, ndim=ndim)


def keep_up_to(model: BackboneModel, layer: str | None) -> BackboneModel:
    """Return the backbone without the stages above ``layer``; all of them for None.

    Raises ``ConfigError`` for a name that no stage has.
    """
    if layer is None:
        return model
    names = [name for name, _ in model.stages]
    if layer not in names:
        raise ConfigError(unknown_name("--layer", layer, names))
    kept = model.stages[: names.index(layer) + 1]
    if model.channels_last and len(kept) < len(model.stages):
        name, stage = kept[-1]
        kept = (*kept[:-1], (name, nn.Sequential(stage, Permute([0, 3, 1, 2]))))
    return replace(model, stages=kept)


def output_width(body: nn.Module, image_size_px: int) -> tuple[int, int]:
    """Return the width C and the number of axes of the body's output: (N, C, h, w), tokens (N, T, C), or (N, C).

    Raises ``PluginError`` for any other output.
    """
    output = output_form(body, image_size_px)
    if not isinstance(output, Tensor) or output.ndim not in (2, 3, 4) or output.shape[0] != 2 or not output.numel():
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise PluginError(f"The body must return (N, C, h, w), (N, T, C) or (N, C), and returned {shape} for N = 2.")
    return output.shape[2 if output.ndim == 3 else 1], output.ndim


def output_form(module: nn.Module, image_size_px: int) -> Tensor:
    """Return what the module makes of two images (2, 3, S, S), on the meta device: a shape and a type, no numbers.

    It is computed with stand-ins for all tensors, and leaves the module's statistics and the random state as they
    are. Raises ``PluginError`` where the forward fails.
    """
    stand_ins = _without_numbers(module)
    images = torch.empty(2, 3, image_size_px, image_size_px, device="meta")
    try:
        with torch.no_grad():
            # What is tied is told apart above: torch's own way leaves stand-ins in a module that is there twice.
            output: Tensor = torch.func.functional_call(module, stand_ins, (images,), tie_weights=False)
    except Exception as error:
        raise PluginError(f"The body fails on a {image_size_px} px image: {_one_line(error)}") from error
    return output


def _without_numbers(module: nn.Module) -> dict[str, Tensor]:
    """Return stand-ins on the meta device for all tensors, by name; each module once, however often it is there."""
    tensors = {
        f"{name}.{key}".removeprefix("."): tensor
        for name, part in module.named_modules()
        for key, tensor in (*part.named_parameters(recurse=False), *part.named_buffers(recurse=False))
    }
    stand_ins = {id(tensor): tensor.detach().to("meta") for tensor in tensors.values()}
    return {name: stand_ins[id(tensor)] for name, tensor in tensors.items()}


# ── parameter groups ────────────────────────────────────────────────────────────────────────────────


def group_names(body: nn.Sequential) -> list[str]:
    """Return the names of ``parameter_groups``: the stages that have parameters, in order, and ``head``."""
    return [name for name, _ in _stage_parameters(body)] + ["head"]


def parameter_groups(body: nn.Sequential, head: nn.Module) -> list[list[nn.Parameter]]:
    """Return every parameter exactly once: one group per stage that has any, in order, then the head's.

    A parameter that stages share belongs to the first of them. Fits fastai's ``splitter``.
    """
    return [parameters for _, parameters in _stage_parameters(body)] + [list(head.parameters())]


def _stage_parameters(body: nn.Sequential) -> list[tuple[str, list[nn.Parameter]]]:
    seen: set[int] = set()
    groups: list[tuple[str, list[nn.Parameter]]] = []
    for name, stage in body.named_children():
        fresh = [parameter for parameter in stage.parameters() if id(parameter) not in seen]
        seen.update(map(id, fresh))
        if fresh:
            groups.append((name, fresh))
    return groups


# ── state ───────────────────────────────────────────────────────────────────────────────────────────


def original_keys(backbone: BackboneModel) -> dict[str, str]:
    """Return the published network's state-dict key for each key of its body (``make_body``).

    Keys belong together when they name the very same tensor. Raises ``PluginError`` for a tensor of the body that
    the published network does not have.
    """
    published = {id(tensor): key for key, tensor in reversed(backbone.model.state_dict(keep_vars=True).items())}
    body = make_body(backbone).state_dict(keep_vars=True)
    foreign = [key for key, tensor in body.items() if id(tensor) not in published]
    if foreign:
        raise PluginError(
            f"The backbone is broken: '{foreign[0]}' in its stages is no tensor of its model. "
            "Build the stages from the model's own modules, or report it to the plugin's author."
        )
    return {key: published[id(tensor)] for key, tensor in body.items()}


def named_tensors(network: Network) -> dict[str, Tensor]:
    """Return the network's own tensors under the keys of a run's weight file, each once, not copied.

    The body's have the published network's keys, so that other tools can read the file; the head's begin with
    ``head.``.
    """
    body = {network.original_keys[key]: tensor for key, tensor in network.body.state_dict().items()}
    head = {HEAD_PREFIX + key: tensor for key, tensor in network.head.state_dict().items()}
    return {**body, **head}


def state_to_save(network: Network) -> dict[str, Tensor]:
    """Return ``named_tensors`` as contiguous tensors on the CPU, as safetensors takes them."""
    return {key: tensor.detach().cpu().contiguous() for key, tensor in named_tensors(network).items()}
