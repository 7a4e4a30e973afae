"""Pixels straight into the first convolution: a graph's scaling and normalisation, folded into its weights.

A quantised graph that still normalises its input spends a quarter of its time on that. But pixels are integers
already, so the first convolution can read them, once its weights know the mean and the deviation. The border is the one
difficulty: a zero there stands for the mean colour after the normalisation, and for another one before it. A fourth
channel, which is white in the picture and absent around it, carries the difference, and the fold is exact. Four
channels are also what the integer instructions of processors take at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from finetune_export.contract import Preprocessing

_BEGINNING = ["Transpose", "Cast", "Div", "Sub", "Div", "Conv"]  # to NCHW, to float, / 255, - mean, / std
_WHITE = 255


def with_integer_input(model: onnx.ModelProto, preprocessing: Preprocessing) -> onnx.ModelProto:
    """Return a graph with the same answers whose first convolution reads the pixels, through one DequantizeLinear.

    ``model`` is one that ``to_onnx`` wrote. Where its network does not begin with a convolution of the three colours,
    it is returned as it is.
    """
    path = _first_nodes(model.graph)
    if [node.op_type for node in path] != _BEGINNING or not _reads_three_colours(path[-1], model.graph):
        return model
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    _fold(folded.graph, preprocessing)
    return onnx.shape_inference.infer_shapes(folded, strict_mode=True)


def _first_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the nodes from the image on, as many as a normalisation and a convolution are, while they do not fork."""
    path: list[onnx.NodeProto] = []
    tensor = graph.input[0].name
    while len(path) < len(_BEGINNING):
        readers = [node for node in graph.node if tensor in node.input]
        if not path:  # how many pictures there are may be asked for apart; that stays
            readers = [node for node in readers if node.op_type != "Shape"]
        if len(readers) != 1:
            break
        path.append(readers[0])
        tensor = readers[0].output[0]
    return path


def _reads_three_colours(conv: onnx.NodeProto, graph: onnx.GraphProto) -> bool:
    """Return whether a convolution's weights are in the file, and each filter sees all colours: no groups."""
    return any(tensor.name == conv.input[1] and tensor.dims[1] == 3 for tensor in graph.initializer)


def _fold(graph: onnx.GraphProto, preprocessing: Preprocessing) -> None:
    *normalisation, conv = _first_nodes(graph)
    (weight,) = (tensor for tensor in graph.initializer if tensor.name == conv.input[1])
    zero = round(_WHITE * sum(preprocessing.mean) / len(preprocessing.mean))  # near the mean colour: small weights
    values = _folded(numpy_helper.to_array(weight), preprocessing, zero)
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    conv.input[0] = "pixels"
    nodes = [*_pixels(graph, zero), *(node for node in graph.node if node not in normalisation)]
    constants = [tensor for tensor in graph.initializer if any(tensor.name in node.input for node in nodes)]
    for field, values_left in ((graph.node, nodes), (graph.initializer, constants), (graph.value_info, [])):
        kept = [type(value).FromString(value.SerializeToString()) for value in values_left]
        del field[:]
        field.extend(kept)


def _folded(weight: NDArray[np.float32], preprocessing: Preprocessing, zero: int) -> NDArray[np.float32]:
    """Return weights (O, 4, h, w) for (pixels - zero) / 255, given those for normalised pixels, (O, 3, h, w).

    With p = pixel / 255 and z = zero / 255: (p - mean) / std = (p - z) / std + (z - mean) / std; the second term is the
    same for all pixels of the picture, and so it is the fourth channel's, whose input there is 1 - z.
    """
    mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    offset = (weight * (zero / _WHITE - mean) / std).sum(axis=1, keepdims=True)  # (O, 1, h, w)
    return np.concatenate([weight / std, offset / (1 - zero / _WHITE)], axis=1).astype(np.float32)


def _pixels(graph: onnx.GraphProto, zero: int) -> list[onnx.NodeProto]:
    """Return the nodes from ``image``, uint8 (N, S, S, 3), to ``pixels``, float32 (N, 4, S, S); add their constants."""
    constants: dict[str, NDArray[Any]] = {
        "pixels_fourth": np.array([0, 0, 0, 0, 0, 1, 0, 0], np.int64),
        "pixels_white": np.array(_WHITE, np.uint8),
        "pixels_order": np.arange(3),
        "pixels_scale": np.array(1 / _WHITE, np.float32),
        "pixels_zero": np.array(zero, np.uint8),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    nodes: tuple[tuple[str, list[str], str, dict[str, Any]], ...] = (
        ("Transpose", [graph.input[0].name], "pixels_planes", {"perm": (0, 3, 1, 2)}),
        # Changes nothing but the time: onnxruntime moves a Transpose past a Pad, but not past a Gather, and to insert
        # a byte after every third one takes it ten times as long as to append a plane.
        ("Gather", ["pixels_planes", "pixels_order"], "pixels_colours", {"axis": 1}),
        ("Pad", ["pixels_colours", "pixels_fourth", "pixels_white"], "pixels_integer", {}),
        ("DequantizeLinear", ["pixels_integer", "pixels_scale", "pixels_zero"], "pixels", {}),
    )
    return [helper.make_node(kind, takes, [gives], name=gives, **how) for kind, takes, gives, how in nodes]
