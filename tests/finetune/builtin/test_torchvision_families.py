"""All of torchvision's classifiers on the meta device, and the smallest of each family on real tensors."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import regnet

from finetune.builtin.torchvision_backbones import finetune_register_backbones
from finetune.errors import ConfigError, PluginError
from finetune.networks.network import (
    BackboneModel,
    Network,
    assemble,
    build_backbone,
    group_names,
    keep_up_to,
    make_body,
    make_head,
    original_keys,
    output_form,
    output_width,
    parameter_groups,
)
from finetune.networks.weights import load_weights
from finetune.types import Backbone

BACKBONES: dict[str, Backbone] = {}
finetune_register_backbones(register=lambda backbone: BACKBONES.__setitem__(backbone.name, backbone))

# What the published networks put behind their body, written down from their definitions: any auxiliary heads first.
HEADS = {
    "alexnet": ["classifier"],
    "convnext": ["classifier"],
    "densenet": ["classifier"],
    "efficientnet": ["classifier"],
    "googlenet": ["aux1", "aux2", "fc"],
    "inception_v3": ["AuxLogits", "fc"],
    "maxvit": ["classifier"],
    "mnasnet": ["classifier"],
    "mobilenet": ["classifier"],
    "regnet": ["fc"],
    "resnet": ["fc"],
    "shufflenet_v2": ["fc"],
    "squeezenet": ["classifier"],
    "swin": ["head"],
    "vgg": ["classifier"],
    "vit": ["heads"],
}

# Whose stages end by putting side by side what several layers computed.
JOINING = {"densenet", "googlenet", "inception_v3", "shufflenet_v2", "squeezenet"}

# The smallest of each family (more where its members differ in kind), at a size that keeps the forward cheap.
SMALLEST = {
    "alexnet": 64,
    "convnext_tiny": 64,
    "densenet121": 32,
    "efficientnet_b0": 32,
    "googlenet": 32,
    "inception_v3": 75,
    "maxvit_t": 224,
    "mnasnet0_5": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "regnet_y_400mf": 32,
    "resnet18": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_1": 32,
    "swin_t": 64,
    "swin_v2_t": 64,
    "vgg11_bn": 32,
    "vit_b_16": 64,
}


@functools.cache
def on_meta(name: str, image_size_px: int | None = None) -> BackboneModel:
    """Build without memory and without computing; only RegNet reckons with numbers while it is built."""
    from_init_params = regnet.BlockParams.from_init_params.__func__

    def on_cpu(cls: type, *args: object, **kwargs: object) -> object:
        with torch.device("cpu"):
            return from_init_params(cls, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        patch.setattr(regnet.BlockParams, "from_init_params", classmethod(on_cpu))
        return build_backbone(BACKBONES[name], image_size_px or BACKBONES[name].image_size_px)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only wait for each other's threads: half the time with one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def head_of(name: str, model: BackboneModel) -> nn.Module:
    return model.model.get_submodule(HEADS[BACKBONES[name].family][-1])


# ── all of them ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", BACKBONES)
def test_the_body_holds_every_tensor_but_those_of_the_original_heads(name):
    model = on_meta(name)
    heads = tuple(f"{head}." for head in HEADS[BACKBONES[name].family])
    expected = {key for key in model.model.state_dict() if not key.startswith(heads)}
    assert set(original_keys(model).values()) == expected
    assert len(expected) < len(model.model.state_dict())


@pytest.mark.parametrize("name", BACKBONES)
def test_three_to_six_named_stages_partition_the_parameters_with_the_head(name):
    body = make_body(on_meta(name))
    with torch.device("meta"):
        head = make_head(4, 3)
    groups, names = parameter_groups(body, head), group_names(body)
    flat = [id(parameter) for group in groups for parameter in group]
    assert sorted(flat) == sorted(map(id, [*body.parameters(), *head.parameters()]))
    assert len(set(flat)) == len(flat)
    assert len(groups) == len(names) == len(set(names))
    assert names[0] == "stem"
    assert names[-1] == "head"
    assert 3 <= len(body) == len(names) - 1 <= 6


@pytest.mark.parametrize("name", BACKBONES)
def test_the_width_of_the_body_is_what_the_original_classifier_takes(name):
    model = on_meta(name)
    layer = next(part for part in head_of(name, model).modules() if isinstance(part, nn.Linear | nn.Conv2d))
    taken = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    cells = {"alexnet": 6 * 6, "vgg": 7 * 7}.get(BACKBONES[name].family, 1)  # those two classify flattened maps
    expected = (taken // cells, 2 if BACKBONES[name].family == "vit" else 4)
    assert output_width(make_body(model), BACKBONES[name].image_size_px) == expected


@pytest.mark.parametrize("name", BACKBONES)
def test_the_number_of_parameters_is_true(name):
    aux = {"googlenet": ("aux1.", "aux2.")}.get(name, ())  # which torchvision does not count there
    counted = (p.numel() for key, p in on_meta(name).model.named_parameters() if not key.startswith(tuple(aux)))
    assert sum(counted) == BACKBONES[name].parameters


@pytest.mark.parametrize("name", BACKBONES)
def test_the_smallest_image_size_is_the_smallest_that_works(name):
    backbone = BACKBONES[name]
    smallest = backbone.min_image_size_px
    body = make_body(on_meta(name, smallest)).eval()
    output_width(body, smallest)
    if smallest > 1:
        with pytest.raises((PluginError, ConfigError)):
            output_width(make_body(on_meta(name, smallest - 1)).eval(), smallest - 1)
    if smallest > 1 and backbone.image_size_multiple_px == 1:  # and it is the network, not our check, that refuses
        with pytest.raises(PluginError, match=f"The body fails on a {smallest - 1} px image"):
            output_width(body, smallest - 1)


@pytest.mark.parametrize(("name", "size"), SMALLEST.items())
def test_the_body_can_end_at_every_stage_and_hands_on_channels_last_only_where_it_says_so(name, size):
    model, family = on_meta(name, size), BACKBONES[name].family
    for count, (stage, layers) in enumerate(model.stages, start=1):
        is_inner = count < len(model.stages)
        width, ndim = output_width(make_body(keep_up_to(model, stage)).eval(), size)
        shape = output_form(make_body(model)[:count].eval(), size).shape
        assert ndim == len(shape) == (4 if family != "vit" else 3 if is_inner else 2)
        assert width == shape[-1 if family == "vit" or (is_inner and model.channels_last) else 1], stage
        widths = {tensor.shape[0] for tensor in layers.state_dict().values() if tensor.ndim}
        assert width in widths or family in JOINING, f"{stage} hands on {width}, which no layer has"


# ── the smallest of each family, with numbers ───────────────────────────────────────────────────────


@pytest.fixture(scope="module", params=SMALLEST)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str) -> BackboneModel:
    """The network with every parameter away from 0, so that no branch can go missing unseen."""
    torch.manual_seed(0)
    built = build_backbone(BACKBONES[name], SMALLEST[name])
    with torch.no_grad():
        for key, parameter in built.model.named_parameters():
            if key.endswith("layer_scale"):
                parameter.fill_(0.5)
            else:
                parameter.add_(torch.randn_like(parameter), alpha=0.01)
    return built


def images(name: str, count: int) -> Tensor:
    size = SMALLEST[name]
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def seen_by_the_head(name: str, model: BackboneModel, batch: Tensor) -> Tensor:
    """Run the original network, and return what reaches its classifier."""
    caught: list[Tensor] = []
    hook = head_of(name, model).register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0].clone()))
    with torch.no_grad():
        model.model.eval()(batch)
    hook.remove()
    return caught[0]


def test_the_body_computes_exactly_what_reaches_the_original_classifier(name, model):
    expected = seen_by_the_head(name, model, images(name, 2))
    with torch.no_grad():
        features = make_body(model).eval()(images(name, 2))
    family = BACKBONES[name].family
    if family in ("alexnet", "vgg"):
        features = model.model.avgpool(features).flatten(1)
    elif expected.shape != features.shape:  # everything but squeezenet, maxvit and vit takes the mean of the map
        features = features.mean((2, 3)).reshape(expected.shape)
    assert_same_signal(features, expected)


def assert_same_signal(features: Tensor, expected: Tensor) -> None:
    """Compare on the scale of the values themselves, which random weights may have made tiny."""
    assert expected.std() > 1e-12, "the comparison says nothing about a body whose output vanishes"
    scale = expected.std()
    torch.testing.assert_close(features / scale, expected / scale, rtol=1e-4, atol=1e-4)


def test_in_eval_mode_the_network_is_a_pure_function_of_the_image(name, model):
    network = assembled(name, model).eval()
    state = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with torch.no_grad():
        logits = network(images(name, 1))
        embedding = network.embed(images(name, 1))  # the body once more
        again = network.head.classifier(embedding)
    assert logits.isfinite().all()
    assert torch.equal(logits, again)
    assert logits.shape == (1, 3)
    assert embedding.shape == (1, network.head.classifier[-1].in_features)
    assert all(torch.equal(state[key], tensor) for key, tensor in network.state_dict().items())


def test_a_training_step_changes_every_group_and_leaves_frozen_stages_alone(name, model):
    network = assembled(name, model)
    groups = parameter_groups(network.body, network.head)
    before = [[parameter.detach().clone() for parameter in group] for group in groups]
    for parameter in groups[0]:
        parameter.requires_grad_(False)
    network.body[0].eval()
    logits = train_one_step(network, images(name, 2))
    for parameter in groups[0]:
        parameter.requires_grad_(True)
    assert logits.shape == (2, 3)
    assert all(parameter.isfinite().all() for parameter in network.parameters())
    changed = [any(map(differs, old, new)) for old, new in zip(before, groups, strict=True)]
    assert changed == [False] + [True] * (len(groups) - 1)


def assembled(name: str, model: BackboneModel) -> Network:
    return assemble(model, 3, SMALLEST[name]).train()


def differs(old: Tensor, new: Tensor) -> bool:
    return not torch.equal(old, new)


def train_one_step(network: Network, batch: Tensor) -> Tensor:
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    logits = network(batch)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    torch.optim.SGD(trainable, lr=0.001).step()
    return logits


# ── published weights ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("name", "size"), [("googlenet", 64), ("inception_v3", 96)])
def test_a_mean_and_deviation_of_one_half_is_what_the_pretrained_network_computes(name, size, monkeypatch):
    torch.manual_seed(0)
    ours = build_backbone(BACKBONES[name], size)
    weights = models.get_model_weights(name).DEFAULT
    monkeypatch.setattr(type(weights), "get_state_dict", lambda *_, **__: ours.model.state_dict())
    theirs = models.get_model(name, weights=weights).eval()
    assert theirs.transform_input
    picture = torch.rand(2, 3, size, size)
    preset = weights.transforms()
    normalised = (picture - torch.tensor(preset.mean)[:, None, None]) / torch.tensor(preset.std)[:, None, None]
    halved = (picture - torch.tensor(BACKBONES[name].mean)[:, None, None]) / 0.5
    expected = seen_by_the_head(name, replace(ours, model=theirs), normalised)
    with torch.no_grad():
        features = make_body(ours).eval()(halved)
    assert_same_signal(features.mean((2, 3)), expected)


def saved(tmp_path, state: dict[str, Tensor]) -> str:
    torch.save(state, tmp_path / "published.pth")
    return str(tmp_path / "published.pth")


def test_the_old_keys_of_published_densenets_are_understood(tmp_path):
    source = build_backbone(BACKBONES["densenet121"], 32).model.state_dict()
    old = {key.replace("norm1", "norm.1").replace("norm2", "norm.2"): value for key, value in source.items()}
    old = {key.replace("conv1.", "conv.1.").replace("conv2.", "conv.2."): value for key, value in old.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    model = build_backbone(BACKBONES["densenet121"], 32)
    load_weights(model, BACKBONES["densenet121"], saved(tmp_path, old))
    key = "features.denseblock1.denselayer1.conv2.weight"
    assert torch.equal(model.model.state_dict()[key], source[key])


def test_a_vit_takes_published_weights_with_old_keys_at_another_image_size(tmp_path):
    backbone = BACKBONES["vit_b_32"]
    source = build_backbone(backbone, 64).model.state_dict()
    old = {key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v for key, v in source.items()}
    assert "encoder.layers.encoder_layer_0.mlp.linear_2.bias" in old
    model = build_backbone(backbone, 96)
    load_weights(model, backbone, saved(tmp_path, old))
    loaded = model.model.state_dict()
    position, given = loaded["encoder.pos_embedding"], source["encoder.pos_embedding"]
    assert position.shape == (1, 1 + 3 * 3, 768)
    assert torch.equal(position[:, 0], given[:, 0])  # the class token has no place in the grid
    torch.testing.assert_close(position[:, [1, 3, 7, 9]], given[:, 1:])  # corners stay corners
    key = "encoder.layers.encoder_layer_0.mlp.3.weight"
    assert torch.equal(loaded[key], source[key])


def test_an_image_size_between_patches_is_refused_with_the_nearest_that_works():
    with pytest.raises(ConfigError) as refused:
        build_backbone(BACKBONES["vit_b_16"], 100)
    assert str(refused.value) == (
        "--image-size 100 is not allowed for the backbone 'vit_b_16', which takes multiples of 16 from 16 on; "
        "the nearest is 96."
    )


def test_an_unknown_family_of_weights_is_no_excuse_for_another_cut():
    with pytest.raises(PluginError, match="KeyError: 'perceptron'"):
        build_backbone(replace(BACKBONES["alexnet"], family="perceptron"), 64)
