"""What runs through a graph while it looks at pictures: answers, the range of each tensor, the mean of its channels.

Tensors are reduced inside the graph, so that no picture's activations are ever held all at once.
Shapes: ``B`` pictures of one batch, ``N`` of all, ``H`` = ``W`` pixels, ``C`` channels, ``K`` labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from finetune_export.image import Pixels
from finetune_export.session import INPUT

Ranges = Mapping[str, tuple[float, float]]
"""The smallest and the largest value of each float tensor."""

_ALL_BUT_CHANNELS = "all but channels"
_ERRORS_ONLY = 3


def answers(model: onnx.ModelProto, batches: Sequence[Pixels]) -> NDArray[np.float32]:
    """Return the answers, float32 (N, K), that a graph gives to batches of pixels, uint8 (B, H, W, 3)."""
    session = _session(model)
    return np.concatenate([session.run([model.graph.output[0].name], {INPUT: batch})[0] for batch in batches])


def ranges(model: onnx.ModelProto, batches: Sequence[Pixels]) -> Ranges:
    """Return the range of every float tensor: the extremes in a batch of pixels, uint8 (B, H, W, 3), on average.

    The average keeps one odd picture from making the steps of a whole tensor coarse.
    """
    tensors = [info.name for info in (*model.graph.value_info, *model.graph.output) if _is_float(info)]
    low, high = (_reduced(model, kind, tensors, batches) for kind in ("ReduceMin", "ReduceMax"))
    return {name: (float(low[name]), float(high[name])) for name in tensors}


def channel_means(
    model: onnx.ModelProto, tensors: Iterable[str], batches: Sequence[Pixels]
) -> Mapping[str, NDArray[np.float32]]:
    """Return the means, float32 (C,), of the channels of maps (B, C, h, w) over batches of pixels."""
    return _reduced(model, "ReduceMean", tensors, batches, _ALL_BUT_CHANNELS)


def _reduced(
    model: onnx.ModelProto, kind: str, tensors: Iterable[str], batches: Sequence[Pixels], *axes: str
) -> dict[str, NDArray[np.float32]]:
    """Return the mean over the batches of what an operator reduces each tensor to; over all its axes by default."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.initializer.append(numpy_helper.from_array(np.array([0, 2, 3]), _ALL_BUT_CHANNELS))
    results = {name: f"{kind} of {name}" for name in tensors}
    for name, result in results.items():
        watched.graph.node.append(helper.make_node(kind, [name, *axes], [result], keepdims=0))
        watched.graph.output.append(helper.make_tensor_value_info(result, onnx.TensorProto.FLOAT, None))
    if not results:
        return {}  # onnxruntime takes no names for all names
    session = _session(watched)
    found: list[Any] = [session.run(list(results.values()), {INPUT: batch}) for batch in batches]
    return {name: np.mean(values, axis=0) for name, values in zip(results, zip(*found, strict=True), strict=True)}


def _is_float(tensor: onnx.ValueInfoProto) -> bool:
    return bool(tensor.type.tensor_type.elem_type == onnx.TensorProto.FLOAT)


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
