"""Tiny real models and pictures: every test runs onnxruntime and Pillow, nothing is mocked."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from finetune_export import golden, model_file
from finetune_export.contract import (
    CONTRACT_KEY,
    GOLDEN_KEY,
    BackboneOrigin,
    Contract,
    DatasetOrigin,
    Preprocessing,
    Scaling,
    Task,
)

SIDE = 16
LABELS = ("ant", "bee", "Käfer 甲")
VALUES = ("age", "weight in kg", "error")
SCALING = Scaling(offset=(40.0, -70.0, 0.01), scale=(12.5, 8.0, 0.002))


@pytest.fixture
def contract() -> Contract:
    return Contract(
        labels=LABELS,
        preprocessing=Preprocessing(
            image_size_px=SIDE, crop_fraction=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
        ),
        backbone=BackboneOrigin(name="tiny", weights="none", licence="Apache-2.0"),
        dataset=DatasetOrigin(
            name="insects", source="drawn", licence="CC0-1.0", fingerprint="0" * 64, train_images=20, valid_images=8
        ),
        run_id="2024-01-02-a",
        metrics={"accuracy": 0.975, "images": 8},
        versions={"finetune-export": "0.1.0"},
    )


@pytest.fixture
def contract_of(contract: Contract) -> Callable[[Task], Contract]:
    """Return the contract of a model for a task: of several labels, one has a threshold of its own."""

    def of(task: Task) -> Contract:
        if task == "regression":
            return replace(contract, task=task, labels=VALUES, scaling=SCALING)
        return replace(contract, task=task, thresholds={"bee": 0.3} if task == "multi-label" else {})

    return of


@pytest.fixture
def make_graph() -> Callable[..., onnx.ModelProto]:
    """Columns of the picture, averaged, through one matrix and a softmax: sensitive to where the colours are.

    Another task ends as it has to: several labels with a sigmoid, regression with the scaling.
    """

    def build(
        weights: np.ndarray[Any, Any] | None = None, side: int = SIDE, classes: int = 3, task: Task = "single-label"
    ) -> onnx.ModelProto:
        if weights is None:
            weights = np.random.default_rng(7).normal(0, 0.3, (side * 3, classes)).astype(np.float32)
        nodes = [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["float", "scale"], ["unit"]),
            helper.make_node("ReduceMean", ["unit", "axes"], ["columns"], keepdims=0),
            helper.make_node("Flatten", ["columns"], ["embedding"]),
            helper.make_node("MatMul", ["embedding", "weights"], ["logits"]),
            *_head(task),
        ]
        initializers = [
            numpy_helper.from_array(np.array(1 / 255, np.float32), "scale"),
            numpy_helper.from_array(np.array([1], np.int64), "axes"),
            numpy_helper.from_array(weights, "weights"),
            *_scaling(task),
        ]
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", side, side, 3])],
            [
                helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["N", classes]),
                helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", side * 3]),
            ],
            initializers,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)

    return build


def _head(task: Task) -> list[onnx.NodeProto]:
    if task == "regression":
        scaled = helper.make_node("Mul", ["logits", "value scale"], ["scaled"])
        return [scaled, helper.make_node("Add", ["scaled", "value offset"], ["values"])]
    if task == "multi-label":
        return [helper.make_node("Sigmoid", ["logits"], ["probabilities"])]
    return [helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1)]


def _scaling(task: Task) -> list[onnx.TensorProto]:
    if task != "regression":
        return []
    numbers = {"value scale": SCALING.scale, "value offset": SCALING.offset}
    return [numpy_helper.from_array(np.array(values, np.float32), name) for name, values in numbers.items()]


@pytest.fixture
def seal(contract: Contract) -> Callable[..., bytes]:
    """Give a graph its contract and its golden pairs, as an exporter does; ``pairs=False`` leaves these out."""

    def sealed(model: onnx.ModelProto | bytes, contract: Contract = contract, pairs: bool = True) -> bytes:
        graph = model if isinstance(model, bytes) else model.SerializeToString()
        stamped = replace(contract, graph_sha256=model_file.read(graph).graph_sha256)
        metadata = {CONTRACT_KEY: stamped.to_json(), "names": "{0: 'ant'}"}
        if pairs:
            session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
            answers = golden.make(contract.preprocessing, lambda pixels: session.run(None, {"image": pixels})[0])
            metadata[GOLDEN_KEY] = golden.dump(answers)
        return model_file.with_metadata(graph, metadata)

    return sealed


@pytest.fixture
def model(make_graph: Callable[..., onnx.ModelProto], seal: Callable[..., bytes]) -> bytes:
    return seal(make_graph())


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def written(data: bytes) -> Path:
        path = tmp_path / "model.onnx"
        path.write_bytes(data)
        return path

    return written


@pytest.fixture
def model_path(model: bytes, write: Callable[[bytes], Path]) -> Path:
    return write(model)


@pytest.fixture
def task_path(
    make_graph: Callable[..., onnx.ModelProto],
    seal: Callable[..., bytes],
    contract_of: Callable[[Task], Contract],
    tmp_path: Path,
) -> Callable[[Task], Path]:
    """Write the model of a task, and return its path."""

    def written(task: Task) -> Path:
        path = tmp_path / f"{task}.onnx"
        path.write_bytes(seal(make_graph(task=task), contract_of(task)))
        return path

    return written


@pytest.fixture
def encode() -> Callable[..., bytes]:
    """Encode a picture as a file's bytes."""

    def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    return encoded


@pytest.fixture
def photo() -> Callable[..., Image.Image]:
    """Draw a colourful picture without symmetry, with a little noise as a camera has it."""

    def drawn(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
        y, x = np.mgrid[:height, :width]
        ramps = np.dstack([255 * x // width, 255 * y // height, 255 * (x + 2 * y) // (width + 2 * height)])
        noise = np.random.default_rng(seed).integers(-20, 20, ramps.shape)
        return Image.fromarray((ramps + noise + 7 * seed).clip(0, 255).astype(np.uint8))

    return drawn
