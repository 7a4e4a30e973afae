"""What the gate lets through, and what it refuses in a file that is otherwise sound."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization

from finetune_export import message, model_file, model_gate, operators, tensors, wire
from finetune_export.errors import ModelError

MakeGraph = Callable[..., onnx.ModelProto]

TORCHVISION = """
    Add AveragePool BatchNormalization Cast Clip Concat ConstantOfShape Conv Div Einsum Equal Erf Expand Gather GatherND
    Gemm HardSigmoid HardSwish LayerNormalization MatMul MaxPool Mul Not Pad Range ReduceL2 ReduceMean Relu Reshape
    ScatterND Shape Sigmoid Slice Softmax Split Squeeze Sub Transpose Unsqueeze Where
"""
TIMM = "Col2Im Cos CumSum Identity InstanceNormalization Neg Resize Sin Tile"


def external(tensor: onnx.TensorProto, location: str, **more: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)


def subgraph() -> onnx.GraphProto:
    return helper.make_graph([], "inside", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])


def refusal(model: onnx.ModelProto | bytes) -> str:
    with pytest.raises(ModelError) as refused:
        model_gate.check(model if isinstance(model, bytes) else model.SerializeToString())
    return str(refused.value)


def data_with_node(model: onnx.ModelProto, node: bytes) -> bytes:
    """Return a model with one more operator, given as bytes that onnx itself would not write."""
    graph: bytes = model.graph.SerializeToString() + wire.encode_field(1, node)
    model.ClearField("graph")
    rest: bytes = model.SerializeToString()
    return rest + wire.encode_field(7, graph)


def read(tensor: onnx.TensorProto) -> message.Message:
    return message.Reader().read(memoryview(tensor.SerializeToString()))


# ── places in the file ──────────────────────────────────────────────────────────────────────────────


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
    assert refusal(model) == "the model keeps weights outside the file; export it as one .onnx file"


def test_external_data_of_a_constant_are_refused(make_graph: MakeGraph) -> None:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32))
    external(tensor, "weights.data")
    for attribute in ({"value": tensor}, {"values": [tensor]}):
        model = make_graph()
        model.graph.node.append(helper.make_node("Constant", [], ["c"], **attribute))
        assert "keeps weights outside the file" in refusal(model)


def test_an_operator_with_a_graph_inside_is_refused_under_any_name(make_graph: MakeGraph) -> None:
    for name, node in {
        "'Loop'": helper.make_node("Loop", ["", "true", "x"], ["y"], body=subgraph()),
        "'If'": helper.make_node("If", ["c"], ["y"], then_branch=subgraph(), else_branch=subgraph()),
        "'own.Harmless'": helper.make_node("Harmless", [], ["y"], domain="own", graphs=[subgraph()]),
        "'Relu'": helper.make_node("Relu", [], ["y"], body=subgraph()),
    }.items():
        model = make_graph()
        model.graph.node.append(node)
        assert f"operator {name} holds a graph, as those such as Loop, Scan or If do; choose a" in refusal(model)


def test_what_may_hide_operators_or_weights_is_refused(make_graph: MakeGraph) -> None:
    values = numpy_helper.from_array(np.zeros(3, np.float32))
    training, function, sparse, constant = (make_graph() for _ in range(4))
    training.training_info.add()
    function.functions.append(helper.make_function("own", "f", [], ["c"], [], []))
    sparse.graph.sparse_initializer.append(onnx.SparseTensorProto(values=values, dims=[3]))
    node = helper.make_node("Constant", [], ["c"], sparse_value=onnx.SparseTensorProto(values=values, dims=[3]))
    constant.graph.node.append(node)
    assert refusal(training) == "the model holds training information; export it for inference"
    assert refusal(function) == "the model defines operators of its own; export it with all functions inlined"
    assert refusal(sparse) == refusal(constant) == "the model holds sparse tensors; export it with dense ones"


def test_a_field_that_may_occur_once_is_refused_twice(make_graph: MakeGraph) -> None:
    """Which of the two counts is for each reader to decide, so that one could check the first and run the second."""
    data = make_graph().SerializeToString()
    assert "field 7 occurs twice" in refusal(data + wire.encode_field(7, b""))
    relu = helper.make_node("Relu", ["unit"], ["y"]).SerializeToString() + wire.encode_field(4, b"Loop")
    assert "field 4 occurs twice" in refusal(data_with_node(make_graph(), relu))


def test_a_file_of_a_million_fields_is_refused_before_it_fills_the_memory(make_graph: MakeGraph) -> None:
    data = make_graph().SerializeToString() + wire.encode_field(8, b"") * message.MAX_FIELDS
    text = "more than 1048576 fields; no classifier has that many, get the model file again"
    assert refusal(data) == text
    with pytest.raises(ModelError, match=text):
        model_file.read(data)


@pytest.mark.parametrize(("opset", "ir"), [(12, 10), (27, 10), (18, 2), (18, 14)])
def test_versions_out_of_range_are_named(opset: int, ir: int, make_graph: MakeGraph) -> None:
    model = make_graph()
    model.ir_version, model.opset_import[0].version = ir, opset
    what = f"opset {opset}; 13 to 26" if ir == 10 else f"IR version {ir}; 3 to 13"
    text = f"the model has the ONNX {what} are allowed, a newer one needs a newer finetune-export and onnxruntime"
    assert refusal(model) == text


def test_every_opset_of_the_standard_operators_counts_and_no_other(make_graph: MakeGraph) -> None:
    model = make_graph()
    model.opset_import.append(helper.make_opsetid("ai.onnx.preview.training", 1))  # onnxruntime's tools write those
    model_gate.check(model.SerializeToString())
    model.opset_import.append(helper.make_opsetid("ai.onnx", 9999))
    assert "opset 9999" in refusal(model)
    del model.opset_import[:]
    assert "opset 0" in refusal(model)


# ── operators ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("operator", (TORCHVISION + TIMM).split())
def test_what_torch_exports_classifiers_to_is_on_the_list(operator: str, make_graph: MakeGraph) -> None:
    model = make_graph()
    model.graph.node.append(helper.make_node(operator, ["unit"], ["y"]))
    model_gate.check(model.SerializeToString())


@pytest.mark.parametrize(
    ("domain", "operator"),
    [
        ("", "RandomNormal"),
        ("", "Bernoulli"),
        ("", "Multinomial"),
        ("", "Scan"),
        ("", "SequenceAt"),
        ("", "StringConcat"),
        ("", "ImageDecoder"),
        ("", "conv"),
        ("", ""),
        ("", "Conv\n"),
        ("com.microsoft", "Conv"),
        ("ai.onnx.contrib", "DecodeImage"),
        ("own", "Conv"),
        ("", "X" * 500),
    ],
)
def test_other_operators_are_refused_by_name(domain: str, operator: str, make_graph: MakeGraph) -> None:
    model = make_graph()
    model.graph.node.append(helper.make_node(operator, [], ["y"], domain=domain))
    text = refusal(model)
    assert text.endswith("which is not on the list for classifiers; choose a network that exports without it")
    assert repr(".".join(filter(None, (domain, operator))))[:50] in text
    assert len(text) < 200
    assert "\n" not in text


def test_every_operator_on_the_list_exists() -> None:
    standard = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert operators.ALLOWED[""] <= standard
    assert operators.ALLOWED["ai.onnx"] == operators.ALLOWED[""]


class Photos(quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self.batches: Iterator[Any] = iter([{"image": np.full((1, 16, 16, 3), value, np.uint8)} for value in (0, 255)])

    def get_next(self) -> Any:
        return next(self.batches, None)


@pytest.mark.parametrize("form", quantization.QuantFormat)
@pytest.mark.filterwarnings("ignore")
def test_what_onnxruntime_quantises_passes(
    form: quantization.QuantFormat, make_graph: MakeGraph, tmp_path: Path
) -> None:
    onnx.save(make_graph(), tmp_path / "float.onnx")
    quantization.quantize_static(tmp_path / "float.onnx", tmp_path / "int8.onnx", Photos(), quant_format=form)
    data = (tmp_path / "int8.onnx").read_bytes()
    assert any("Linear" in node.op_type for node in onnx.load_from_string(data).graph.node)
    model_gate.check(data)


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"group": 0}, "group of 0; 1 to 32768 are allowed"),
        ({"group": -1}, "group of -1; 1 to 32768 are allowed"),
        ({"strides": [2, 0]}, "strides of 0; 1 to 32768 are allowed"),
        ({"dilations": [-1, 1]}, "dilations of -1; 1 to 32768 are allowed"),
        ({"kernel_shape": [3, 2**40]}, "kernel_shape of 1099511627776; 1 to 32768 are allowed"),
        ({"pads": [0, -1]}, "pads of -1; 0 to 32768 are allowed"),
        ({"pads": [2**30, 0]}, "pads of 1073741824; 0 to 32768 are allowed"),
    ],
)
def test_steps_that_make_no_sense_are_refused(attributes: dict[str, Any], text: str, make_graph: MakeGraph) -> None:
    model = make_graph()
    model.graph.node.append(helper.make_node("Conv", ["x", "w"], ["y"], **attributes))
    assert refusal(model) == f"the model's operator 'Conv' has {text}"


@pytest.mark.parametrize("stated", ["raw", "typed", "constant", "constant behind it", "list"])
@pytest.mark.parametrize("operator", ["ConstantOfShape", "Expand", "Tile", "Resize", "Col2Im"])
def test_a_huge_tensor_that_the_file_asks_for_is_refused(operator: str, stated: str, make_graph: MakeGraph) -> None:
    inputs = {"ConstantOfShape": ["shape"], "Resize": ["x", "", "", "shape"]}.get(operator, ["x", "shape"])
    for shape, refused in ([1, 2**13, 2**13], False), ([2**13, 2**13, 2], True):
        model = make_graph()
        if stated == "typed":
            tensor = helper.make_tensor("shape", TensorProto.INT64, [3], shape)
        else:
            tensor = numpy_helper.from_array(np.array(shape), "shape")
        nodes = [helper.make_node(operator, inputs, ["y"])]
        if stated.startswith("constant"):
            nodes.insert(stated == "constant behind it", helper.make_node("Constant", [], ["shape"], value=tensor))
        elif stated == "list":
            nodes.insert(0, helper.make_node("Constant", [], ["shape"], value_ints=shape))
        else:
            model.graph.initializer.append(tensor)
        model.graph.node.extend(nodes)
        if refused:
            text = (
                f"the model's operator '{operator}' makes a tensor of 134217728 numbers; at most 67108864 are allowed"
            )
            assert refusal(model) == text
        else:
            model_gate.check(model.SerializeToString())


def test_a_huge_range_is_refused(make_graph: MakeGraph) -> None:
    model = make_graph()
    model.graph.node.append(helper.make_node("Constant", [], ["limit"], value_int=2**45))
    model.graph.node.append(helper.make_node("Range", ["start", "limit", "step"], ["y"]))
    assert "the model's operator 'Range' makes a tensor of 35184372088832 numbers" in refusal(model)


def test_a_shape_may_leave_sides_open(make_graph: MakeGraph) -> None:
    model = make_graph()
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, 0, 3]), "shape"))
    model.graph.node.append(helper.make_node("Expand", ["unit", "shape"], ["y"]))
    model_gate.check(model.SerializeToString())


def test_a_huge_padding_is_refused(make_graph: MakeGraph) -> None:
    for pad, refused in (-3, False), (2**15, False), (2**30, True), (-(2**30), True):
        model = make_graph()
        model.graph.initializer.append(numpy_helper.from_array(np.array([0, pad]), "pads"))
        model.graph.node.append(helper.make_node("Pad", ["unit", "pads"], ["y"]))
        if refused:
            assert refusal(model) == f"the model's operator 'Pad' has pads of {pad}; -32768 to 32768 are allowed"
        else:
            model_gate.check(model.SerializeToString())


# ── tensors ─────────────────────────────────────────────────────────────────────────────────────────

KINDS = dict(TensorProto.DataType.items())
ALLOWED_KINDS = {
    *("FLOAT", "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64", "BOOL", "FLOAT16", "DOUBLE", "UINT32", "UINT64"),
    *("BFLOAT16", "UINT4", "INT4"),
}


@given(
    kind=st.sampled_from(sorted(ALLOWED_KINDS)),
    shape=st.lists(st.integers(0, 5), max_size=4),
    raw=st.booleans(),
)
def test_a_tensor_is_as_long_as_its_shape_says(kind: str, shape: list[int], raw: bool) -> None:
    values = np.zeros(shape, helper.tensor_dtype_to_np_dtype(KINDS[kind]))
    tensor = numpy_helper.from_array(values)
    if not raw:
        tensor = helper.make_tensor("", KINDS[kind], shape, values.reshape(-1).tolist())
    tensors.check(read(tensor))
    tensor.dims.append(7)
    if values.size:
        with pytest.raises(ModelError, match=r"holds \d+ (bytes|entries), but its shape .*7 needs \d+; get the model"):
            tensors.check(read(tensor))


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - ALLOWED_KINDS))
def test_numbers_that_no_network_is_made_of_are_refused(kind: str) -> None:
    with pytest.raises(
        ModelError, match=rf"tensor 'w' is of kind {KINDS[kind]}; allowed are float32, uint8, int8, uint16"
    ):
        tensors.check(read(onnx.TensorProto(name="w", data_type=KINDS[kind], dims=[0])))


@pytest.mark.parametrize(
    ("dims", "text"),
    [
        ([2**40, 3], "'w' holds 12 bytes, but its shape 1099511627776 x 3 needs 13194139533312"),
        ([2**62, 2**62], "'w' holds 12 bytes, but its shape 4611686018427387904 x 4611686018427387904 needs"),
        ([-3], "'w' has the shape -3; sides are at least 0, and at most 16"),
        ([-(2**63), 0], "'w' has the shape -9223372036854775808 x 0; sides are at least 0"),
        ([1] * 17, "'w' has the shape 1 x 1"),
        ([], "'w' holds 12 bytes, but its shape () needs 4"),
        ([0], "'w' holds 12 bytes, but its shape 0 needs 0"),
    ],
)
def test_shapes_that_lie_are_refused(dims: list[int], text: str) -> None:
    with pytest.raises(ModelError) as refused:
        tensors.check(read(onnx.TensorProto(name="w", data_type=1, dims=dims, raw_data=bytes(12))))
    assert f"the model's tensor {text}" in str(refused.value)


def test_shapes_count_however_they_are_packed() -> None:
    """onnx writes each side as a field; its proto3 form packs them into one."""
    packed = wire.encode_field(1, b"\x02\x03") + b"\x10\x01" + wire.encode_field(9, bytes(24))
    tensors.check(message.Reader().read(memoryview(packed)))
    assert onnx.TensorProto.FromString(packed).dims == [2, 3]


def test_a_tensor_of_a_constant_is_checked_as_well(make_graph: MakeGraph) -> None:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32))
    tensor.dims[0] = 2**40
    model = make_graph()
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    assert "the model's tensor '' holds 12 bytes, but its shape 1099511627776 needs" in refusal(model)


def test_the_gate_looks_at_the_file_and_copies_no_weights(make_graph: MakeGraph) -> None:
    data = make_graph(np.zeros((48, 2**18), np.float32), classes=2**18).SerializeToString()
    tracemalloc.start()
    model_gate.check(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data) > 50 * 10**6
    assert peak < 10**6
    assert model_file.read(data).data is data
