"""Files of weights with a record: half precision and nothing else is lost, and the same weights are the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from finetune.errors import ModelError
from finetune.networks.network import BackboneModel, Network, assemble, build_backbone, named_tensors, state_to_save
from finetune.networks.weight_files import in_half_precision, record_bytes, serialised
from finetune.networks.weights import load_network, load_weights
from finetune.plugins import load_plugins
from finetune.types import Backbone, WeightRecord
from finetune.weight_record import METADATA_KEY, check_record, read_record

SIZE_PX, CLASSES = 32, 3


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_plugins().find_backbone("resnet18_half")


@pytest.fixture
def model(backbone: Backbone) -> BackboneModel:
    """A network in training mode, whose batch norms have seen something."""
    built = build_backbone(backbone, SIZE_PX)
    for module in built.model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()  # type: ignore[union-attr]
            module.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    return built


@pytest.fixture
def network(model: BackboneModel) -> Network:
    return assemble(model, CLASSES, SIZE_PX)


@pytest.fixture
def write(network: Network, weight_record: WeightRecord, tmp_path: Path) -> Callable[..., Path]:
    """Write the network with a record of these facts, and return the file's path."""

    def written(name: str = "dogs.safetensors", **facts: Any) -> Path:
        (tmp_path / name).write_bytes(record_bytes(network, replace(weight_record, **facts)))
        return tmp_path / name

    return written


def parameters_of(network: Network) -> dict[str, Tensor]:
    """Return copies of what half precision is about, by the keys of a file."""
    return {key: t.clone() for key, t in named_tensors(network).items() if not _is_buffer(key)}


def _is_buffer(key: str) -> bool:
    return key.endswith(("running_mean", "running_var", "num_batches_tracked"))


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_file_holds_parameters_in_half_precision_and_buffers_as_they_are(
    network: Network, write: Callable[..., Path]
) -> None:
    held, own = load_file(write()), state_to_save(network)

    assert held.keys() == own.keys()
    for key, tensor in own.items():
        assert torch.equal(held[key], tensor if _is_buffer(key) else tensor.half())
        assert held[key].dtype == (tensor.dtype if _is_buffer(key) else torch.float16)


def test_the_record_is_read_back_with_the_hash_of_the_tensors(
    weight_record: WeightRecord, write: Callable[..., Path]
) -> None:
    path = write()
    record = read_record(path)

    assert record
    assert record == replace(weight_record, sha256=record.sha256)
    check_record(path, record)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata.keys() == {"finetune.weights", "format", "licence"}
    assert (metadata["format"], metadata["licence"]) == ("pt", "CC-BY-4.0")
    assert json.loads(metadata[METADATA_KEY])["schema"] == 1


def test_the_same_weights_are_the_same_bytes(network: Network, weight_record: WeightRecord) -> None:
    assert len({record_bytes(network, weight_record) for _ in range(5)}) == 1


def test_the_tensors_begin_where_they_can_be_mapped(network: Network) -> None:
    for length in range(8):
        content = serialised(network, licence="x" * length)
        assert int.from_bytes(content[:8], "little") % 8 == 0


@pytest.mark.parametrize("value", [1e5, -1e5, float("nan")])
@pytest.mark.parametrize("key", ["layer2.0.conv1.weight", "head.classifier.2.bias"])
def test_a_parameter_that_does_not_fit_is_refused_by_its_name(
    network: Network, weight_record: WeightRecord, key: str, value: float
) -> None:
    named_tensors(network)[key].view(-1)[0] = value
    before = parameters_of(network)

    for refusing in (lambda: record_bytes(network, weight_record), lambda: in_half_precision(network)):
        with pytest.raises(ModelError) as caught:
            refusing()
        assert str(caught.value) == (
            f"The parameter '{key}' does not fit into half precision: it reaches {abs(value):.3g}, and 65504 is the "
            "largest number there. Train with a lower --lr."
        )
    after = parameters_of(network)
    assert all(torch.equal(before[name].nan_to_num(), tensor.nan_to_num()) for name, tensor in after.items())


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"labels": ("pug",)}, "its head has 3 outputs, and its record names 1 labels"),
        ({"metrics": {"accuracy": float("nan")}}, "NaN is not a finite number"),
        ({"name": ""}, "its name is not text"),
    ],
    ids=["labels", "metric", "name"],
)
def test_a_record_that_could_not_be_read_back_is_not_written(
    network: Network, weight_record: WeightRecord, facts: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ModelError, match=problem):
        record_bytes(network, replace(weight_record, **facts))


# ── rounding ────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_measured_after_rounding_is_what_the_file_holds(
    network: Network, weight_record: WeightRecord, backbone: Backbone, tmp_path: Path
) -> None:
    before, buffers = parameters_of(network), state_to_save(network)
    in_half_precision(network)
    (tmp_path / "dogs.safetensors").write_bytes(record_bytes(network, weight_record))
    again = assemble(build_backbone(backbone, SIZE_PX), CLASSES, SIZE_PX)
    load_network(again, tmp_path / "dogs.safetensors")

    rounded = parameters_of(network)
    assert all(torch.equal(tensor, before[key].half().float()) for key, tensor in rounded.items())
    assert any(not torch.equal(tensor, before[key]) for key, tensor in rounded.items())
    assert all(torch.equal(named_tensors(network)[key], buffers[key]) for key in buffers if _is_buffer(key))
    images = torch.rand(2, 3, SIZE_PX, SIZE_PX)
    assert torch.equal(network.eval()(images), again.eval()(images))


# ── a run's start ───────────────────────────────────────────────────────────────────────────────────


def test_a_record_fills_a_body_in_single_precision_exactly(
    network: Network, backbone: Backbone, write: Callable[..., Path]
) -> None:
    path, fresh = write(), build_backbone(backbone, SIZE_PX)

    used = load_weights(fresh, backbone, str(path))

    state, own = fresh.model.state_dict(), named_tensors(network)
    assert {tensor.dtype for key, tensor in state.items() if not _is_buffer(key)} == {torch.float32}
    for key, tensor in state.items():
        assert torch.equal(tensor, own[key] if _is_buffer(key) else own[key].half().float())
    assert (used.name, used.licence) == ("dogs-resnet18_half", "CC-BY-4.0")
    assert used.note == (
        f"resnet18_half starts from {path}: pretrained on dogs: kinds (1200 pictures of 3 classes, accuracy 93.1%), "
        "licence CC-BY-4.0."
    )


def refused(backbone: Backbone, path: Path) -> str:
    """Return the line that refuses the weights; the network must be untouched by then."""
    fresh = build_backbone(backbone, SIZE_PX)
    before = {key: tensor.clone() for key, tensor in fresh.model.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        load_weights(fresh, backbone, str(path))
    assert all(torch.equal(before[key], tensor) for key, tensor in fresh.model.state_dict().items())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_record_of_another_architecture_is_refused_with_both_names(
    backbone: Backbone, write: Callable[..., Path]
) -> None:
    path = write(architecture="resnet18")

    assert refused(backbone, path) == (
        f"The weights in {path} are of the backbone 'resnet18', and 'resnet18_half' was asked for. Give --backbone "
        "resnet18, or other --weights."
    )


def test_a_flipped_byte_is_refused_before_anything_is_filled(backbone: Backbone, write: Callable[..., Path]) -> None:
    path = write()
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)

    assert refused(backbone, path).startswith(f"{path} is damaged or was changed: the SHA-256 of its ")


def test_a_record_of_other_labels_is_refused(backbone: Backbone, write: Callable[..., Path]) -> None:
    path = write()
    content = path.read_bytes().replace(b'[\\"collie\\", ', b'[\\"beagle\\", ')
    assert content != path.read_bytes()
    path.write_bytes(content)

    assert refused(backbone, path).startswith(f"{path} is damaged or was changed: the SHA-256 of its ")


def test_a_file_without_a_record_starts_a_run_as_ever(network: Network, backbone: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(serialised(network, licence="MIT"))

    used = load_weights(build_backbone(backbone, SIZE_PX), backbone, str(path))

    assert (used.name, used.licence) == ("weights.safetensors", "MIT")
    assert used.note == f"resnet18_half starts from {path} (licence: MIT)."
    assert read_record(path) is None


def test_a_record_without_its_suffix_is_told_which_it_needs(backbone: Backbone, write: Callable[..., Path]) -> None:
    path = write("dogs.pth")

    assert refused(backbone, path) == f"{path} is a safetensors file, and has to end in .safetensors. Rename it."


def test_a_record_that_was_read_can_be_written_again(network: Network, write: Callable[..., Path]) -> None:
    path = write()
    record: WeightRecord | None = read_record(path)

    assert record
    assert record_bytes(network, record) == path.read_bytes()
