"""The gate every model passes before onnxruntime sees it: nothing outside the file, and no loops.

External data would let a model read other files of this machine, and a graph inside an operator (``Loop``, ``Scan``,
``If``) may run for ever. An exported classifier needs neither, so both are refused by their place in the file, which
no operator name can hide.
"""

from __future__ import annotations

from collections.abc import Mapping

from finetune_export import wire
from finetune_export.errors import ModelError

_EXTERNAL_DATA = "keeps weights outside the file; export it as one .onnx file"
_SUBGRAPH = "has an operator with a graph of its own, such as Loop, Scan or If; a classifier needs none"
_TRAINING = "holds training information; export it for inference"

# message → field number → the message in there; only what leads to something that is refused
_CHILDREN: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_REFUSED: Mapping[tuple[str, int], str] = {
    ("tensor", 13): _EXTERNAL_DATA,
    ("tensor", 14): _EXTERNAL_DATA,  # data_location; 0 means inside
    ("attribute", 6): _SUBGRAPH,
    ("attribute", 11): _SUBGRAPH,
    ("model", 20): _TRAINING,
}


def check(data: bytes) -> None:
    """Raise ``ModelError`` if a model file keeps weights elsewhere, or holds operators that contain graphs."""
    _check("model", memoryview(data))


def _check(kind: str, message: memoryview) -> None:
    for field in wire.fields(message):
        refused = _REFUSED.get((kind, field.number))
        if refused and field.value != 0:
            raise ModelError(f"the model {refused}")
        child = _CHILDREN[kind].get(field.number)
        if child and isinstance(field.value, memoryview):
            _check(child, field.value)
