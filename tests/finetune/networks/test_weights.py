"""Weights arrive whole, in the right network, and from nowhere but where the user said."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from finetune.builtin.torchvision_backbones import finetune_register_backbones
from finetune.errors import ConfigError, ModelError, ResourceError
from finetune.networks.network import (
    BackboneModel,
    Network,
    build_backbone,
    make_body,
    make_head,
    original_keys,
    state_to_save,
)
from finetune.networks.weight_files import serialised
from finetune.networks.weights import load_network, load_weights
from finetune.types import Backbone, Weights

State = dict[str, Tensor]

BACKBONE = Backbone(name="tiny", family="tiny", summary="", build="tiny:build", parameters=1)


class Tiny(nn.Module):
    """A published network in miniature, with a batch norm and a classifier called ``fc``."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, 10)


def tiny(width: int = 4) -> BackboneModel:
    model = Tiny(width)
    return BackboneModel(model=model, stages=(("stem", model.conv), ("stage1", model.norm)))


def network_of(model: BackboneModel, classes: int = 3) -> Network:
    return Network(make_body(model), make_head(4, classes), original_keys(model))


def safetensors_file(path: Path, state: State) -> str:
    save_file(state, path / "weights.safetensors")
    return str(path / "weights.safetensors")


def pickle_file(path: Path, content: object, name: str = "weights.pth") -> str:
    torch.save(content, path / name)
    return str(path / name)


def refusal(model: BackboneModel, weights: str, backbone: Backbone = BACKBONE) -> str:
    """Return the one line that refuses the weights; the network must be untouched by then."""
    before = {key: tensor.clone() for key, tensor in model.model.state_dict().items()}
    with pytest.raises((ConfigError, ModelError, ResourceError)) as refused:
        load_weights(model, backbone, weights)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.model.state_dict().items())
    assert "\n" not in str(refused.value)
    return str(refused.value)


# ── what fits ───────────────────────────────────────────────────────────────────────────────────────


def test_none_keeps_the_random_weights_and_says_so():
    model = tiny()
    before = model.model.conv.weight.clone()
    used = load_weights(model, BACKBONE, "none")
    assert torch.equal(model.model.conv.weight, before)
    assert (used.name, used.licence, used.sha256) == ("none", "", "")
    assert used.note == "tiny starts from random weights."


@pytest.mark.parametrize("write", [safetensors_file, pickle_file])
def test_a_file_fills_the_body_and_leaves_the_original_head(tmp_path, write):
    source, model = Tiny(), tiny()
    source.norm.running_mean.fill_(3.0)
    head = model.model.fc.weight.clone()
    path = write(tmp_path, source.state_dict())
    used = load_weights(model, BACKBONE, path)
    assert torch.equal(model.model.conv.weight, source.conv.weight)
    assert torch.equal(make_body(model).stage1.running_mean, source.norm.running_mean)
    assert torch.equal(model.model.fc.weight, head)
    assert used.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert (used.name, used.licence) == (Path(path).name, "unknown")
    assert used.note == f"tiny starts from {path} (licence: unknown)."


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
        lambda state: {"state_dict": {f"module.{key}": tensor for key, tensor in state.items()}},
        lambda state: {key: tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked")},
        lambda state: {key: tensor for key, tensor in state.items() if not key.startswith("fc.")},
        lambda state: {**state, "fc.weight": torch.zeros(2, 4)},
        lambda state: {**state, "head.anything": torch.zeros(2)},
        lambda state: {key: t.half() if t.is_floating_point() else t for key, t in state.items()},
    ],
    ids=["state_dict", "model", "module", "no-counter", "no-head", "other-head", "own-head", "half"],
)
def test_the_usual_forms_of_a_state_dict_are_understood(tmp_path, change):
    source, model = Tiny(), tiny()
    load_weights(model, BACKBONE, pickle_file(tmp_path, change(source.state_dict()), "weights.pt"))
    torch.testing.assert_close(model.model.conv.weight, source.conv.weight, rtol=1e-3, atol=1e-3)


def test_a_backbone_may_adapt_what_was_published(tmp_path):
    source, model = Tiny(), tiny()
    old = {key.replace("conv.", "convolution."): tensor for key, tensor in source.state_dict().items()}

    def rename(state: State) -> State:
        return {key.replace("convolution.", "conv."): tensor for key, tensor in state.items()}

    load_weights(replace(model, adapt_weights=rename), BACKBONE, safetensors_file(tmp_path, old))
    assert torch.equal(model.model.conv.weight, source.conv.weight)


# ── what does not ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda s: s.pop("conv.bias"), "missing keys: 1, first 'conv.bias'"),
        (lambda s: s.update(extra=torch.zeros(1)), "unknown keys: 1, first 'extra'"),
        (
            lambda s: s.update({"norm.weight": torch.zeros(5)}),
            "other shapes or types: 1, first 'norm.weight': float32 (5,) instead of float32 (4,)",
        ),
        (
            lambda s: s.update({"conv.bias": torch.zeros(4, dtype=torch.int8)}),
            "other shapes or types: 1, first 'conv.bias': int8 (4,) instead of float32 (4,)",
        ),
    ],
    ids=["missing", "unknown", "shape", "type"],
)
def test_weights_that_do_not_fit_are_refused_with_the_first_example(tmp_path, change, problem):
    state = Tiny().state_dict()
    change(state)
    path = safetensors_file(tmp_path, state)
    assert refusal(tiny(), path) == (
        f"The weights in {path} do not fit the backbone 'tiny': {problem}. Choose the backbone that they were made for."
    )


def test_another_architecture_is_refused_with_everything_that_differs(tmp_path):
    state = {"conv.weight": torch.zeros(7, 3, 3, 3), "block.0.weight": torch.zeros(1), "block.1.weight": torch.zeros(1)}
    path = safetensors_file(tmp_path, state)
    assert refusal(tiny(), path) == (
        f"The weights in {path} do not fit the backbone 'tiny': missing keys: 5, first 'conv.bias'; "
        "unknown keys: 2, first 'block.0.weight'; other shapes or types: 1, first 'conv.weight': "
        "float32 (7, 3, 3, 3) instead of float32 (4, 3, 3, 3). Choose the backbone that they were made for."
    )


def test_weights_that_cannot_be_adapted_are_refused(tmp_path):
    def adapt(state: State) -> State:
        raise ValueError("seq_length is not\na perfect square")

    path = safetensors_file(tmp_path, Tiny().state_dict())
    assert "they cannot be adapted (seq_length is not a perfect square)" in refusal(
        replace(tiny(), adapt_weights=adapt), path
    )


def test_a_misspelt_word_is_refused_with_what_is_allowed():
    assert refusal(tiny(), "pretraned") == (
        "--weights pretraned is not allowed; give 'pretrained', 'none', or a file that ends in .safetensors, .pth, .pt."
    )


def test_a_file_that_is_not_there_is_a_configuration_error(tmp_path):
    path = tmp_path / "gone.pth"
    assert refusal(tiny(), str(path)) == (
        f"--weights {path}: there is no such file. Check the path, or give 'pretrained' or 'none'."
    )


def test_a_corrupt_safetensors_file_is_refused(tmp_path):
    path = Path(safetensors_file(tmp_path, Tiny().state_dict()))
    path.write_bytes(path.read_bytes()[:-20])
    assert refusal(tiny(), str(path)).startswith(f"{path} is damaged or no safetensors file: ")


class Bomb:
    """What a hostile pickle does: call a function while it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    path = pickle_file(tmp_path, {**Tiny().state_dict(), "bomb": Bomb(tmp_path / "run")})
    assert refusal(tiny(), path) == (
        f"{path} is not a file of plain weights: it is damaged, or holds Python objects, which are never loaded. "
        "Save model.state_dict(), best as .safetensors."
    )
    assert not (tmp_path / "run").exists()
    torch.load(path, weights_only=False)  # the proof that it would have
    assert (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04 not a zip"])
def test_a_damaged_pickle_is_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert refusal(tiny(), str(path)).startswith(f"{path} is not a file of plain weights: ")


@pytest.mark.parametrize("content", [{}, [torch.zeros(1)], {"epoch": 3}, {"state_dict": {}}])
def test_a_file_without_a_state_dict_is_refused(tmp_path, content):
    path = pickle_file(tmp_path, content)
    assert refusal(tiny(), path).startswith(f"{path} holds no state dict: expected tensors by name, ")


# ── pretrained ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty torch.hub cache, and no proxy between us and the loopback."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "torch" / "hub" / "checkpoints"


def pretrained(url: str, sha256: str = "") -> Backbone:
    weights = Weights(name="V1", url=url, sha256=sha256, licence="BSD-3-Clause", source="the publisher")
    return replace(BACKBONE, weights=weights)


def published(folder: Path) -> tuple[Path, str, Tiny]:
    source = Tiny()
    path = Path(pickle_file(folder, source.state_dict(), "tiny.pth"))
    return path, hashlib.sha256(path.read_bytes()).hexdigest(), source


def test_pretrained_weights_are_fetched_checked_and_kept(tmp_path, hub):
    path, sha256, source = published(tmp_path)
    backbone, model = pretrained(path.as_uri(), sha256[:8]), tiny()
    used = load_weights(model, backbone, "pretrained")
    assert torch.equal(model.model.conv.weight, source.conv.weight)
    assert (used.name, used.licence, used.sha256) == ("V1", "BSD-3-Clause", sha256)
    assert used.note == "tiny starts from the weights V1 of the publisher (licence: BSD-3-Clause)."
    path.unlink()
    assert load_weights(tiny(), backbone, "pretrained") == used  # from the cache


def test_a_backbone_without_pretrained_weights_says_so():
    assert refusal(tiny(), "pretrained") == (
        "The backbone 'tiny' has no pretrained weights; give --weights FILE or --weights none."
    )


def test_a_file_that_is_the_published_one_keeps_its_name_and_licence(tmp_path):
    path, sha256, _ = published(tmp_path)
    used = load_weights(tiny(), pretrained("https://example.org/tiny.pth", sha256[:8]), str(path))
    assert (used.name, used.licence) == ("V1", "BSD-3-Clause")


# ── a run's own ─────────────────────────────────────────────────────────────────────────────────────


def test_a_runs_weights_come_back_whole(tmp_path):
    network, again = network_of(tiny()), network_of(tiny())
    network.body.stage1.num_batches_tracked.fill_(7)
    (tmp_path / "weights.safetensors").write_bytes(serialised(network, licence="unknown"))
    load_network(again, tmp_path / "weights.safetensors")
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert set(load_file(tmp_path / "weights.safetensors")) == set(state_to_save(network))


@pytest.mark.parametrize("licence", ["unknown", "CC-BY-NC-4.0", 'für 甲 "frei"\t\x01\x7f'])
def test_the_same_weights_are_the_same_bytes_however_often_they_are_saved(tmp_path, licence):
    network = network_of(tiny())
    contents = {serialised(network, licence=licence) for _ in range(20)}  # the library's order changes with each save
    assert len(contents) == 1
    (tmp_path / "weights.safetensors").write_bytes(contents.pop())
    with safe_open(tmp_path / "weights.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt", "licence": licence}
    assert load_weights(tiny(), BACKBONE, str(tmp_path / "weights.safetensors")).licence == licence
    state = load_file(tmp_path / "weights.safetensors")
    assert all(torch.equal(state[key], tensor) for key, tensor in state_to_save(network).items())


def test_a_runs_weights_start_another_run_without_their_head(tmp_path):
    network, model = network_of(tiny(), classes=3), tiny()
    (tmp_path / "weights.safetensors").write_bytes(serialised(network, licence="CC-BY-NC-4.0"))
    used = load_weights(model, BACKBONE, str(tmp_path / "weights.safetensors"))
    assert torch.equal(model.model.conv.weight, network.body.stem.weight)
    assert used.licence == "CC-BY-NC-4.0"


def test_a_run_with_other_classes_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(serialised(network_of(tiny(), classes=3), licence="unknown"))
    with pytest.raises(ModelError) as refused:
        load_network(network_of(tiny(), classes=5), path)
    assert str(refused.value) == (
        f"{path} does not fit this network: other shapes or types: 2, first 'head.classifier.2.weight': "
        "float32 (3, 4) instead of float32 (5, 4). Give the file of the run that trained it."
    )


def test_a_run_without_its_weight_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"weights\.safetensors: there is no such file"):
        load_network(network_of(tiny()), tmp_path / "weights.safetensors")


# ── real weights ────────────────────────────────────────────────────────────────────────────────────


def real(name: str) -> str:
    data = os.environ.get("FINETUNE_REAL_DATA")
    path = Path(data or ".").parent / "weights" / f"{name}.safetensors"
    if not data or not path.is_file():
        pytest.skip("FINETUNE_REAL_DATA does not lead to real weights beside it")
    return str(path)


def built(name: str) -> tuple[BackboneModel, Backbone]:
    backbones: dict[str, Backbone] = {}
    finetune_register_backbones(register=lambda backbone: backbones.__setitem__(backbone.name, backbone))
    return build_backbone(backbones[name], 224), backbones[name]


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1"])
def test_real_weights_load_whole(name):
    model, backbone = built(name)
    path = real(name)
    load_weights(model, backbone, path)
    state, body = load_file(path), original_keys(model)
    own = make_body(model).state_dict()
    assert all(
        torch.equal(own[key], state[theirs].to(own[key].dtype)) for key, theirs in body.items() if theirs in state
    )


@pytest.mark.real_data
def test_real_weights_without_the_last_layer_are_refused_by_its_name():
    model, backbone = built("resnet18")
    text = refusal(model, real("resnet18_stem_to_layer3"), backbone)
    assert "do not fit the backbone 'resnet18': missing keys: 25, first 'layer4.0.conv1.weight'." in text
