"""The target ``fp16``: half the size, the same answers but for rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from finetune.targets import fp16
from finetune_export import Predictor

NETWORKS = ("squeezenet1_1", "mobilenet_v2")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_answers_nearly_as_the_float_file(verified: Callable[..., Any], name: str) -> None:
    given = verified(name)

    artifact = fp16.export(given.request())

    expected = Predictor(given.onnx).answers(given.pictures)
    assert artifact.path == given.folder / "model.fp16.onnx"
    assert np.abs(artifact.answers(given.pictures) - expected).max() < 0.03


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_has_half_the_bytes_of_weights(verified: Callable[..., Any], name: str) -> None:
    given = verified(name)

    path = fp16.export(given.request()).path

    float_model, half = onnx.load(given.onnx), onnx.load(path)

    def weights(model: onnx.ModelProto) -> int:
        return sum(len(tensor.raw_data) for tensor in model.graph.initializer)

    assert weights(half) < 0.51 * weights(float_model)


def test_the_file_checks_itself_and_says_what_it_is(verified: Callable[..., Any]) -> None:
    given = verified()

    path = fp16.export(given.request()).path

    contract = Predictor(path).contract  # its golden pairs were asked
    assert contract.precision == "fp16"
    assert contract.metrics == {"accuracy": given.judged[-1].exported_value}
    assert [file.name for file in given.folder.iterdir()] == ["model.fp16.onnx"]


def test_pixels_go_in_and_float32_comes_out(verified: Callable[..., Any]) -> None:
    graph = onnx.load(fp16.export(verified().request()).path).graph

    kinds = {tensor.name: tensor.type.tensor_type.elem_type for tensor in (*graph.input, *graph.output)}
    assert kinds == {
        "image": onnx.TensorProto.UINT8,
        "probabilities": onnx.TensorProto.FLOAT,
        "embedding": onnx.TensorProto.FLOAT,
    }


def test_normalisation_and_softmax_stay_float32(verified: Callable[..., Any]) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load(fp16.export(verified().request()).path))

    kinds = {tensor.name: tensor.type.tensor_type.elem_type for tensor in model.graph.value_info}
    read_by = {
        node.op_type: kinds[node.input[0]] for node in model.graph.node if node.op_type in ("Sub", "Softmax", "Conv")
    }
    assert read_by == {
        "Sub": onnx.TensorProto.FLOAT,
        "Conv": onnx.TensorProto.FLOAT16,
        "Softmax": onnx.TensorProto.FLOAT,
    }


def test_the_person_is_told_what_it_is_for(verified: Callable[..., Any]) -> None:
    given = verified()

    fp16.export(given.request())

    assert given.notes == [
        "model.fp16.onnx is for GPUs; a CPU converts every number back to float32, and is slower than with model.onnx"
    ]


def test_the_same_run_writes_the_same_bytes_twice(verified: Callable[..., Any]) -> None:
    given = verified()

    first = fp16.export(given.request()).path.read_bytes()

    assert fp16.export(given.request()).path.read_bytes() == first
