"""Every family of networks as an ONNX file: it answers as torch does, and says nothing of where it was made."""

from __future__ import annotations

import ast
import getpass
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import finetune
from finetune.config import Head
from finetune.errors import ModelError
from finetune.networks.network import Network, assemble, build_backbone, keep_up_to
from finetune.plugins import load_plugins
from finetune.targets.to_onnx import OPSET, Deployed, to_onnx
from finetune_export import Predictor, golden, model_file
from finetune_export.contract import (
    GOLDEN_KEY,
    BackboneOrigin,
    Calibration,
    Contract,
    DatasetOrigin,
    Preprocessing,
    contract_of,
)

QUICK = {
    "alexnet": 64,
    "convnext_tiny": 32,
    "mnasnet0_5": 32,
    "mobilenet_v2": 32,
    "regnet_y_400mf": 32,
    "resnet18": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_1": 32,
    "vgg11": 32,
}
SIZE = 32
SLOW = {
    "densenet121": 32,
    "efficientnet_b0": 32,
    "googlenet": 32,
    "inception_v3": 75,
    "maxvit_t": 224,
    "mobilenet_v3_small": 32,
    "swin_t": 32,
    "swin_v2_t": 32,
    "vit_b_32": 32,
}
LABELS = ("ant", "it's a bee", "Käfer 甲")


@dataclass(frozen=True)
class Exported:
    """A network and the file it became."""

    network: Network
    contract: Contract
    file: bytes

    def torch_says(self, pictures: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        with torch.inference_mode():
            return tuple(out.numpy() for out in Deployed(self.network, self.contract).eval()(torch.tensor(pictures)))

    def file_says(self, pictures: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        session = onnxruntime.InferenceSession(self.file, providers=["CPUExecutionProvider"])
        return tuple(session.run(["probabilities", "embedding"], {"image": pictures}))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only wait for each other's threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def contract_for(name: str, size: int, **changes: Any) -> Contract:
    facts = {
        "labels": LABELS,
        "preprocessing": Preprocessing(
            image_size_px=size, crop_fraction=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
        ),
        "backbone": BackboneOrigin(name=name, weights="none", licence=""),
        "dataset": DatasetOrigin(
            name="insects", source="drawn", licence="CC0-1.0", fingerprint="0" * 64, train_images=20, valid_images=8
        ),
        "run_id": "2024-01-02-a",
        "metrics": {"accuracy": 0.975},
        "versions": {"finetune": finetune.__version__},
    }
    return Contract(**(facts | changes))  # type: ignore[arg-type]


def network_of(name: str, size: int, head: Head = "linear", layer: str | None = None) -> Network:
    """Build a network as if it were trained: norms with statistics of their own, and a head that has opinions."""
    torch.manual_seed(0)
    model = keep_up_to(build_backbone(load_plugins().find_backbone(name), size), layer)
    network = assemble(model, len(LABELS), size, head)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.8, 1.2)
    return network.eval()


def exported(name: str, size: int, head: Head = "linear", layer: str | None = None, **changes: Any) -> Exported:
    network, contract = network_of(name, size, head, layer), contract_for(name, size, **changes)
    return Exported(network, contract, to_onnx(network, contract))


def random_pictures(count: int, size: int) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


# ── every family ────────────────────────────────────────────────────────────────────────────────────


def test_no_family_of_backbones_is_left_out() -> None:
    plugins = load_plugins()
    own = [b for b in plugins.backbones.values() if plugins.origin("backbone", b.name).startswith("finetune ")]

    assert {plugins.backbones[name].family for name in QUICK | SLOW} == {backbone.family for backbone in own}


@pytest.mark.parametrize(
    ("name", "size"),
    [*QUICK.items(), *(pytest.param(name, size, marks=pytest.mark.slow) for name, size in SLOW.items())],
)
def test_the_file_answers_like_torch_at_any_batch_size(name: str, size: int) -> None:
    assert_answers_like_torch(exported(name, size), size)


def assert_answers_like_torch(found: Exported, size: int) -> None:
    for count in (1, 3):
        pictures = random_pictures(count, size)
        probabilities, embedding = found.file_says(pictures)
        expected, features = found.torch_says(pictures)
        assert probabilities.shape == (count, len(LABELS))
        assert embedding.shape == features.shape
        assert np.abs(probabilities - expected).max() < 1e-4
        assert np.abs(embedding - features).max() < 1e-4 * max(1, np.abs(features).max())


@pytest.mark.parametrize(
    ("name", "head", "layer", "width"),
    [
        ("squeezenet1_1", "fastai", None, 2 * 512),
        ("squeezenet1_1", "linear", "stage1", 128),
        ("swin_t", "linear", "stem", 96),
        ("swin_t", "fastai", "stem", 2 * 96),
        ("vit_b_32", "fastai", "stem", 768),
    ],
)
def test_every_head_and_a_body_that_was_cut_answer_like_torch(
    name: str, head: Head, layer: str | None, width: int
) -> None:
    found = exported(name, (QUICK | SLOW)[name], head, layer)

    assert_answers_like_torch(found, (QUICK | SLOW)[name])
    assert found.torch_says(random_pictures(2, (QUICK | SLOW)[name]))[1].shape == (2, width)


# ── one file that says all ──────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def small() -> Exported:
    return exported("squeezenet1_1", SIZE)


@pytest.fixture(scope="module")
def model(small: Exported) -> onnx.ModelProto:
    return onnx.load_from_string(small.file)


def test_the_input_is_a_batch_of_whole_pictures_in_bytes(model: onnx.ModelProto) -> None:
    assert [described(value) for value in model.graph.input] == [("image", onnx.TensorProto.UINT8, ["N", 32, 32, 3])]


def test_the_outputs_are_probabilities_and_embedding_and_only_the_batch_axis_is_free(model: onnx.ModelProto) -> None:
    assert [described(value) for value in model.graph.output] == [
        ("probabilities", onnx.TensorProto.FLOAT, ["N", len(LABELS)]),
        ("embedding", onnx.TensorProto.FLOAT, ["N", 512]),
    ]


def described(value: onnx.ValueInfoProto) -> tuple[str, int, list[str | int]]:
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, [side.dim_param or side.dim_value for side in tensor.shape.dim]


def test_the_file_is_of_the_stated_opset_and_uses_no_other_operators(model: onnx.ModelProto) -> None:
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]


def test_the_weights_are_in_the_file(model: onnx.ModelProto) -> None:
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_the_file_keeps_its_contract_and_the_hash_of_its_graph(small: Exported) -> None:
    file = model_file.read(small.file)

    found = contract_of(file)

    assert found.graph_sha256 == file.graph_sha256
    assert (found.labels, found.preprocessing) == (LABELS, small.contract.preprocessing)


def test_what_was_cut_off_is_not_in_the_file(small: Exported) -> None:
    cut = exported("squeezenet1_1", SIZE, layer="stage1").file

    assert len(cut) < len(small.file) / 4
    assert (b"stage3" in small.file, b"stage3" in cut, b"stage1" in cut) == (True, False, True)


def test_the_golden_pairs_inside_are_torchs_own_answers(small: Exported) -> None:
    pairs = golden.parse(model_file.read(small.file).metadata[GOLDEN_KEY])

    notes = golden.check(pairs, small.contract, lambda pixels: small.torch_says(pixels)[0])

    assert len(pairs) >= 4
    assert notes == ()


def test_the_predictor_takes_the_file(small: Exported, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(small.file)

    assert Predictor(path).labels == LABELS


def test_other_readers_find_the_plain_keys_that_they_look_for(small: Exported) -> None:
    metadata = model_file.read(small.file).metadata

    assert ast.literal_eval(metadata["names"]) == dict(enumerate(LABELS))
    assert ast.literal_eval(metadata["imgsz"]) == [32, 32]
    assert metadata["task"] == "classify"


def test_nothing_in_the_file_tells_of_the_machine_that_made_it(small: Exported) -> None:
    here = {str(Path(finetune.__file__).parents[1]), str(Path.home()), torch.__path__[0]}
    for trace in (*here, "site-packages", ".py", "Traceback", 'File "', "stack_trace", f"/{getpass.getuser()}/"):
        assert trace.encode() not in small.file, f"the file says {trace!r}"


def test_the_guard_against_traces_finds_them_in_what_the_exporter_writes_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("finetune.targets.to_onnx._without_traces", lambda model: model)

    file = exported("squeezenet1_1", SIZE).file

    assert b".py" in file
    assert str(Path(finetune.__file__).parents[1]).encode() in file


def test_exporting_twice_gives_the_same_file(small: Exported) -> None:
    assert to_onnx(small.network, small.contract) == small.file


def test_exporting_leaves_the_network_as_it_was(small: Exported) -> None:
    before = {key: tensor.clone() for key, tensor in small.network.state_dict().items()}

    to_onnx(small.network, small.contract)

    assert all(torch.equal(before[key], tensor) for key, tensor in small.network.state_dict().items())
    assert not small.network.training


def test_calibration_is_in_the_graph(small: Exported) -> None:
    calibration = Calibration(method="temperature", temperature=4.0)
    cool = exported("squeezenet1_1", SIZE, calibration=calibration)
    pictures = random_pictures(3, SIZE)

    expected = softmax(np.log(small.file_says(pictures)[0]) / 4)

    assert np.abs(cool.file_says(pictures)[0] - expected).max() < 1e-5


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def test_nothing_is_printed(small: Exported, capfd: pytest.CaptureFixture[str]) -> None:
    to_onnx(small.network, small.contract)

    assert capfd.readouterr() == ("", "")


class Inexpressible(nn.Module):
    """A layer that decides by the pixels which way to go: nothing that a graph can say."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images if bool(images.sum() > 0) else -images


def test_a_network_that_no_graph_can_express_is_refused_in_one_line(small: Exported) -> None:
    network = network_of("squeezenet1_1", SIZE)
    network.body.append(Inexpressible())

    with pytest.raises(ModelError) as caught:
        to_onnx(network, contract_for("squeezenet1_1", SIZE))

    assert re.fullmatch(r"The network cannot be written as ONNX: .+\. Choose another --backbone\.", str(caught.value))
