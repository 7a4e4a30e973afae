"""The gate every model passes before onnxruntime sees it: nothing outside the file, nothing hidden, nothing endless.

External data would let a model read other files of this machine, a graph inside an operator (``Loop``, ``Scan``,
``If``) may run for ever, and functions or sparse tensors are further places to hide either. An exported classifier
needs none of them, so they are refused by their place in the file, which no name can hide. What is left are operators
from a list, with tensors as long as their shapes say.

It decides by the file alone. A network that computes the shape of a huge tensor at run time passes; only a memory limit
stops that one.
"""

from __future__ import annotations

from collections.abc import Mapping

from finetune_export import operators, tensors
from finetune_export.errors import ModelError
from finetune_export.message import Message, Reader

_TRAINING = "holds training information; export it for inference"
_FUNCTIONS = "defines operators of its own; export it with all functions inlined"
_SPARSE = "holds sparse tensors; export it with dense ones"

IR_VERSIONS = 3, 13
"""The oldest and newest version of the format; the newest is that of onnxruntime 1.31."""
OPSETS = 13, 26
"""The oldest and newest version of the operators: 13 is the first in which paddings and shapes are inputs."""

_IR_VERSION, _GRAPH, _OPSET = 1, 7, 8  # ModelProto
_DOMAIN, _VERSION = 1, 2  # OperatorSetIdProto
_NODE, _INITIALISER = 1, 5  # GraphProto
_OUTPUT, _ATTRIBUTE = 2, 5  # NodeProto
_TENSOR, _SUBGRAPH, _TENSORS, _SUBGRAPHS = 5, 6, 10, 11  # AttributeProto

_IN_MODEL = {20: _TRAINING, 25: _FUNCTIONS}
_IN_GRAPH = {15: _SPARSE}
_IN_ATTRIBUTE = {22: _SPARSE, 23: _SPARSE}


def check(data: bytes) -> None:
    """Raise ``ModelError`` for a model file with something in it that an exported classifier does not have."""
    reader = Reader()
    model = reader.read(memoryview(data))
    _check_versions(model, reader)
    _refuse(model, _IN_MODEL)
    graph = reader.read(model.bytes(_GRAPH))
    _refuse(graph, _IN_GRAPH)
    constants: dict[str, tuple[int, ...]] = {}
    for initialiser in map(reader.read, graph.each(_INITIALISER)):
        tensors.check(initialiser)
        constants[tensors.name_of(initialiser)] = tensors.small_integers(initialiser)
    nodes = [reader.read(node) for node in graph.each(_NODE)]
    for node in nodes:
        values = _check_attributes(node, reader)
        operators.check_name(node)
        if operators.is_constant(node):
            constants.update(zip(node.texts(_OUTPUT), values, strict=False))
    for node in nodes:  # only now, for constants may stand behind what uses them
        operators.check_sizes(node, constants)


def _check_versions(model: Message, reader: Reader) -> None:
    _check_version("IR version", model.number(_IR_VERSION), IR_VERSIONS)
    imports = map(reader.read, model.each(_OPSET))
    opsets = [each.number(_VERSION) for each in imports if each.text(_DOMAIN) in operators.ONNX]
    for opset in opsets or [0]:
        _check_version("opset", opset, OPSETS)


def _check_version(what: str, version: int, allowed: tuple[int, int]) -> None:
    oldest, newest = allowed
    if not oldest <= version <= newest:
        raise ModelError(
            f"the model has the ONNX {what} {version}; {oldest} to {newest} are allowed, "
            "a newer one needs a newer finetune-export and onnxruntime"
        )


def _check_attributes(node: Message, reader: Reader) -> list[tuple[int, ...]]:
    """Check an operator's attributes; return the integers among them that may state a shape."""
    values = []
    for attribute in map(reader.read, node.each(_ATTRIBUTE)):
        if _SUBGRAPH in attribute or _SUBGRAPHS in attribute:
            raise ModelError(
                f"the model's operator {operators.name_of(node)} holds a graph, as those such as Loop, Scan or If do; "
                "choose a network that exports without it"
            )
        _refuse(attribute, _IN_ATTRIBUTE)
        operators.check_attribute(node, attribute)
        value = [attribute.bytes(_TENSOR)] if _TENSOR in attribute else []
        for tensor in map(reader.read, [*value, *attribute.each(_TENSORS)]):
            tensors.check(tensor)
            values.append(tensors.small_integers(tensor))
        values += [numbers] if (numbers := operators.integers_of(attribute)) else []
    return values


def _refuse(message: Message, refused: Mapping[int, str]) -> None:
    for number, why in refused.items():
        if number in message:
            raise ModelError(f"the model {why}")
