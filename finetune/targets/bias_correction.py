"""Bias correction: what rounded weights add to a convolution's output on average is taken off its bias beforehand.

Method: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2,
with means that are measured on pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from finetune.targets.measuring import channel_means
from finetune_export.image import Pixels

_LARGEST_INT8 = 127

BiasErrors = Mapping[str, NDArray[np.float32]]
"""What int8 weights add to each output channel, (O,), of the convolutions of these names."""


def bias_errors(model: onnx.ModelProto, batches: Sequence[Pixels]) -> BiasErrors:
    """Return what int8 weights would add on average over batches of pixels, uint8 (B, H, W, 3).

    Convolutions without a bias, or of anything but maps, are left out.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if _is_correctable(node, constants)]
    means = channel_means(model, {node.input[0] for node in convolutions}, batches)
    return {
        node.name: mean_error(numpy_helper.to_array(constants[node.input[1]]), means[node.input[0]])
        for node in convolutions
    }


def correct_biases(graph: onnx.GraphProto, errors: BiasErrors) -> None:
    """Take the errors off the biases of their convolutions."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.name in errors:
            bias = constants[node.input[2]]
            values = numpy_helper.to_array(bias) - errors[node.name]
            bias.CopyFrom(numpy_helper.from_array(values, bias.name))


def mean_error(weight: NDArray[np.float32], means: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what rounding the weights (O, C / groups, h, w) adds to each output, (O,), for inputs of these means (C,).

    The rounding is to int8, symmetric, with one scale for each output.
    """
    scale = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / _LARGEST_INT8
    scale[scale == 0] = 1
    error = (np.round(weight / scale) * scale - weight).sum(axis=(2, 3))  # (O, C / groups)
    groups = len(means) // error.shape[1]
    by_group: NDArray[np.float32] = error.reshape(groups, -1, error.shape[1]) @ means.reshape(groups, -1, 1)
    return by_group.reshape(-1)


def _is_correctable(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    has_bias = len(node.input) == 3 and node.input[1] in constants and node.input[2] in constants
    return node.op_type == "Conv" and has_bias and len(constants[node.input[1]].dims) == 4
