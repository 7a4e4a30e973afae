"""Backbones of plugins that carry weights with a record: built as their architecture, and loaded like all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from finetune.errors import FinetuneError, ModelError, PluginError
from finetune.networks.network import Network, assemble, build_backbone, named_tensors
from finetune.networks.published import is_at_hand
from finetune.networks.weight_files import record_bytes
from finetune.networks.weights import check_architecture, load_weights
from finetune.plugins import load_plugins
from finetune.run_folder import sha256_of
from finetune.types import Backbone, WeightRecord
from finetune.weight_record import backbone_of

SIZE_PX = 32


@pytest.fixture
def network(weight_record: WeightRecord) -> Network:
    model = build_backbone(load_plugins().find_backbone("resnet18_half"), SIZE_PX)
    return assemble(model, len(weight_record.labels), SIZE_PX)


@pytest.fixture
def offer(network: Network, weight_record: WeightRecord, tmp_path: Path) -> Callable[..., Backbone]:
    """Write a record of these facts, as a plugin carries it, and return the backbone that it offers."""

    def offered(name: str = "puppies", **facts: object) -> Backbone:
        path = tmp_path / "a plugin's #1 file.safetensors"
        path.write_bytes(record_bytes(network, replace(weight_record, **facts)))  # type: ignore[arg-type]
        return backbone_of(path, name=name, sha256=sha256_of(path))

    return offered


def file_of(tmp_path: Path) -> Path:
    (path,) = tmp_path.glob("*.safetensors")
    return path


def refused(kind: type[FinetuneError], backbone: Backbone, weights: str | None = None) -> str:
    """Return the line that refuses to build a backbone, or to load its weights."""
    with pytest.raises(kind) as caught:
        _begun(backbone, weights)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _begun(backbone: Backbone, weights: str | None) -> None:
    model = build_backbone(backbone, SIZE_PX)
    if weights:
        load_weights(model, backbone, weights)


def test_the_backbone_of_a_plugin_has_the_weights_of_its_file(
    offer: Callable[..., Backbone], network: Network, tmp_path: Path
) -> None:
    backbone = offer()
    model = build_backbone(backbone, SIZE_PX)

    used = load_weights(model, backbone, "pretrained")

    own = named_tensors(network)
    assert torch.equal(model.model.state_dict()["stem.0.weight"], own["stem.0.weight"].half().float())
    assert (used.name, used.licence) == ("dogs-resnet18_half", "CC-BY-4.0")
    assert used.sha256 == sha256_of(file_of(tmp_path))
    assert used.note == (
        "puppies starts from the weights dogs-resnet18_half of a pretraining on dogs: kinds (1200 pictures of 3 "
        "classes, accuracy 93.1%) (licence: CC-BY-4.0)."
    )


def test_the_weights_are_at_hand_as_long_as_the_file_is(offer: Callable[..., Backbone], tmp_path: Path) -> None:
    backbone = offer()
    assert is_at_hand(backbone)

    file_of(tmp_path).unlink()
    assert not is_at_hand(backbone)


def test_a_file_that_is_gone_asks_for_the_plugin_again(offer: Callable[..., Backbone], tmp_path: Path) -> None:
    backbone, fresh = offer(), build_backbone(load_plugins().find_backbone("resnet18_half"), SIZE_PX)
    path = file_of(tmp_path)
    path.unlink()

    with pytest.raises(ModelError) as caught:
        load_weights(fresh, backbone, "pretrained")
    assert str(caught.value) == f"{path} is gone. Install the plugin again that offers the weights."
    assert refused(ModelError, backbone) == (
        f"Cannot read {path}: No such file or directory. Install the plugin again that offers the weights."
    )


def test_a_file_that_was_changed_asks_for_the_plugin_again(offer: Callable[..., Backbone], tmp_path: Path) -> None:
    backbone, path = offer(), file_of(tmp_path)
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)

    assert refused(ModelError, backbone, "pretrained") == (
        f"{path} is not what its plugin states. Install the plugin again that offers the weights."
    )


def test_an_architecture_that_nobody_offers_is_refused_with_who_did(offer: Callable[..., Backbone]) -> None:
    assert "says that its architecture is 'resnet9' of finetune-nine, and nobody offers that here. Install " in refused(
        ModelError, offer(architecture="resnet9", offered_by="finetune-nine")
    )


@pytest.mark.parametrize("other", ["puppies", "kittens"], ids=["itself", "each-other"])
def test_a_record_of_another_backbone_with_a_record_is_the_plugins_fault(
    other: str, offer: Callable[..., Backbone], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, plugins = offer(name="puppies", architecture=other), load_plugins()
    plugins.backbones[other] = replace(backbone, name=other)
    monkeypatch.setattr("finetune.networks.recorded.load_plugins", lambda: plugins)

    assert refused(PluginError, backbone) == (
        f"The backbone 'puppies' is broken: its weight record says that its architecture is '{other}', which is "
        "weights with a record itself. Report it to the plugin's author."
    )


def test_a_file_without_a_record_is_the_plugins_fault(offer: Callable[..., Backbone]) -> None:
    assert refused(PluginError, replace(offer(), weights=None)) == (
        "The backbone 'puppies' is broken: there is no weight record behind it."
    )


# ── what a record says of its architecture ──────────────────────────────────────────────────────────

RESNET18 = {"architecture": "resnet18", "parameters": 11_689_512, "min_image_size_px": 1}
ALEXNET = {"architecture": "alexnet", "family": "alexnet", "parameters": 61_100_840, "min_image_size_px": 63}


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"parameters": 7}, "says parameters=7 of 'resnet18_half', which has 2795040. "),
        ({"family": "vgg"}, "says family='vgg' of 'resnet18_half', which has 'resnet'. "),
        ({"min_image_size_px": 8}, "says min_image_size_px=8 of 'resnet18_half', which has 16. "),
        ({"image_size_multiple_px": 2}, "says image_size_multiple_px=2 of 'resnet18_half', which has 1. "),
        (ALEXNET, "says image_size_px=48: --image-size 48 is not allowed for the backbone 'alexnet', which takes "),
        (RESNET18, "do not fit the backbone 'resnet18': missing keys: "),
        ({"architecture": "resnet9"}, "nobody offers that here. Install a newer finetune"),
    ],
    ids=["parameters", "family", "smallest", "multiple", "size", "another", "unknown"],
)
def test_a_record_that_is_wrong_about_its_architecture_is_refused(
    facts: dict[str, object], problem: str, offer: Callable[..., Backbone], tmp_path: Path, weight_record: WeightRecord
) -> None:
    offer(**facts)

    with pytest.raises(ModelError) as caught:
        check_architecture(file_of(tmp_path), replace(weight_record, **facts))  # type: ignore[arg-type]
    assert problem in str(caught.value)
    assert str(file_of(tmp_path)) in str(caught.value)
    check_architecture(file_of(tmp_path), weight_record)


def test_a_record_of_a_backbone_with_a_record_is_refused(
    offer: Callable[..., Backbone], weight_record: WeightRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins = load_plugins()
    plugins.backbones["puppies"] = offer()
    monkeypatch.setattr("finetune.networks.weights.load_plugins", lambda: plugins)

    with pytest.raises(ModelError, match="architecture is 'puppies', which is weights with a record itself"):
        check_architecture(file_of(tmp_path), replace(weight_record, architecture="puppies"))
