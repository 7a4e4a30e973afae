"""Heat maps of any backbone: where they are made, what they mean, and that a network is left as it was."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from finetune.builtin.torchvision_families import ClassToken, PatchEmbedding
from finetune.insights.grad_cam import Layout, TargetLayer, heat_maps, layout_of, target_layer
from finetune.networks.network import BackboneModel, Network, assemble, build_backbone
from finetune.plugins import load_plugins

SIDES = {
    "mobilenet_v2": (64, 4),
    "resnet18": (64, 4),
    "shufflenet_v2_x0_5": (64, 4),
    "squeezenet1_1": (48, 5),
}
"""Small networks of several families: the side of their pictures, and that of their heat maps."""
MORE_SIDES = {
    "alexnet": (64, 7),
    "convnext_tiny": (64, 4),
    "densenet121": (64, 4),
    "efficientnet_b0": (64, 4),
    "googlenet": (64, 4),
    "inception_v3": (75, 7),
    "maxvit_t": (224, 7),
    "mnasnet0_5": (64, 4),
    "regnet_y_400mf": (64, 4),
    "swin_t": (64, 4),
    "vgg11_bn": (64, 4),
    "vit_b_16": (64, 4),
}
"""One of each of the other families."""


@cache
def network(name: str, size: int) -> Network:
    torch.manual_seed(3)
    made = assemble(build_backbone(load_plugins().find_backbone(name), size), 3, size)
    nn.init.normal_(made.head[1][2].weight)  # it starts near zero
    return made


def noise(count: int, size: int) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def made(network: Network, images: Tensor, labels: Tensor) -> NDArray[np.uint8]:
    maps = heat_maps(network, images, labels)
    assert maps is not None
    return maps


@pytest.mark.parametrize("name", [*SIDES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE_SIDES)])
def test_a_network_of_every_family_has_heat_maps_that_are_the_same_alone_and_together(name: str) -> None:
    size, side = (SIDES | MORE_SIDES)[name]
    images, labels = noise(3, size), torch.tensor([0, 1, 2])

    together = made(network(name, size), images, labels)
    alone = made(network(name, size), images[1:2], labels[1:2])

    assert (together.shape, together.dtype) == ((3, side, side), np.uint8)
    assert any(one.std() > 0 for one in together)
    assert {one.max() for one in together} <= {0, 255}
    assert np.abs(together[1:2].astype(int) - alone).max() <= 2


def test_no_pictures_have_no_heat_maps() -> None:
    maps = made(network("squeezenet1_1", 48), noise(0, 48), torch.zeros(0, dtype=torch.int64))

    assert (maps.shape, maps.dtype) == ((0, 5, 5), np.uint8)


def test_another_label_has_another_map() -> None:
    images = noise(1, 48).expand(3, -1, -1, -1)

    zero, one, two = made(network("squeezenet1_1", 48), images, torch.tensor([0, 1, 2]))

    assert not np.array_equal(zero, one)
    assert not np.array_equal(one, two)


def test_more_pictures_than_go_through_at_once_come_in_their_order() -> None:
    images, labels = noise(35, 48), torch.arange(35) % 3

    maps = made(network("squeezenet1_1", 48), images, labels)

    assert len(maps) == 35
    last = made(network("squeezenet1_1", 48), images[33:], labels[33:])
    assert np.abs(maps[33:].astype(int) - last).max() <= 2


# ── what they mean ──────────────────────────────────────────────────────────────────────────────────


def coloured(colour: tuple[float, float, float], row: int, column: int) -> Tensor:
    """Draw a square of a colour in one of 4 × 4 fields of a grey picture with some noise."""
    image = 0.05 * torch.randn(3, 64, 64)
    image[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] += torch.tensor(colour)[:, None, None]
    return image


def squeezenet() -> Network:
    return assemble(build_backbone(load_plugins().find_backbone("squeezenet1_1"), 64), 3, 64)


def small_vit() -> Network:
    """Return a vision transformer of three blocks, cut as torchvision's large ones are."""
    vit = VisionTransformer(64, patch_size=16, num_layers=3, num_heads=2, hidden_dim=32, mlp_dim=64)
    stages = (PatchEmbedding(vit), *vit.encoder.layers, nn.Sequential(vit.encoder.ln, ClassToken()))
    return assemble(BackboneModel(model=vit, stages=tuple((f"s{n}", s) for n, s in enumerate(stages))), 3, 64)


def taught(network: Network, steps: int, rate: float) -> Network:
    """Teach a network to tell red squares (0), blue ones (1) and none (2) apart, wherever they are."""
    optimizer = torch.optim.AdamW(network.parameters(), rate)
    labels = torch.arange(18) % 3
    for _ in range(steps):
        places = torch.randint(0, 4, (18, 2)).tolist()
        pictures = [coloured(COLOURS[int(label)], *place) for label, place in zip(labels, places, strict=True)]
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(torch.stack(pictures)), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network.eval()


COLOURS = ((3.0, 0.0, 0.0), (0.0, 0.0, 3.0), (0.0, 0.0, 0.0))
PLACES = ((0, 0), (0, 3), (3, 0), (3, 3), (1, 2), (2, 1))


@pytest.mark.slow
@pytest.mark.parametrize(("make", "steps", "rate"), [(squeezenet, 25, 1e-3), (small_vit, 60, 3e-3)])
def test_the_heat_is_where_the_decisive_square_is(make: Callable[[], Network], steps: int, rate: float) -> None:
    torch.manual_seed(1)
    network = taught(make(), steps, rate)
    images = torch.stack([coloured(COLOURS[number % 2], *place) for number, place in enumerate(PLACES)])
    labels = torch.arange(6) % 2
    with torch.no_grad():
        assert torch.equal(network(images).argmax(1), labels), "it has not learned to tell them apart"

    for heat, (row, column) in zip(made(network, images, labels), PLACES, strict=True):
        hottest = (np.array(np.unravel_index(heat.argmax(), heat.shape)) + 0.5) / len(heat)
        assert np.abs(hottest - (np.array([row, column]) + 0.5) / 4).max() <= 0.2


class Whiteness(nn.Module):
    """Says of each token, or each place of a map, how bright it is, at a stride of 16 pixels."""

    def __init__(self, tokens: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 2, 16, 16)
        self.tokens = tokens
        with torch.no_grad():
            self.patches.weight.copy_(torch.tensor([1.0, -1.0])[:, None, None, None].expand_as(self.patches.weight))
            self.patches.bias.zero_()  # type: ignore[union-attr]

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.patches(images)
        if not self.tokens:
            return maps
        tokens = maps.flatten(2).transpose(1, 2)
        return torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)  # a class token in front


class Gathering(nn.Module):
    """A last block that gathers the tokens in the first, by which the picture is then known."""

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.cat([tokens.mean(1, keepdim=True), tokens[:, 1:]], dim=1)


class First(nn.Module):
    """Picks the first token."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0]


class ChannelsLast(nn.Module):
    """Hands a map on as (N, h, w, C)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.permute(0, 2, 3, 1).contiguous()


class Average(nn.Module):
    """Averages the cells of a map (N, h, w, C)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((1, 2))


class Others(nn.Module):
    """Leaves the first token out."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens[:, 1:]


def by_hand(*stages: nn.Module) -> Network:
    """Return a network of these stages whose only logits are the brightness, and its opposite."""
    whole = nn.Sequential(*stages)
    bright = assemble(BackboneModel(model=whole, stages=tuple((f"s{n}", s) for n, s in enumerate(stages))), 2, 64)
    linear = bright.head[1][2]
    nn.init.eye_(linear.weight)
    return bright.eval()


MAP = (Whiteness(tokens=False),)
LAST = (Whiteness(tokens=False), ChannelsLast(), Average())
TOKENS = (Whiteness(tokens=True), Gathering(), First())
NORMAL = (Whiteness(tokens=True), nn.LayerNorm(2), Others())


@pytest.mark.parametrize("stages", [MAP, LAST, TOKENS, NORMAL], ids=["map", "channels last", "class token", "norm"])
def test_a_bright_corner_is_the_whole_heat_of_brightness(stages: tuple[nn.Module, ...]) -> None:
    images = torch.zeros(1, 3, 64, 64)
    images[:, :, 48:, :16] = 1.0

    heat = made(by_hand(*stages), images, torch.tensor([0]))[0]

    expected = np.zeros((4, 4), np.uint8)
    expected[3, 0] = 255
    assert np.abs(heat.astype(int) - expected).max() <= 25


def test_what_nothing_speaks_for_is_cold_everywhere() -> None:
    images = torch.zeros(1, 3, 64, 64)
    images[:, :, 48:, :16] = 1.0

    assert not made(by_hand(*MAP), images, torch.tensor([1])).any()


# ── where they are made ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("stages", "number", "layout"),
    [(TOKENS, 0, Layout(4, tokens=True, prefix=1)), (LAST, 1, Layout(4, channels_last=True))],
    ids=["class token", "channels last"],
)
def test_above_what_gathers_the_cells_nothing_is_taken(
    stages: tuple[nn.Module, ...], number: int, layout: Layout
) -> None:
    chosen = by_hand(*stages)

    layer = layer_at_rest(chosen, 64)

    assert layer is not None
    assert layer.module is chosen.body[number]
    assert layer.layout == layout


def test_a_backbone_that_hands_on_vectors_alone_has_no_heat_map() -> None:
    flat = by_hand(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(3, 2))

    assert heat_maps(flat, noise(2, 64), torch.tensor([0, 1])) is None


def test_a_way_round_a_map_rules_it_out() -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Conv2d(3, 4, 16, 16)

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images).mean((2, 3)) + images.mean((1, 2, 3))[:, None]

    assert heat_maps(by_hand(Around(), nn.Linear(4, 2)), noise(1, 64), torch.tensor([0])) is None


def test_small_maps_give_way_to_the_last_large_one() -> None:
    small, large = (layer_at_rest(network("resnet18", size), size) for size in (64, 128))

    assert small is not None
    assert large is not None
    assert small.module is network("resnet18", 64).body.layer3
    assert large.module is network("resnet18", 128).body


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("resnet18", -0.8, -0.2), pytest.param("convnext_tiny", -0.15, 0.15, marks=pytest.mark.slow)],
)
def test_a_network_looks_up_and_left_of_its_cells_where_its_strides_are_padded(
    name: str, low: float, high: float
) -> None:
    layer = layer_at_rest(network(name, 128), 128)

    assert layer is not None
    assert all(low < offset < high for offset in layer.offset)


def layer_at_rest(chosen: Network, size: int) -> TargetLayer | None:
    return target_layer(chosen.eval().requires_grad_(False), size)


@settings(max_examples=30)
@given(patch=st.sampled_from([8, 14, 16, 32]), side=st.integers(2, 37), prefix=st.integers(0, 5))
def test_tokens_of_patches_lie_in_the_grid_that_divides_the_picture(patch: int, side: int, prefix: int) -> None:
    found = layout_of((1, side * side + prefix, 192), patch * side)

    assert found is not None
    if side > 3:  # of a handful of tokens, one more row may as well be a class token
        assert found == Layout(side, tokens=True, prefix=prefix)


@pytest.mark.parametrize("layout", [Layout(3), Layout(3, channels_last=True), Layout(3, tokens=True, prefix=2)])
def test_what_goes_through_unchanged_comes_out_unchanged(layout: Layout) -> None:
    shape = {(False, False): (2, 5, 3, 3), (False, True): (2, 3, 3, 5), (True, False): (2, 11, 5)}
    features = torch.randn(shape[layout.tokens, layout.channels_last])

    assert torch.equal(layout.through(nn.Identity(), features), features)
    assert layout.as_map(features).shape == (2, 5, 3, 3)


# ── the network afterwards ──────────────────────────────────────────────────────────────────────────


def test_a_network_is_left_as_it_was_found() -> None:
    used = assemble(build_backbone(load_plugins().find_backbone("resnet18"), 64), 2, 64).to(
        memory_format=torch.channels_last
    )
    used.train()
    used.body.layer1.eval().requires_grad_(False)
    used(noise(2, 64)).sum().backward()
    before = {name: tensor.clone() for name, tensor in used.state_dict().items()}
    gradients = {name: p.grad.clone() for name, p in used.named_parameters() if p.grad is not None}
    modes = {name: module.training for name, module in used.named_modules()}
    learning = {name: parameter.requires_grad for name, parameter in used.named_parameters()}
    images = noise(2, 64)
    given = images.clone()

    with torch.inference_mode():
        made(used, images, torch.tensor([0, 1]))

    assert {name: module.training for name, module in used.named_modules()} == modes
    assert {name: parameter.requires_grad for name, parameter in used.named_parameters()} == learning
    assert all(torch.equal(tensor, before[name]) for name, tensor in used.state_dict().items())
    grown = {name: p.grad for name, p in used.named_parameters() if p.grad is not None}
    assert grown.keys() == gradients.keys()
    assert all(torch.equal(tensor, gradients[name]) for name, tensor in grown.items())
    assert torch.equal(images, given)
    assert not images.requires_grad
    assert not any(module._forward_hooks for module in used.modules())
