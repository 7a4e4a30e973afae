"""New heads, and bodies that are cut at an inner stage: what is pooled, over which axes, and what classifies it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from fastai.vision.learner import create_head
from torch import Tensor, nn
from torchvision.models import SwinTransformer, VisionTransformer

from finetune.config import Head
from finetune.errors import ConfigError
from finetune.networks.network import (
    BackboneModel,
    ConcatPool,
    Network,
    assemble,
    build_backbone,
    group_names,
    head_for,
    keep_up_to,
    make_body,
    make_head,
    original_keys,
    output_width,
    pooled,
    state_to_save,
)
from finetune.plugins import load_plugins


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# ── pooling ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_map_is_pooled_to_the_mean_of_each_channel() -> None:
    features = torch.randn(2, 5, 3, 4)

    torch.testing.assert_close(pooled(features), features.flatten(2).mean(2))
    torch.testing.assert_close(make_head(5, 3).pool(features), pooled(features))


def test_tokens_are_pooled_to_their_mean() -> None:
    features = torch.randn(2, 7, 5)

    torch.testing.assert_close(pooled(features), torch.stack([tokens.mean(0) for tokens in features]))
    torch.testing.assert_close(make_head(5, 3, ndim=3).pool(features), pooled(features))


@pytest.mark.parametrize("kind", ["linear", "fastai"])
def test_a_vector_passes_the_pool_unchanged(kind: Head) -> None:
    features = torch.randn(2, 5)
    head = make_head(5, 3, kind=kind, ndim=2)

    assert head.pool(features) is features
    assert head.eval()(features).shape == (2, 3)


@pytest.mark.parametrize("kind", ["linear", "fastai"])
@pytest.mark.parametrize("shape", [(4, 6, 3, 2), (4, 7, 6), (4, 6)], ids=["map", "tokens", "vector"])
def test_a_head_takes_every_form_of_features_and_can_learn_from_each(kind: Head, shape: tuple[int, ...]) -> None:
    head = make_head(6, 3, kind=kind, ndim=len(shape))

    logits = head(torch.randn(shape))
    logits.square().sum().backward()

    assert logits.shape == (4, 3)
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in head.parameters())


# ── the linear head ─────────────────────────────────────────────────────────────────────────────────


def test_a_new_linear_head_does_not_care_how_large_a_backbones_features_are() -> None:
    classifier = make_head(5, 3).eval().classifier
    features = torch.randn(4, 5)

    torch.testing.assert_close(classifier(1000 * features), classifier(features), rtol=1e-3, atol=1e-4)


def test_a_new_linear_head_prefers_no_class() -> None:
    probabilities = make_head(1280, 4).eval().classifier(torch.randn(64, 1280)).softmax(dim=1)

    assert (probabilities.mean(dim=0) - 0.25).abs().max() < 0.1


def test_a_linear_head_adds_one_weight_a_feature_and_class() -> None:
    assert [tuple(p.shape) for p in make_head(5, 3).parameters()] == [(3, 5), (3,)]


# ── fastai's head ───────────────────────────────────────────────────────────────────────────────────


def described(layer: nn.Module) -> tuple[object, ...]:
    """Return kind, settings and shapes of a layer."""
    return type(layer), layer.extra_repr(), *(tuple(tensor.shape) for tensor in layer.state_dict().values())


@pytest.mark.parametrize("features", [6, 1280])
def test_fastais_head_is_its_create_head_layer_by_layer(features: int) -> None:
    theirs = create_head(features, 3)

    ours = make_head(features, 3, kind="fastai")

    assert [described(layer) for layer in ours.classifier] == [described(layer) for layer in theirs[2:]]


def test_fastais_head_pools_and_answers_as_its_create_head_with_the_same_weights() -> None:
    theirs, ours = create_head(6, 3), make_head(6, 3, kind="fastai")
    features = torch.randn(8, 6, 4, 5)
    theirs.train()(features)  # so that its batch norms have statistics of their own
    for their_layer, our_layer in zip(theirs[2:], ours.classifier, strict=True):
        our_layer.load_state_dict(their_layer.state_dict())

    torch.testing.assert_close(ours.pool(features), theirs[:2](features))
    torch.testing.assert_close(ours.eval()(features), theirs.eval()(features))


def test_fastais_head_starts_as_vision_learner_starts_it() -> None:
    """A ``vision_learner`` initialises linear layers after Kaiming and leaves the rest as ``create_head`` made it."""
    theirs, ours = create_head(640, 3)[2:], make_head(640, 3, kind="fastai").classifier
    for layer in theirs:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)

    for their_layer, our_layer in zip(theirs, ours, strict=True):
        if isinstance(our_layer, nn.BatchNorm1d):
            assert torch.equal(our_layer.weight, their_layer.weight)
            assert torch.equal(our_layer.bias, their_layer.bias)
        if isinstance(our_layer, nn.Linear):
            assert our_layer.weight.std().item() == pytest.approx(their_layer.weight.std().item(), rel=0.1)


def test_fastais_pooling_is_the_largest_value_and_the_mean_of_each_channel() -> None:
    features = torch.randn(2, 3, 4, 5)

    found = ConcatPool()(features)

    torch.testing.assert_close(found[:, :3], features.flatten(2).max(2).values)
    torch.testing.assert_close(found[:, 3:], features.flatten(2).mean(2))


# ── a body up to an inner stage ─────────────────────────────────────────────────────────────────────


def built(name: str, size: int) -> BackboneModel:
    torch.manual_seed(0)
    return build_backbone(load_plugins().find_backbone(name), size)


def test_a_layer_is_the_last_that_is_kept() -> None:
    model = built("resnet18", 32)

    kept = keep_up_to(model, "layer2")

    assert [name for name, _ in kept.stages] == ["stem", "layer1", "layer2"]
    assert kept.model is model.model
    assert group_names(make_body(kept)) == ["stem", "layer1", "layer2", "head"]
    assert output_width(make_body(kept), 32) == (128, 4)
    assert not any(key.startswith(("layer3", "layer4", "fc")) for key in original_keys(kept).values())


@pytest.mark.parametrize("layer", [None, "layer4"])
def test_without_a_layer_or_with_the_last_everything_is_kept(layer: str | None) -> None:
    model = built("resnet18", 32)

    assert [*map(id, make_body(keep_up_to(model, layer)))] == [*map(id, make_body(model))]


def test_a_layer_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as refused:
        keep_up_to(built("squeezenet1_1", 32), "stage_2")

    assert str(refused.value).startswith("Unknown --layer 'stage_2'. Did you mean 'stage2'?")


def up_to(model: BackboneModel, layer: str, batch: Tensor) -> Tensor:
    """Return what leaves a stage of the whole network, in the form in which it is handed on."""
    caught: list[Tensor] = []
    hook = dict(model.stages)[layer].register_forward_hook(lambda _, __, output: caught.append(output))
    with torch.no_grad():
        make_body(model).eval()(batch)
    hook.remove()
    return caught[0]


@pytest.mark.parametrize("name", ["swin_t", "swin_v2_t"])
@pytest.mark.parametrize(("layer", "channels"), [("stem", 96), ("stage1", 96), ("stage2", 192), ("stage4", 768)])
def test_a_swin_that_is_cut_pools_channels_and_not_rows(name: str, layer: str, channels: int) -> None:
    model, batch = built(name, 64), torch.randn(2, 3, 64, 64)
    network = assemble(keep_up_to(model, layer), 3, 64).eval()
    handed_on = up_to(model, layer, batch)
    is_last = layer == model.stages[-1][0]

    with torch.no_grad():
        embedding = network.embed(batch)

    expected = handed_on if is_last else handed_on.permute(0, 3, 1, 2)
    assert expected.shape[1] == channels
    torch.testing.assert_close(embedding, expected.flatten(2).mean(2))
    assert isinstance(model.model, SwinTransformer)


def test_a_vit_that_is_cut_pools_its_tokens() -> None:
    model, batch = built("vit_b_32", 64), torch.randn(2, 3, 64, 64)
    for kind in ("linear", "fastai"):
        network = assemble(keep_up_to(model, "stage1"), 3, 64, kind).eval()
        tokens = up_to(model, "stage1", batch)

        with torch.no_grad():
            embedding = network.embed(batch)

        assert tuple(tokens.shape) == (2, 1 + 2 * 2, 768)
        torch.testing.assert_close(embedding, tokens.sum(1) / 5)
        assert output_width(network.body, 64) == (768, 3)
    assert isinstance(model.model, VisionTransformer)


def test_a_cut_swin_saves_the_published_keys_and_no_others() -> None:
    model = built("swin_t", 32)

    network = assemble(keep_up_to(model, "stage1"), 3, 32)

    published = model.model.state_dict()
    body = {key: tensor for key, tensor in state_to_save(network).items() if not key.startswith("head.classifier")}
    assert set(body) == {key for key in published if key.startswith(("features.0.", "features.1."))}
    assert all(torch.equal(published[key], tensor) for key, tensor in body.items())


@pytest.mark.parametrize(("kind", "width"), [("linear", 128), ("fastai", 256)])
def test_a_head_fits_the_body_below_it(kind: Head, width: int) -> None:
    body = make_body(keep_up_to(built("resnet18", 32), "layer2"))

    network = Network(body, head_for(body, 3, 32, kind), {}).eval()

    with torch.no_grad():
        assert network.embed(torch.randn(2, 3, 32, 32)).shape == (2, width)
        assert network(torch.randn(2, 3, 32, 32)).shape == (2, 3)
