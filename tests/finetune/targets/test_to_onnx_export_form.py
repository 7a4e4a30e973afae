"""A backbone's form for export is what the graph is made of, and the network as trained is what it is held against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from finetune.errors import PluginError
from finetune.networks.network import BackboneModel, Network, assemble, keep_up_to
from finetune.targets.to_onnx import Deployed, Plain, to_onnx, to_plain_onnx
from finetune_export import golden, model_file
from finetune_export.contract import GOLDEN_KEY, BackboneOrigin, Contract, DatasetOrigin, Preprocessing
from finetune_export.errors import ModelError

SIZE = 32


class Branches(nn.Module):
    """Two parallel convolutions that training needs, and that come to one."""

    def __init__(self) -> None:
        super().__init__()
        self.branches: nn.ModuleList | None = nn.ModuleList(nn.Conv2d(3, 8, 3, stride=2) for _ in range(2))
        self.merged: nn.Conv2d | None = None

    def forward(self, images: Tensor) -> Tensor:
        if self.merged is not None:
            return self.merged(images)  # type: ignore[no-any-return]
        assert self.branches is not None
        return self.branches[0](images) + self.branches[1](images)  # type: ignore[no-any-return]

    def merge(self) -> None:
        assert self.branches is not None
        self.merged = nn.Conv2d(3, 8, 3, stride=2)
        with torch.no_grad():
            for own, first, second in zip(
                self.merged.parameters(), *(b.parameters() for b in self.branches), strict=True
            ):
                own.copy_(first + second)
        self.branches = None


def merge(body: nn.Module) -> nn.Module:
    for module in list(body.modules()):
        if isinstance(module, Branches):
            module.merge()
    return body


def lose(body: nn.Module) -> nn.Module:
    """Forget what was trained."""
    for parameter in merge(body).parameters():
        nn.init.zeros_(parameter)
    return body


def backbone(for_export: Callable[[nn.Module], nn.Module]) -> BackboneModel:
    torch.manual_seed(0)
    model = nn.Sequential(Branches(), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2))
    return BackboneModel(model=model, stages=(("stem", model[0]), ("stage1", model[1:])), for_export=for_export)


def network_of(for_export: Callable[[nn.Module], nn.Module] = merge, layer: str | None = None) -> Network:
    return assemble(keep_up_to(backbone(for_export), layer), 3, SIZE).eval()


CONTRACT = Contract(
    labels=("a", "b", "c"),
    preprocessing=Preprocessing(image_size_px=SIZE, crop_fraction=1.0, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    backbone=BackboneOrigin(name="tiny", weights="none", licence=""),
    dataset=DatasetOrigin(
        name="drawn", source="drawn", licence="CC0-1.0", fingerprint="0" * 64, train_images=2, valid_images=1
    ),
    run_id="2024-01-02-a",
    metrics={"accuracy": 1.0},
    versions={"finetune": "0.1.0"},
)


def convolutions(file: bytes) -> int:
    return sum(node.op_type == "Conv" for node in onnx.load_from_string(file).graph.node)


def answers(file: bytes, output: str, name: str, pictures: Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run([output], {name: pictures.numpy()})[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("layer", [None, "stem"])
def test_the_graph_has_the_form_for_export_and_answers_as_the_network_was_trained(layer: str | None) -> None:
    network = network_of(layer=layer)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}

    file = to_onnx(network, CONTRACT)

    pictures = torch.randint(0, 256, (2, SIZE, SIZE, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = Deployed(network, CONTRACT).eval()(pictures)[0]
    np.testing.assert_allclose(answers(file, "probabilities", "image", pictures), expected, atol=1e-5)
    assert convolutions(file) == (2 if layer is None else 1)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_plain_form_has_it_too() -> None:
    network = network_of()

    file = to_plain_onnx(network, CONTRACT)

    pictures = torch.randn(2, 3, SIZE, SIZE)
    with torch.inference_mode():
        expected = Plain(network, CONTRACT).eval()(pictures)
    np.testing.assert_allclose(answers(file, "logits", "pixel_values", pictures), expected, atol=1e-5)
    assert convolutions(file) == 2


def test_without_one_the_network_is_exported_as_it_was_trained() -> None:
    assert convolutions(to_onnx(network_of(lambda body: body), CONTRACT)) == 3


def test_a_form_that_answers_otherwise_is_found_by_the_files_own_test_pictures() -> None:
    file = to_onnx(network_of(lose), CONTRACT)
    pairs = golden.parse(model_file.read(file).metadata[GOLDEN_KEY])

    with pytest.raises(ModelError, match="a probability differs"):
        golden.check(pairs, CONTRACT, lambda pixels: answers(file, "probabilities", "image", torch.from_numpy(pixels)))


def test_a_form_that_fails_is_the_plugins_fault() -> None:
    def fail(body: nn.Module) -> nn.Module:
        raise ValueError("no branches")

    with pytest.raises(PluginError, match=r"^The form for export of the backbone failed: ValueError: no branches\."):
        to_onnx(network_of(fail), CONTRACT)
