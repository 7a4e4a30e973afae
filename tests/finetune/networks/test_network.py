"""The network's own rules, on backbones that are small enough to read."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from finetune.errors import ConfigError, DataError, PluginError
from finetune.networks.network import (
    BackboneModel,
    assemble,
    build_backbone,
    check_image_size,
    group_names,
    make_body,
    make_head,
    original_keys,
    output_form,
    output_width,
    parameter_groups,
    state_to_save,
)
from finetune.types import Backbone


class Tiny(nn.Module):
    """A published network in miniature: two convolutions, a batch norm, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.fc = nn.Linear(6, 10)


def tiny() -> BackboneModel:
    model = Tiny()
    stages = (("stem", nn.Sequential(model.conv1, model.norm)), ("act", nn.ReLU()), ("stage1", model.conv2))
    return BackboneModel(model=model, stages=stages)


def backbone(build: str = "tiny_plugin:build", **facts: int) -> Backbone:
    return Backbone(name="tiny", family="tiny", summary="", build=build, parameters=1, **facts)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("tiny_plugin")
    monkeypatch.setitem(sys.modules, "tiny_plugin", module)
    module.build = lambda *_: tiny()
    return module


# ── building ────────────────────────────────────────────────────────────────────────────────────────


def test_a_backbone_is_built_by_the_function_that_it_names(plugin):
    plugin.build = lambda backbone, image_size_px: asked.append((backbone.name, image_size_px)) or tiny()
    asked = []
    assert isinstance(build_backbone(backbone(), 32).model, Tiny)
    assert asked == [("tiny", 32)]


@pytest.mark.parametrize(
    ("facts", "size", "text"),
    [
        ({"min_image_size_px": 32}, 31, "takes 32 or more; the nearest is 32."),
        ({"image_size_multiple_px": 16}, 100, "takes multiples of 16 from 32 on; the nearest is 96."),
        ({"image_size_multiple_px": 16}, 104, "takes multiples of 16 from 32 on; the nearest is 112."),
        (
            {"image_size_multiple_px": 14, "min_image_size_px": 16},
            14,
            "takes multiples of 14 from 28 on; the nearest is 28.",
        ),
    ],
)
def test_an_image_size_that_does_not_fit_is_refused_with_the_nearest_that_does(facts, size, text):
    with pytest.raises(ConfigError) as refused:
        check_image_size(backbone(**facts), size)
    assert str(refused.value) == f"--image-size {size} is not allowed for the backbone 'tiny', which {text}"


@pytest.mark.parametrize(("facts", "size"), [({}, 32), ({}, 33), ({"image_size_multiple_px": 16}, 48)])
def test_an_image_size_that_fits_passes(facts, size):
    check_image_size(backbone(**facts), size)


@pytest.mark.parametrize(
    ("build", "text"),
    [
        ("no_such_plugin:build", "ModuleNotFoundError: No module named 'no_such_plugin'"),
        ("tiny_plugin:biuld", "AttributeError: module 'tiny_plugin' has no attribute 'biuld'"),
    ],
)
def test_a_build_function_that_is_not_there_is_the_plugins_fault(plugin, build, text):
    with pytest.raises(PluginError) as broken:
        build_backbone(backbone(build), 32)
    assert str(broken.value) == f"The backbone 'tiny' cannot be loaded from '{build}': {text}"


def test_a_build_function_that_fails_is_reported_in_one_line(plugin):
    def build(backbone: Backbone, image_size_px: int) -> BackboneModel:
        raise ValueError("two\nlines")

    plugin.build = build
    with pytest.raises(PluginError, match=r"^The backbone 'tiny' failed: ValueError: two lines\."):
        build_backbone(backbone(), 32)


def test_an_error_that_is_meant_for_the_user_passes_unchanged(plugin):
    def build(backbone: Backbone, image_size_px: int) -> BackboneModel:
        raise DataError("for you")

    plugin.build = build
    with pytest.raises(DataError, match=r"^for you$"):
        build_backbone(backbone(), 32)


@pytest.mark.parametrize(
    ("built", "text"),
    [
        (nn.ReLU(), "returned ReLU instead of BackboneModel"),
        (BackboneModel(model=Tiny(), stages=()), "needs at least one stage, with unique names without dots, not []"),
        (
            BackboneModel(model=Tiny(), stages=(("a", nn.ReLU()), ("a", nn.ReLU()))),
            "needs at least one stage, with unique names without dots, not ['a', 'a']",
        ),
    ],
)
def test_what_is_no_backbone_model_is_refused(plugin, built, text):
    plugin.build = lambda *_: built
    with pytest.raises(PluginError) as broken:
        build_backbone(backbone(), 32)
    assert text in str(broken.value)


# ── body, head, network ─────────────────────────────────────────────────────────────────────────────


def test_the_body_shares_its_tensors_with_the_original():
    model = tiny()
    body = make_body(model)
    assert [name for name, _ in body.named_children()] == ["stem", "act", "stage1"]
    assert body.stage1.weight is model.model.conv2.weight


def test_a_network_embeds_and_classifies():
    network = assemble(tiny(), 3, 16).eval()
    images = torch.randn(2, 3, 16, 16)
    embedding, logits = network.embed(images), network(images)
    assert embedding.shape == (2, 6)
    assert logits.shape == (2, 3)
    torch.testing.assert_close(network.head.classifier(embedding), logits)
    torch.testing.assert_close(nn.Sequential(network.body, network.head)(images), logits)


# ── what a body returns ─────────────────────────────────────────────────────────────────────────────


def test_asking_for_the_width_costs_no_statistics_no_randomness_and_no_mode():
    body = make_body(tiny()).train()
    before = {key: tensor.clone() for key, tensor in body.state_dict().items()}
    randomness = torch.get_rng_state()
    assert output_width(body, 16) == (6, 4)
    assert all(torch.equal(before[key], tensor) for key, tensor in body.state_dict().items())
    assert all(parameter.device.type == "cpu" for parameter in body.parameters())
    assert torch.equal(torch.get_rng_state(), randomness)
    assert body.training


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([nn.Conv2d(3, 5, 3)], (5, 4)),
        ([nn.Flatten(), nn.Linear(3 * 8 * 8, 7)], (7, 2)),
        ([nn.Flatten(2), nn.Linear(8 * 8, 9)], (9, 3)),  # three tokens of nine numbers
    ],
)
def test_the_width_is_that_of_channels_of_a_vector_or_of_tokens(layers, expected):
    assert output_width(nn.Sequential(*layers), 8) == expected


def test_the_form_of_an_output_has_a_shape_and_a_type_and_no_numbers():
    form = output_form(make_body(tiny()), 16)
    assert (tuple(form.shape), form.dtype, form.device.type) == ((2, 6, 5, 5), torch.float32, "meta")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (nn.Flatten(0), "The body must return (N, C, h, w), (N, T, C) or (N, C), and returned (384,) for N = 2."),
        (
            nn.Unflatten(1, (1, 3)),
            "The body must return (N, C, h, w), (N, T, C) or (N, C), and returned (2, 1, 3, 8, 8) for N = 2.",
        ),
        (
            nn.AdaptiveMaxPool2d(1, return_indices=True),
            "The body must return (N, C, h, w), (N, T, C) or (N, C), and returned tuple for N = 2.",
        ),
        (nn.MaxPool2d(9), "The body fails on a 8 px image: RuntimeError: "),
    ],
)
def test_a_body_without_features_is_refused(body, text):
    with pytest.raises(PluginError) as broken:
        output_width(nn.Sequential(body), 8)
    assert str(broken.value).startswith(text)
    assert "\n" not in str(broken.value)


def test_a_module_that_is_there_twice_is_as_it_was_after_its_form_was_asked_for():
    shared = nn.Conv2d(3, 3, 3, padding=1)
    body = nn.Sequential(shared, nn.Sequential(shared), nn.BatchNorm2d(3))
    body[2].weight = shared.bias  # and a tensor that two modules share
    before = {key: tensor.clone() for key, tensor in body.state_dict().items()}

    assert output_form(body, 8).shape == (2, 3, 8, 8)

    assert body[2].weight is shared.bias
    assert all(torch.equal(before[key], tensor) for key, tensor in body.state_dict().items())


# ── parameter groups ────────────────────────────────────────────────────────────────────────────────


def test_stages_without_parameters_get_no_group():
    body, head = make_body(tiny()), make_head(6, 3)
    groups = parameter_groups(body, head)
    assert group_names(body) == ["stem", "stage1", "head"]
    assert [len(group) for group in groups] == [4, 2, 2]
    assert groups[2] == list(head.parameters())


def test_a_parameter_that_stages_share_is_in_the_first_groups_only():
    shared = nn.Conv2d(3, 3, 1)
    body = nn.Sequential(shared, nn.Sequential(shared, nn.Conv2d(3, 4, 1)))
    groups = parameter_groups(body, nn.Linear(4, 2))
    assert [len(group) for group in groups] == [2, 2, 2]


# ── keys ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_bodys_keys_lead_to_the_published_networks():
    keys = original_keys(tiny())
    assert keys["stem.0.weight"] == "conv1.weight"
    assert keys["stem.1.running_mean"] == "norm.running_mean"
    assert keys["stage1.bias"] == "conv2.bias"
    assert not any(key.startswith("fc") for key in keys.values())


def test_a_tensor_with_two_published_names_is_saved_under_the_first():
    model = Tiny()
    model.twin = model.conv2
    keys = original_keys(BackboneModel(model=model, stages=(("stem", model.conv1), ("stage1", model.twin))))
    assert keys["stage1.weight"] == "conv2.weight"


def test_a_stage_with_a_tensor_of_its_own_is_refused():
    model = BackboneModel(model=Tiny(), stages=(("stem", nn.Conv2d(3, 4, 3)),))
    with pytest.raises(PluginError, match=r"'stem\.weight' in its stages is no tensor of its model"):
        original_keys(model)


def test_a_saved_state_has_published_keys_and_the_heads_own():
    network = assemble(tiny(), 3, 16)
    network.body.stage1.to(memory_format=torch.channels_last)
    state = state_to_save(network)
    assert {key for key in state if not key.startswith("head.")} == {k for k in Tiny().state_dict() if "fc" not in k}
    assert "head.classifier.2.weight" in state
    assert len(state) == len(network.state_dict())
    assert all(isinstance(tensor, Tensor) and tensor.is_contiguous() for tensor in state.values())
    assert torch.equal(state["conv2.weight"], network.body.stage1.weight)
