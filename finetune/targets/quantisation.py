"""Static quantisation of a graph by onnxruntime, as pairs of QuantizeLinear and DequantizeLinear.

Weights become int8 with one scale for each output channel, activations uint8 with one scale and zero point for each
tensor: the form that processors with integer dot products (such as VNNI) run fastest. One without them may saturate on
it and answer otherwise, which the golden pairs tell.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import TensorsData

from finetune.targets import measuring
from finetune.targets.bias_correction import BiasErrors, bias_errors, correct_biases
from finetune.targets.measuring import Ranges
from finetune_export.image import Pixels

WEIGHTED = ("Conv", "Gemm", "MatMul")
OPERATORS = (*WEIGHTED, "Add", "Mul", "Relu", "Clip", "MaxPool", "AveragePool", "Concat")
"""What computes on integers. The rest, such as softmax, layer norms and the mean over a map, stays float."""

_TYPED = ("onnx.infer", "onnxruntime.quant")  # by this entry the quantiser knows that shape inference has been done


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What pictures tell about a graph: how far its tensors range, and what rounded weights would add to its biases."""

    ranges: Ranges
    bias_errors: BiasErrors


def calibrate(model: onnx.ModelProto, batches: Sequence[Pixels]) -> Calibration:
    """Measure a float graph on batches of pixels, uint8 (B, H, W, 3)."""
    return Calibration(ranges=measuring.ranges(model, batches), bias_errors=bias_errors(model, batches))


def quantise(model: onnx.ModelProto, calibration: Calibration, left_float: Collection[str] = ()) -> onnx.ModelProto:
    """Return the graph with every operator on integers that gains by it, but for the nodes named in ``left_float``."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    correct_biases(copy.graph, {name: e for name, e in calibration.bias_errors.items() if name not in left_float})
    onnx.helper.set_model_props(copy, dict([_TYPED]))
    with _quiet_quantiser():
        quantiser = QDQQuantizer(
            copy,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=_tensors_data(calibration.ranges),
            nodes_to_quantize=[],
            nodes_to_exclude=[*left_float, *_not_worth_it(model.graph)],
            op_types_to_quantize=list(OPERATORS),
            extra_options={"TensorQuantOverrides": _shared_ranges(model.graph, calibration.ranges)},
        )
        quantiser.quantize_model()
        quantiser.model.topological_sort()
    quantised: onnx.ModelProto = quantiser.model.model
    _unwrap_integers(quantised.graph)
    _keep_last(quantised.graph, weighted(model.graph)[-1].output[0])
    _keep_outputs(quantised.graph)
    return quantised


def weighted(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the nodes that multiply by constant weights, in the order in which they run."""
    constants = {tensor.name for tensor in graph.initializer}
    return [node for node in graph.node if node.op_type in WEIGHTED and node.input[1] in constants]


@contextmanager
def _quiet_quantiser() -> Iterator[None]:
    """Keep the quantiser's remarks on tensors of other types, which it writes to the root logger, from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _tensors_data(ranges: Ranges) -> TensorsData:
    typed = {name: (np.array(low, np.float32), np.array(high, np.float32)) for name, (low, high) in ranges.items()}
    return TensorsData(CalibrationMethod.MinMax, typed)


def _not_worth_it(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield the nodes that would cost more than they give.

    An addition or product with constants loses the constants' precision and saves next to nothing; a product of two
    activations is attention's, whose operands have no common scale.
    """
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        with_constant = any(name in constants for name in node.input)
        elementwise = node.op_type in ("Add", "Mul")
        if (elementwise and with_constant) or (node.op_type == "MatMul" and node.input[1] not in constants):
            yield node.name


def _shared_ranges(graph: onnx.GraphProto, ranges: Ranges) -> dict[str, list[dict[str, np.float32]]]:
    """Return overrides that give what is only concatenated the scale of the whole: then nothing is rescaled."""
    readers = [name for node in graph.node for name in node.input]
    return {
        name: [{"rmin": np.float32(low), "rmax": np.float32(high)}]
        for node in graph.node
        if node.op_type == "Concat" and node.output[0] in ranges  # shapes are concatenated, too
        for low, high in [ranges[node.output[0]]]
        for name in node.input
        if readers.count(name) == 1
    }


def _unwrap_integers(graph: onnx.GraphProto) -> None:
    """Take out the pairs behind a tensor that was dequantised the line before: it is made of integers already."""
    made_by = {name: node for node in graph.node for name in node.output}
    for node in [*graph.node]:
        source = made_by.get(node.input[0]) if node.op_type == "QuantizeLinear" else None
        if source is None or source.op_type != "DequantizeLinear":
            continue
        for pair in [reader for reader in graph.node if node.output[0] in reader.input]:
            _redirect(graph, pair.output[0], source.output[0])
            graph.node.remove(pair)
        graph.node.remove(node)


def _keep_last(graph: onnx.GraphProto, logits: str) -> None:
    """Take out the pair behind the last layer: nothing computes on it, and it cuts off what passes its range.

    A picture may well have a larger value than all those that ranges were measured on.
    """
    for rounding in [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == logits]:
        (back,) = (node for node in graph.node if rounding.output[0] in node.input)
        _redirect(graph, back.output[0], logits)
        graph.node.remove(back)
        graph.node.remove(rounding)


def _keep_outputs(graph: onnx.GraphProto) -> None:
    """Let an output that a later layer reads in integers, such as the embedding, be what it was before that."""
    made_by = {name: node for node in graph.node for name in node.output}
    for name in (output.name for output in graph.output):
        if made_by[name].op_type == "DequantizeLinear":
            _redirect(graph, name, f"{name}_rounded")
            made_by[name].output[0] = f"{name}_rounded"
            rounding = made_by[made_by[name].input[0]]
            made_by[rounding.input[0]].output[0] = name
            rounding.input[0] = name


def _redirect(graph: onnx.GraphProto, before: str, after: str) -> None:
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == before:
                node.input[place] = after
