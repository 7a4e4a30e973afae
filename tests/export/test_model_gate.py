from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from finetune_export import model_gate
from finetune_export.errors import ModelError

MakeGraph = Callable[..., onnx.ModelProto]


def external(tensor: onnx.TensorProto, location: str, **more: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)


def subgraph() -> onnx.GraphProto:
    return helper.make_graph([], "inside", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])


def test_a_plain_model_passes(make_graph: MakeGraph) -> None:
    model = make_graph()
    model.graph.initializer[0].data_location = TensorProto.DEFAULT  # said aloud, as onnx's own tools do
    model_gate.check(model.SerializeToString())


@pytest.mark.parametrize(
    "location",
    ["weights.data", "../weights.data", "/etc/passwd", "/dev/zero", "/proc/self/environ", "*/_ORT_MEM_ADDR_/*", ""],
)
def test_external_data_are_refused_wherever_they_are(location: str, make_graph: MakeGraph) -> None:
    model = make_graph()
    external(model.graph.initializer[2], location, offset="-1", length="9999999999")
    with pytest.raises(ModelError, match=r"keeps weights outside the file; export it as one \.onnx file"):
        model_gate.check(model.SerializeToString())


def test_external_data_of_a_constant_are_refused(make_graph: MakeGraph) -> None:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32))
    external(tensor, "weights.data")
    for place in ("node", "function", "sparse"):
        model = make_graph()
        constant = helper.make_node("Constant", [], ["c"], value=tensor)
        if place == "node":
            model.graph.node.append(constant)
        elif place == "function":
            model.functions.append(helper.make_function("own", "f", [], ["c"], [constant], []))
        else:
            model.graph.sparse_initializer.append(onnx.SparseTensorProto(values=tensor, dims=[3]))
        with pytest.raises(ModelError, match="keeps weights outside the file"):
            model_gate.check(model.SerializeToString())


def test_an_operator_with_a_graph_inside_is_refused_under_any_name(make_graph: MakeGraph) -> None:
    for node in (
        helper.make_node("Loop", ["", "true", "x"], ["y"], body=subgraph()),
        helper.make_node("If", ["c"], ["y"], then_branch=subgraph(), else_branch=subgraph()),
        helper.make_node("Harmless", [], ["y"], domain="own", graphs=[subgraph()]),
    ):
        model = make_graph()
        model.graph.node.append(node)
        with pytest.raises(ModelError, match="such as Loop, Scan or If"):
            model_gate.check(model.SerializeToString())


def test_training_information_is_refused(make_graph: MakeGraph) -> None:
    model = make_graph()
    model.training_info.add()
    with pytest.raises(ModelError, match="export it for inference"):
        model_gate.check(model.SerializeToString())
