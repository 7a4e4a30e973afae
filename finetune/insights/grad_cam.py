"""Where a network looks: Grad-CAM for any backbone, at the last layer that still knows where things are.

Nothing of a backbone has to be told: the layer is found by sending one picture through and looking at what comes out
of each module. Shapes: ``N`` pictures, ``S`` their side in pixels, ``C`` channels, ``h``/``w`` cells of a map, ``T``
tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
import torch
from captum.attr import LayerGradCam
from numpy.typing import NDArray
from torch import Tensor, nn

from finetune.networks.network import Network

BATCH_SIZE = 16
FEWEST_CELLS = 4
"""A map with fewer cells along a side says next to nothing."""
ENOUGH_CELLS = range(FEWEST_CELLS, 2 * FEWEST_CELLS + 1)
"""So many has an earlier map that is taken instead; one with more is of too early a layer."""
MOST_PREFIX_TOKENS = 16
"""At most so many tokens are of no place: a class token, a second one for distillation, registers."""


def heat_maps(network: Network, images: Tensor, labels: Tensor) -> NDArray[np.uint8] | None:
    """Return where each picture speaks for its label: uint8 (N, h, w), the strongest cell of a picture 255.

    ``images`` are float32 (N, 3, S, S), normalised, ``labels`` int64 (N,), the numbers of the outputs that are
    explained. The cells lie evenly over the picture. What speaks against the label is 0, and a picture of which
    nothing speaks for it is 0 everywhere. Returns None for a backbone that nowhere hands on a map, or tokens that have
    a place. The network answers as it does when deployed, and is left as it was found, gradients included.

    Grad-CAM (Selvaraju et al. 2017), of the output before softmax or sigmoid, by captum's ``LayerGradCam``, with two
    corrections: ``_constant_scales``, and a shift to where the cells look in fact (``TargetLayer.offset``).
    """
    with _at_rest(network), torch.inference_mode(False), torch.enable_grad():
        # A clone, since tensors that were made in inference mode can have no gradients.
        images, labels = images.detach().clone(), labels.detach().clone()
        layer = target_layer(network, images.shape[-1])
        if layer is None:
            return None
        none = np.empty((0, layer.layout.side, layer.layout.side), np.uint8)
        batches = [slice(start, start + BATCH_SIZE) for start in range(0, len(images), BATCH_SIZE)]
        return np.concatenate([none, *(_heat(network, layer, images[batch], labels[batch]) for batch in batches)])


def _heat(network: Network, layer: TargetLayer, images: Tensor, labels: Tensor) -> NDArray[np.uint8]:
    seen = nn.Identity()
    with _constant_scales(network):
        # After those of the scales: the layer may be a normalisation itself.
        hook = layer.module.register_forward_hook(lambda *passed: layer.layout.through(seen, passed[-1]))
        try:
            maps = LayerGradCam(network, seen).attribute(images, target=labels, relu_attributions=True)
        finally:
            hook.remove()
    heat = _shifted(maps.detach(), layer.offset)[:, 0]  # (N, h, w), 0 or more
    strongest = heat.amax((1, 2), keepdim=True)
    scaled: NDArray[np.float32] = (heat * 255 / strongest.where(strongest > 0, 1)).numpy()
    return scaled.round().astype(np.uint8)


def _shifted(maps: Tensor, offset: tuple[float, float]) -> Tensor:
    """Return maps (N, 1, h, w) of cells that look beside their places, drawn where they look."""
    down, right = (-2 * cells / side for cells, side in zip(offset, maps.shape[2:], strict=True))
    turn = maps.new_tensor([[1, 0, right], [0, 1, down]]).expand(len(maps), -1, -1)
    grid = nn.functional.affine_grid(turn, list(maps.shape), align_corners=False)
    return nn.functional.grid_sample(maps, grid, padding_mode="border", align_corners=False)


@contextmanager
def _constant_scales(network: Network) -> Iterator[None]:
    """Let gradients take the scales of layer normalisations for constants; what the network answers stays the same.

    What fills the features also sets their scale, and a gradient through that says that more of it changes nothing: a
    dog that is most of what there is to see would not speak for "dog". Constant, the parts sum up to the answer (Ali
    et al. 2022, "XAI for transformers: better explanations through conservative propagation").
    """
    norms = [module for module in network.modules() if isinstance(module, nn.LayerNorm)]
    hooks = [norm.register_forward_hook(_at_constant_scale) for norm in norms]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _at_constant_scale(norm: nn.LayerNorm, given: tuple[Tensor], output: Tensor) -> Tensor:
    features, shape = given[0], tuple(norm.normalized_shape)
    if tuple(features.shape[-len(shape) :]) != shape:
        return output  # an heir that normalises another axis
    axes = tuple(range(-len(shape), 0))
    centred = features - features.mean(axes, keepdim=True)
    scaled = centred / (centred.detach().square().mean(axes, keepdim=True) + norm.eps).sqrt()
    if norm.weight is not None:
        scaled = scaled * norm.weight
    if norm.bias is not None:
        scaled = scaled + norm.bias
    return scaled if torch.allclose(scaled, output, rtol=1e-3, atol=1e-3) else output


@contextmanager
def _at_rest(network: nn.Module) -> Iterator[None]:
    """Put a network into eval mode, without gradients for its parameters, and back into the state it was in."""
    training = [(module, module.training) for module in network.modules()]
    learning = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    network.eval().requires_grad_(False)
    try:
        yield
    finally:
        for module, was in training:
            module.training = was
        for parameter, did in learning:
            parameter.requires_grad_(did)


# ── how a map lies in what a module returns ─────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Layout:
    """How ``side`` × ``side`` cells lie in a tensor: a map (N, C, h, w), one (N, h, w, C), or tokens (N, T, C).

    The first ``prefix`` tokens are of no place.
    """

    side: int
    tokens: bool = False
    channels_last: bool = False
    prefix: int = 0

    def through(self, module: nn.Module, features: Tensor) -> Tensor:
        """Return the features after their cells, as a map (N, C, h, w), went through a module that changes nothing."""
        cells: Tensor = module(self.as_map(features))
        if self.tokens:
            return torch.cat([features[:, : self.prefix], cells.flatten(2).transpose(1, 2)], dim=1)
        return cells.permute(0, 2, 3, 1) if self.channels_last else cells

    def as_map(self, features: Tensor) -> Tensor:
        """Return the cells as a map (N, C, h, w)."""
        if self.tokens:
            placed = features[:, self.prefix :].transpose(1, 2)
            return placed.reshape(len(placed), -1, self.side, self.side)
        return features.permute(0, 3, 1, 2) if self.channels_last else features


def layout_of(shape: tuple[int, ...], image_size_px: int) -> Layout | None:
    """Return how a map of square pictures lies in a tensor of this shape; None for what has no cells side by side.

    That is a vector, and a single cell, too. Of tokens the cells are the largest square that divides the picture
    evenly; the rest are at the front, as in every published vision transformer.
    """
    if len(shape) == 4 and shape[2] == shape[3] > 1:
        return Layout(shape[2])
    if len(shape) == 4 and shape[1] == shape[2] > 1:
        return Layout(shape[1], channels_last=True)
    if len(shape) == 3:
        sides = range(isqrt(shape[1]), 1, -1)
        likely = [side for side in sides if shape[1] - side**2 <= MOST_PREFIX_TOKENS]
        even = [side for side in likely if image_size_px % side == 0]
        return next((Layout(side, tokens=True, prefix=shape[1] - side**2) for side in (even or likely)), None)
    return None


# ── where ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class TargetLayer:
    """A module that hands on all that the network goes by, and how the cells lie in what it returns.

    ``offset`` is how far below and right of its place in the map a cell looks, in cells.
    """

    module: nn.Module
    layout: Layout
    offset: tuple[float, float]


@dataclass
class _Passing:
    """What a module returned: the tensor, the step that made it, and how often the module was asked."""

    module: nn.Module
    layout: Layout
    tensor: Tensor
    made_by: Any
    times: int = 1


def target_layer(network: Network, image_size_px: int) -> TargetLayer | None:
    """Return the last layer of a network at rest where pictures go through as a map; None if there is none.

    All that the network answers depends on what is handed on there, and on every cell of it: above the last block of a
    vision transformer that goes by its class token, for one, the other tokens no longer matter. Where that layer has
    fewer than ``FEWEST_CELLS`` along a side, as with small pictures, it is the last map that has ``ENOUGH_CELLS``, if
    any has. It does not depend on pictures: noise is sent through.
    """
    noise = torch.randn(2, 3, image_size_px, image_size_px, generator=torch.Generator().manual_seed(0))
    passed, embedding = _followed(network, noise.requires_grad_(True))
    whole = [passing for passing in passed if passing.times == 1 and _is_whole(embedding, passing.made_by)]
    found = list(_mattering(whole, embedding))
    if not found:
        return None
    chosen = found[-1]
    if chosen.layout.side < FEWEST_CELLS:
        # Not tokens: such as become fewer may lie in any order before they do, as Hiera's.
        maps = [each for each in found if not each.layout.tokens]
        chosen = next((each for each in reversed(maps) if each.layout.side in ENOUGH_CELLS), chosen)
    return TargetLayer(chosen.module, chosen.layout, _offset(chosen, noise))


def _offset(passing: _Passing, images: Tensor) -> tuple[float, float]:
    """Return how far below and right of the middle of the picture the cells in the middle look, in cells.

    Convolutions with a stride that pad both sides look up and left: a MobileNetV2's by most of a cell. Measured as the
    centre of their effective receptive field (Luo et al. 2016); tokens are cut from the picture without any padding.
    """
    side = passing.layout.side
    if passing.layout.tokens:
        return 0.0, 0.0
    middle = passing.layout.as_map(passing.tensor)[
        :, :, (side - 1) // 2 : side // 2 + 1, (side - 1) // 2 : side // 2 + 1
    ]
    direction = torch.arange(middle.numel()).sin().reshape(middle.shape)
    (gradient,) = torch.autograd.grad(middle, images, direction)
    field = gradient.square().sum((0, 1))
    places = (torch.arange(len(field)) + 0.5) / len(field) - 0.5  # from the middle, in pictures
    down, right = ((field.sum(axis) * places).sum().item() / field.sum().item() * side for axis in (1, 0))
    return down, right


def _followed(network: Network, images: Tensor) -> tuple[list[_Passing], Tensor]:
    """Return what the modules of the body returned that has cells, in order, and the embedding of the pictures."""
    passed: dict[nn.Module, _Passing] = {}

    def remember(module: nn.Module, _: object, output: object) -> None:
        if module in passed:
            passed[module].times += 1
        elif isinstance(output, Tensor) and (layout := _layout_in(output, images)):
            passed[module] = _Passing(module, layout, output, output.grad_fn)

    hooks = [module.register_forward_hook(remember) for module in network.body.modules()]
    try:
        embedding = network.embed(images)
    finally:
        for hook in hooks:
            hook.remove()
    return list(passed.values()), embedding


def _layout_in(output: Tensor, images: Tensor) -> Layout | None:
    return layout_of(tuple(output.shape), images.shape[-1]) if output.shape[:1] == images.shape[:1] else None


def _is_whole(embedding: Tensor, made_by: Any) -> bool:
    """Whether every way from the picture to its embedding leads over a step, so that nothing goes round it."""
    waiting, seen = [embedding.grad_fn], {made_by}
    while waiting:
        step = waiting.pop()
        if step is None or step in seen:
            continue
        seen.add(step)
        if not step.next_functions:  # the picture itself: nothing else here takes gradients
            return False
        waiting += [before for before, _ in step.next_functions]
    return True


def _mattering(passed: Sequence[_Passing], embedding: Tensor) -> Iterator[_Passing]:
    """Yield those of which most cells have a part in the embedding of the pictures."""
    if not passed:
        return
    # In no direction that a network is made blind to, such as all features at once after a normalisation.
    direction = torch.arange(embedding.numel(), device=embedding.device).sin().reshape(embedding.shape)
    tensors = [each.tensor for each in passed]
    gradients = torch.autograd.grad(embedding, tensors, direction, retain_graph=True, allow_unused=True)
    for each, gradient in zip(passed, gradients, strict=True):
        if gradient is not None and (each.layout.as_map(gradient) != 0).any(1).float().mean() > 0.5:
            yield each
