"""Real networks cut at every boundary: what is below and what is above make up the network."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from finetune.networks.network import (
    Network,
    assemble,
    build_backbone,
    group_names,
    make_head,
    output_width,
    parameter_groups,
    pooled,
)
from finetune.plugins import load_plugins
from finetune.training.boundary import BATCH, LARGEST_VIEW_BYTES, Boundary, Pooled, boundary_of
from finetune.training.precision import autocast

CLASSES = 3
SIZES = {
    "convnext_tiny": 32,
    "mobilenet_v2": 32,
    "resnet18": 32,
    "squeezenet1_1": 48,
    "swin_t": 64,
    "vit_b_32": 64,
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small only wait for each other's threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    network_of.cache_clear()


@functools.cache
def network_of(name: str) -> Network:
    """Build a network as if it were trained: every parameter and statistic away from where it begins."""
    torch.manual_seed(0)
    network = assemble(build_backbone(load_plugins().find_backbone(name), SIZES[name]), CLASSES, SIZES[name])
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            if key.endswith("layer_scale"):
                parameter.fill_(0.5)
            else:
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # until here, statistics are plain averages
        network.train()(images(name, 8, seed=2))
    return network.eval()


def images(name: str, count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, SIZES[name], SIZES[name], generator=torch.Generator().manual_seed(seed))


def cuts(name: str) -> Iterator[tuple[int, Boundary]]:
    """Yield the boundary below each parameter group that may be the first to learn."""
    for frozen in range(len(group_names(network_of(name).body))):
        yield frozen, boundary_of(network_of(name), frozen, SIZES[name])


@pytest.mark.parametrize("name", SIZES)
def test_at_every_boundary_what_is_above_of_what_is_below_is_the_network(name: str) -> None:
    batch = images(name, 2)
    with torch.no_grad():
        expected = network_of(name)(batch)
        assert expected.std() > 1e-3, "a network whose answers vanish proves nothing"
        for _, boundary in cuts(name):
            activations = boundary.below(batch)
            found = boundary.above.eval()(boundary.seen_above(activations))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
            assert tuple(activations.shape[1:]) == boundary.shape
            assert activations.dtype == torch.float32


@pytest.mark.parametrize("name", SIZES)
def test_what_learns_is_above_the_boundary_and_what_is_frozen_below(name: str) -> None:
    groups = parameter_groups(network_of(name).body, network_of(name).head)
    for frozen, boundary in cuts(name):
        learning = {id(parameter) for group in groups[frozen:] for parameter in group}
        at_rest = {id(parameter) for group in groups[:frozen] for parameter in group}
        assert {id(parameter) for parameter in boundary.above.parameters()} == learning
        assert {id(parameter) for parameter in boundary.below.parameters()} == at_rest


def below_the_head(network: Network, name: str) -> tuple[Boundary, Pooled]:
    boundary = boundary_of(network, len(group_names(network.body)) - 1, SIZES[name])
    assert isinstance(boundary.below, Pooled)
    return boundary, boundary.below


@pytest.mark.parametrize("name", SIZES)
def test_below_a_whole_body_one_pass_pools_every_stage_over_its_channels(name: str) -> None:
    network = network_of(name)
    boundary, below = below_the_head(network, name)
    batch = images(name, 2)

    with torch.no_grad():
        activations = below(batch)
        found, expected, features = below.by_stage(activations), {}, batch
        for stage, layers in network.body.named_children():
            features = layers(features)
            inner = stage != group_names(network.body)[-2]
            expected[stage] = pooled(features.movedim(-1, 1) if name.startswith("swin") and inner else features)
        embedding = network.embed(batch)

    assert list(found) == list(expected)
    for stage, means in expected.items():
        torch.testing.assert_close(found[stage], means, msg=lambda text, stage=stage: f"{stage}: {text}")
    torch.testing.assert_close(boundary.seen_above(activations), embedding)
    assert boundary.is_pooled


def test_swins_stages_are_pooled_to_their_growing_channels() -> None:
    _, below = below_the_head(network_of("swin_t"), "swin_t")

    assert below.widths == (96, 96, 192, 384, 768, 768)  # of the last, the largest values and the means


@pytest.mark.parametrize("name", ["squeezenet1_1", "vit_b_32"])
def test_a_fastai_head_and_a_linear_one_share_what_is_computed_below_them(name: str) -> None:
    linear = network_of(name)
    torch.manual_seed(3)
    features, ndim = output_width(linear.body, SIZES[name])
    fastai = Network(linear.body, make_head(features, CLASSES, kind="fastai", ndim=ndim), linear.original_keys).eval()
    (below, expected_below), batch = below_the_head(linear, name), images(name, 2)
    above, _ = below_the_head(fastai, name)

    with torch.no_grad():
        activations = expected_below(batch)
        seen = above.seen_above(activations)

        torch.testing.assert_close(above.above(seen), fastai(batch))
        torch.testing.assert_close(seen, fastai.embed(batch))
    assert above.shape == below.shape
    assert str(above.below) == str(below.below)


@pytest.mark.parametrize("name", ["convnext_tiny", "mobilenet_v2", "swin_t"])  # with batch norms or stochastic depth
def test_what_is_below_is_in_eval_mode_and_no_step_of_training_above_moves_it(name: str) -> None:
    network = network_of(name).train()
    batch = images(name, 2)
    for _, boundary in cuts(name):
        before = {key: tensor.clone() for key, tensor in boundary.below.state_dict().items()}
        boundary.above.train()
        with torch.no_grad():
            once, again = boundary.below(batch), boundary.below(batch)
        assert torch.equal(once, again)
        assert not any(module.training for module in boundary.below.modules())
        assert all(torch.equal(before[key], tensor) for key, tensor in boundary.below.state_dict().items())
    network.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", SIZES)
def test_in_batches_of_one_size_what_leaves_for_a_picture_is_the_same_bit_for_bit_in_any_company_and_place(
    name: str, dtype: torch.dtype
) -> None:
    pictures = images(name, 2 * BATCH).contiguous(memory_format=torch.channels_last)
    chance = torch.Generator().manual_seed(4)
    places = torch.randperm(2 * BATCH, generator=chance)[:BATCH]
    repeated = torch.arange(BATCH).clamp(max=2)
    for _, boundary in cuts(name):
        with torch.no_grad(), autocast(dtype):
            alone, company, few = (boundary.below(pictures[some]) for some in (range(BATCH), places, repeated))
        for place, picture in enumerate(places.tolist()):
            assert picture >= BATCH or torch.equal(company[place], alone[picture])
        assert torch.equal(few[:3], alone[:3])


@pytest.mark.parametrize("name", SIZES)
def test_above_every_boundary_can_learn_from_bfloat16(name: str) -> None:
    for _, boundary in cuts(name):
        with torch.no_grad(), autocast(torch.bfloat16):
            activations = boundary.below(images(name, 2))
        kept = activations if boundary.is_pooled else activations.to(torch.bfloat16)
        try:
            with autocast(torch.bfloat16):
                logits = boundary.above.train()(boundary.seen_above(kept).clone())
            nn.functional.cross_entropy(logits.float(), torch.tensor([0, 1])).backward()
            gradients = [parameter.grad for parameter in boundary.above.parameters()]
        finally:
            boundary.above.eval()
            network_of(name).zero_grad(set_to_none=True)
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_finding_the_boundary_draws_nothing_and_leaves_the_head_in_training() -> None:
    network = network_of("resnet18")
    network.head.train()
    before = torch.get_rng_state()

    boundary_of(network, 3, SIZES["resnet18"])

    assert torch.equal(torch.get_rng_state(), before)
    assert network.head.training
    network.eval()


def test_a_boundary_deeper_in_the_network_leaves_less() -> None:
    sizes = [torch.Size(boundary.shape).numel() for frozen, boundary in cuts("mobilenet_v2") if frozen]

    assert all(deeper < higher for higher, deeper in pairwise(sizes[:-1]))


def test_what_is_too_large_to_read_back_is_not_worth_keeping() -> None:
    nothing = nn.Sequential()

    assert Boundary(1, nothing, nothing, (LARGEST_VIEW_BYTES // 4,)).is_worth_keeping(10)
    assert not Boundary(1, nothing, nothing, (LARGEST_VIEW_BYTES // 4 + 1,)).is_worth_keeping(10)
    for frozen, boundary in cuts("resnet18"):
        assert boundary.is_worth_keeping(10) == (torch.Size(boundary.shape).numel() <= LARGEST_VIEW_BYTES // 4), frozen


def test_maps_that_find_no_room_on_the_disk_are_not_worth_keeping_and_pooled_outputs_always_are() -> None:
    nothing, views = nn.Sequential(), 10**13

    assert not Boundary(1, nothing, nothing, (4, 8, 8)).is_worth_keeping(views)
    assert Boundary(1, nothing, nothing, (256,), seen_width=64).is_worth_keeping(views)


def test_a_stage_without_parameters_belongs_to_the_part_below_the_next_that_has_any() -> None:
    stages = {"stem": nn.Conv2d(3, 4, 3), "act": nn.ReLU(), "stage1": nn.Conv2d(4, 5, 3)}
    network = Network(nn.Sequential(OrderedDict(stages)), make_head(5, CLASSES), {})

    boundary = boundary_of(network, 1, 16)

    assert [*boundary.below] == [stages["stem"], stages["act"]]
    assert [*boundary.above] == [stages["stage1"], network.head]
    assert boundary.shape == (4, 14, 14)


def test_a_stage_may_be_called_head() -> None:
    stages = {"stem": nn.Conv2d(3, 4, 3), "head": nn.Conv2d(4, 5, 3)}
    network = Network(nn.Sequential(OrderedDict(stages)), make_head(5, CLASSES), {}).eval()
    batch = torch.randn(2, 3, 16, 16)

    for frozen in range(3):
        boundary = boundary_of(network, frozen, 16)
        with torch.no_grad():
            found = boundary.above.eval()(boundary.seen_above(boundary.below(batch)))
            torch.testing.assert_close(found, network(batch))
        assert boundary.is_pooled == (frozen == 2)
