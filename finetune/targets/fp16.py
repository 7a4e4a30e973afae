"""The target ``fp16``: the float32 file in half precision, half as large, for onnxruntime's GPU providers."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16

from finetune.targets.derived import derive, read_graph
from finetune.targets.quantisation import weighted
from finetune.types import Artifact, ExportRequest

FILE = "model.fp16.onnx"


def export(request: ExportRequest) -> Artifact:
    """Write ``model.fp16.onnx``: it takes and gives what ``model.onnx`` does, and computes in float16 between."""
    model = read_graph(request)
    half = convert_float_to_float16(model, keep_io_types=True, node_block_list=[*_outside(model.graph)])
    ONNXModel(half).topological_sort()  # the converter appends its casts at the end
    artifact, _ = derive(request, half, "fp16", FILE)
    request.note(f"{FILE} is for GPUs; a CPU converts every number back to float32, and is slower than with model.onnx")
    return artifact


def _outside(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield the nodes before the first layer and behind the last: normalisation and the answers, which stay float32."""
    layers = weighted(graph)
    nodes = list(graph.node)
    for node in (*nodes[: nodes.index(layers[0])], *nodes[nodes.index(layers[-1]) + 1 :]):
        yield node.name
