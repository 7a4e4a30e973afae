"""Networks of every kind are timm's own in parts: the same numbers, the same tensors, and files that answer alike."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from finetune.networks.network import BackboneModel, Network, assemble, build_backbone, make_body, original_keys
from finetune.targets.to_onnx import Plain, in_export_form, to_plain_onnx
from finetune.types import Backbone
from finetune_export.contract import BackboneOrigin, Contract, DatasetOrigin, Preprocessing
from finetune_timm.building import classifiers
from finetune_timm.hooks import finetune_register_backbones

SIZES = {
    "beit_base_patch16_224": 64,
    "cait_xxs24_224": 64,
    "coat_tiny": 64,
    "convit_tiny": 64,
    "convmixer_768_32": 64,
    "convnext_atto": 64,
    "crossvit_tiny_240": 240,
    "csatv2": 64,
    "davit_tiny": 64,
    "deit_tiny_distilled_patch16_224": 64,
    "densenet121": 64,
    "dla46_c": 64,
    "edgenext_xx_small": 64,
    "efficientformerv2_s0": 64,
    "efficientnet_b0": 64,
    "efficientvit_b0": 64,
    "efficientvit_m0": 64,
    "eva02_tiny_patch14_224": 56,
    "fastvit_t8": 64,
    "focalnet_tiny_srf": 64,
    "ghostnet_050": 64,
    "gmlp_ti16_224": 64,
    "hgnetv2_b0": 64,
    "hiera_tiny_224": 64,
    "hrnet_w18_small": 64,
    "inception_next_atto": 64,
    "inception_v3": 96,
    "levit_128s": 64,
    "mixer_s32_224": 64,
    "mnasnet_small": 64,
    "mobilenetv2_035": 64,
    "mobilenetv3_small_050": 64,
    "mobilenetv4_conv_small_035": 64,
    "mobileone_s0": 64,
    "mobilevit_xxs": 64,
    "mvitv2_tiny": 64,
    "nf_regnet_b0": 64,
    "poolformer_s12": 64,
    "pvt_v2_b0": 64,
    "regnetx_002": 64,
    "repvgg_a0": 64,
    "repvit_m0_9": 64,
    "resmlp_12_224": 64,
    "resnest14d": 64,
    "resnet10t": 64,
    "resnetv2_18": 64,
    "rexnet_100": 64,
    "swin_tiny_patch4_window7_224": 64,
    "swinv2_tiny_window8_256": 64,
    "test_coatnet": 64,
    "test_maxvit": 64,
    "tiny_vit_5m_224": 64,
    "tnt_s_legacy_patch16_224": 64,
    "vit_tiny_patch16_224": 64,
    "volo_d1_224": 64,
    "xcit_nano_12_p16_224": 64,
}
SLOW_SIZES = {
    "caformer_s18": 64,
    "inception_v4": 96,
    "legacy_xception": 96,
    "nasnetalarge": 96,
    "pnasnet5large": 96,
    "res2net50_14w_8s": 64,
    "sequencer2d_s": 64,
    "vgg11": 64,
}
ONE_STAGE = {"coat_tiny", "crossvit_tiny_240", "tnt_s_legacy_patch16_224"}
"""What works on several maps at once, from beginning to end."""
EXPORTED = (
    "convnext_atto",
    "fastvit_t8",
    "mobilenetv3_small_050",
    "mobileone_s0",
    "repvgg_a0",
    "resnet10t",
    "test_coatnet",
    "test_maxvit",
    "vit_tiny_patch16_224",
)
"""Those that are exported by default; the others are slow."""
MERGED = ("fastvit_t8", "levit_128s", "mobileone_s0", "repvgg_a0", "repvit_m0_9")

# The same tests of one network follow each other (scope="module"), so that it is built once.
ALL = [*SIZES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_SIZES)]
EACH = [name if name in EXPORTED else pytest.param(name, marks=pytest.mark.slow) for name in SIZES | SLOW_SIZES]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only wait for each other's threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@lru_cache
def backbones() -> dict[str, Backbone]:
    """Return the backbones by architecture, one of each."""
    found: dict[str, Backbone] = {}
    finetune_register_backbones(lambda b: found.setdefault(b.name.removeprefix("timm:").partition(".")[0], b))
    return found


@lru_cache(maxsize=1)
def built(name: str) -> BackboneModel:
    """Build a network as if it were trained: norms with statistics of their own."""
    torch.manual_seed(0)
    found = build_backbone(backbones()[name], (SIZES | SLOW_SIZES)[name])
    for module in found.model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.8, 1.2)  # type: ignore[union-attr]
    found.model.eval()
    return found


def pictures(name: str, count: int = 2) -> Tensor:
    size = (SIZES | SLOW_SIZES)[name]
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(count))


# ── the cut ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ALL, scope="module")
def test_the_stages_compute_what_the_published_network_does(name: str) -> None:
    found = built(name)
    images = pictures(name)

    with torch.inference_mode():
        output = make_body(found).eval()(images)
        features = found.model.forward_features(images)
        pooled = found.model.forward_head(features, pre_logits=True)

    if output.ndim == 2:
        assert torch.equal(output, pooled)
    else:
        turned = features.permute(0, 3, 1, 2) if features.shape != output.shape else features
        assert torch.equal(output, turned)
        mean = output.mean((2, 3) if output.ndim == 4 else 1)
        torch.testing.assert_close(mean, pooled, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ALL, scope="module")
def test_each_parameter_but_the_classifiers_is_in_one_stage_under_its_published_key(name: str) -> None:
    found = built(name)
    stages = [{id(parameter) for parameter in stage.parameters()} for _, stage in found.stages]
    body = set[int]().union(*stages)
    heads = tuple(f"{head.rpartition('.')[0] or head}." for head in classifiers(found.model))

    left = {key for key, parameter in found.model.named_parameters() if id(parameter) not in body}

    assert sum(map(len, stages)) == len(body)
    assert all(key.startswith(heads) for key in left)
    assert not any(
        id(parameter) in body
        for head in classifiers(found.model)
        for parameter in found.model.get_submodule(head).parameters()
    )
    assert set(original_keys(found).values()) <= set(found.model.state_dict())


@pytest.mark.parametrize("name", ALL, scope="module")
def test_a_network_has_several_stages_that_hand_on_maps_or_tokens(name: str) -> None:
    found = built(name)
    images = pictures(name)
    shapes = []

    with torch.inference_mode():
        for _, stage in found.stages:
            images = stage.eval()(images)
            shapes.append(tuple(images.shape))

    names = [stage for stage, _ in found.stages]
    assert names == (["network"] if name in ONE_STAGE else ["stem", *(f"stage{n}" for n in range(1, len(names)))])
    assert all(len(shape) in (3, 4) and (len(shape) == 3 or shape[2] == shape[3]) for shape in shapes[:-1])
    assert not any(shape[0] != 2 for shape in shapes)


def test_a_picture_has_the_same_features_whoever_is_beside_it() -> None:
    found = make_body(built("swin_tiny_patch4_window7_224")).eval()
    images = pictures("swin_tiny_patch4_window7_224", 5)

    with torch.inference_mode():
        torch.testing.assert_close(found(images[3:4]), found(images)[3:4], rtol=1e-4, atol=1e-5)


def test_training_reaches_every_parameter_of_the_stages() -> None:
    body = make_body(built("vit_tiny_patch16_224")).train()

    body(pictures("vit_tiny_patch16_224")).square().sum().backward()

    assert all(parameter.grad is not None for parameter in body.parameters())
    body.zero_grad(set_to_none=True)


# ── export ──────────────────────────────────────────────────────────────────────────────────────────


def contract(name: str) -> Contract:
    facts = backbones()[name]
    size = (SIZES | SLOW_SIZES)[name]
    return Contract(
        labels=("ant", "bee", "wasp"),
        preprocessing=Preprocessing(image_size_px=size, crop_fraction=1.0, mean=facts.mean, std=facts.std),
        backbone=BackboneOrigin(name=facts.name, weights="none", licence=""),
        dataset=DatasetOrigin(
            name="drawn", source="drawn", licence="CC0-1.0", fingerprint="0" * 64, train_images=2, valid_images=1
        ),
        run_id="2024-01-02-a",
        metrics={"accuracy": 1.0},
        versions={"finetune": "0.1.0"},
    )


@lru_cache(maxsize=1)
def exported(name: str) -> tuple[Network, bytes]:
    network = assemble(built(name), 3, (SIZES | SLOW_SIZES)[name]).eval()
    nn.init.normal_(network.head.get_submodule("classifier")[-1].weight)  # type: ignore[index]
    return network, to_plain_onnx(network, contract(name))


@pytest.mark.parametrize("name", EACH, scope="module")
def test_the_file_answers_as_the_network_does_at_any_batch_size(name: str) -> None:
    network, file = exported(name)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    for count in (1, 3):
        images = pictures(name, count)
        with torch.inference_mode():
            expected = Plain(network, contract(name)).eval()(images)
        (found,) = session.run(["logits"], {"pixel_values": images.numpy()})
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", MERGED)
def test_parallel_branches_are_merged_for_export_and_stay_in_the_network(name: str) -> None:
    network = assemble(built(name), 3, SIZES[name]).eval()
    keys, images = list(network.state_dict()), pictures(name)

    merged = in_export_form(network)

    assert layers(merged) < layers(network)
    assert list(network.state_dict()) == keys
    with torch.inference_mode():
        expected = network.embed(images)
        torch.testing.assert_close(merged.embed(images), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["mobileone_s0", "repvgg_a0"])
def test_the_file_has_the_merged_layers_alone(name: str) -> None:
    network, file = exported(name)
    nodes = onnx.load_from_string(file).graph.node

    assert sum(node.op_type in ("Conv", "BatchNormalization") for node in nodes) == layers(in_export_form(network))


def layers(network: Network) -> int:
    return sum(isinstance(module, nn.Conv2d | nn.BatchNorm2d) for module in network.body.modules())
