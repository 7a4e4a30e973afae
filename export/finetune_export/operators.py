"""Which operators a model may have, and how far their numbers may go.

The list holds what classifiers of the usual libraries are exported to, float or quantised, and its close relatives.
Not on it: graphs inside operators (``Loop``, ``Scan``, ``If``), chance (``RandomNormal``, ``Bernoulli``, …), texts,
sequences, decoders, and all operators of other domains than ONNX's own and onnxruntime's for quantised networks.

Sizes that a network states as numbers, instead of having them from its input, are bounded where they stand in the
file. What a network computes at run time is not looked at in here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from finetune_export.errors import ModelError
from finetune_export.message import Message

_LAYERS = """
    AveragePool BatchNormalization Conv Dropout Einsum Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool
    GroupNormalization InstanceNormalization LRN LayerNormalization LpNormalization LpPool MatMul MaxPool
    MeanVarianceNormalization RMSNormalization
"""
_ACTIVATIONS = """
    Celu Clip Elu Erf Gelu HardSigmoid HardSwish LeakyRelu LogSoftmax Mish PRelu Relu Selu Sigmoid Softmax Softplus
    Softsign Swish Tanh ThresholdedRelu
"""
_ARITHMETIC = """
    Abs Add And ArgMax ArgMin Ceil Cos CumSum Div Equal Exp Floor Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual
    Log Max Mean Min Mod Mul Neg Not Or Pow Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Round Sign Sin Sqrt Sub Sum TopK Where Xor
"""
_SHAPES = """
    Cast CastLike Col2Im Concat Constant ConstantOfShape DepthToSpace Expand Flatten Gather GatherElements GatherND
    Identity Pad Range Reshape Resize ScatterElements ScatterND Shape Size Slice SpaceToDepth Split Squeeze Tile
    Transpose Trilu Unsqueeze
"""
_QUANTISED = """
    ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul QuantizeLinear
"""
_QUANTISED_BY_ONNXRUNTIME = """
    DequantizeLinear QGemm QLinearAdd QLinearAveragePool QLinearConcat QLinearGlobalAveragePool QLinearLeakyRelu
    QLinearMul QLinearSigmoid QLinearSoftmax QLinearWhere QuantizeLinear
"""
_STANDARD = frozenset((_LAYERS + _ACTIVATIONS + _ARITHMETIC + _SHAPES + _QUANTISED).split())

ONNX = ("", "ai.onnx")
"""The two names of the domain of the standard operators."""

ALLOWED: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(ONNX, _STANDARD),
    "com.microsoft": frozenset(_QUANTISED_BY_ONNXRUNTIME.split()),
}
"""The operators that a model may have, by their domain."""

MAX_STEP = 32_768
"""The largest kernel, stride, dilation, padding or group count: the longest side that a picture may have."""
MAX_ELEMENTS = 2**26
"""The largest tensor that may be asked for by numbers: 256 MiB of float32."""

_SMALLEST = {"dilations": 1, "group": 1, "kernel_shape": 1, "output_padding": 0, "pads": 0, "strides": 1}
_SHAPE_INPUT = {"Col2Im": 1, "ConstantOfShape": 0, "Expand": 1, "Range": 1, "Resize": 3, "Tile": 1}
_PADS_INPUT = {"Pad": 1}

_INPUT, _OP_TYPE, _DOMAIN = 1, 4, 7  # NodeProto
_NAME, _INT, _INTS = 1, 3, 8  # AttributeProto


def name_of(node: Message) -> str:
    """Return an operator's name with its domain, quoted and short: ``'Conv'``, ``'com.microsoft.QGemm'``."""
    name = ".".join(part for part in (node.text(_DOMAIN), node.text(_OP_TYPE)) if part)
    return repr(name if len(name) <= 60 else f"{name[:57]}...")


def check_name(node: Message) -> None:
    """Raise ``ModelError`` for an operator that is not on the list."""
    if node.text(_OP_TYPE) not in ALLOWED.get(node.text(_DOMAIN), ()):
        raise ModelError(
            f"the model has the operator {name_of(node)}, which is not on the list for classifiers; "
            "choose a network that exports without it"
        )


def is_constant(node: Message) -> bool:
    """Tell whether an operator does nothing but state the value of its attribute."""
    return node.text(_OP_TYPE) == "Constant"


def check_attribute(node: Message, attribute: Message) -> None:
    """Raise ``ModelError`` for a kernel, stride, dilation, padding or group count that makes no sense."""
    name = attribute.text(_NAME)
    if name in _SMALLEST:
        for value in integers_of(attribute):
            _check_step(node, name, value, _SMALLEST[name])


def integers_of(attribute: Message) -> tuple[int, ...]:
    """Return the integers that an attribute holds outside of tensors."""
    return (*attribute.numbers(_INT), *attribute.numbers(_INTS))


def check_sizes(node: Message, constants: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ``ModelError`` where the file itself says that an operator makes a huge tensor.

    ``constants`` are the small integer tensors in the file, by name.
    """
    kind, inputs = node.text(_OP_TYPE), node.texts(_INPUT)
    shape = _constant(inputs, _SHAPE_INPUT.get(kind), constants)
    elements = math.prod(side for side in shape if side > 0)
    if elements > MAX_ELEMENTS:
        raise ModelError(
            f"the model's operator {name_of(node)} makes a tensor of {elements} numbers; "
            f"at most {MAX_ELEMENTS} are allowed"
        )
    for value in _constant(inputs, _PADS_INPUT.get(kind), constants):
        _check_step(node, "pads", value, -MAX_STEP)


def _constant(inputs: list[str], index: int | None, constants: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Return the values of an input that the file states; empty for one that is computed or missing."""
    return () if index is None or index >= len(inputs) else constants.get(inputs[index], ())


def _check_step(node: Message, name: str, value: int, smallest: int) -> None:
    if not smallest <= value <= MAX_STEP:
        raise ModelError(
            f"the model's operator {name_of(node)} has {name} of {value}; {smallest} to {MAX_STEP} are allowed"
        )
