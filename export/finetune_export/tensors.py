"""The tensors in a model file: inside it, of known kinds, and exactly as long as their shapes say.

onnxruntime sets memory aside by the shape, so a shape that promises more than the file holds must not get there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from typing import NamedTuple

import numpy as np

from finetune_export.errors import ModelError
from finetune_export.message import Message

MAX_SIDES = 16
_DIMS, _KIND, _INT64_DATA, _NAME, _RAW, _EXTERNAL_DATA, _DATA_LOCATION = 1, 2, 7, 8, 9, 13, 14  # TensorProto
_ENTRY_BYTES = {4: 4, 10: 8}  # the typed fields of fixed width; the others hold varints


class _Kind(NamedTuple):
    """A kind of numbers: the bits of each in raw data; else the typed field, and how many share an entry of it."""

    name: str
    bits: int
    field: int
    per_entry: int = 1


_INT64 = 7
_KINDS: Mapping[int, _Kind] = {
    1: _Kind("float32", 32, 4),
    2: _Kind("uint8", 8, 5),
    3: _Kind("int8", 8, 5),
    4: _Kind("uint16", 16, 5),
    5: _Kind("int16", 16, 5),
    6: _Kind("int32", 32, 5),
    _INT64: _Kind("int64", 64, _INT64_DATA),
    9: _Kind("bool", 8, 5),
    10: _Kind("float16", 16, 5),
    11: _Kind("float64", 64, 10),
    12: _Kind("uint32", 32, 11),
    13: _Kind("uint64", 64, 11),
    16: _Kind("bfloat16", 16, 5),
    21: _Kind("uint4", 4, 5, per_entry=2),
    22: _Kind("int4", 4, 5, per_entry=2),
}


def check(tensor: Message) -> None:
    """Raise ``ModelError`` unless a tensor is in the file, complete, and of numbers that networks are made of."""
    if _EXTERNAL_DATA in tensor or tensor.number(_DATA_LOCATION):  # 0 means inside
        raise ModelError("the model keeps weights outside the file; export it as one .onnx file")
    kind = _KINDS.get(tensor.number(_KIND))
    if kind is None:
        raise _refused(
            tensor, f"is of kind {tensor.number(_KIND)}; allowed are {', '.join(k.name for k in _KINDS.values())}"
        )
    shape = _shape(tensor)
    if min(shape, default=0) < 0 or len(shape) > MAX_SIDES:
        raise _refused(tensor, f"has the shape {_words(shape)}; sides are at least 0, and at most {MAX_SIDES}")
    held, needed, unit = _sizes(tensor, kind, math.prod(shape))
    if held != needed:
        raise _refused(tensor, f"holds {held} {unit}, but its shape {_words(shape)} needs {needed}")


def name_of(tensor: Message) -> str:
    """Return a tensor's name, empty for that of an attribute."""
    return tensor.text(_NAME)


def small_integers(tensor: Message) -> tuple[int, ...]:
    """Return the int64 values of a checked tensor that may state a shape; empty for all others."""
    if tensor.number(_KIND) != _INT64 or math.prod(_shape(tensor)) > MAX_SIDES:
        return ()
    raw = np.frombuffer(tensor.bytes(_RAW), "<i8").tolist()
    return tuple(raw or tensor.numbers(_INT64_DATA))


def _sizes(tensor: Message, kind: _Kind, elements: int) -> tuple[int, int, str]:
    """Return how much a tensor holds, how much it needs, and of what: raw bytes, or entries of its typed field."""
    if _RAW in tensor:
        return len(tensor.bytes(_RAW)), -(-elements * kind.bits // 8), "bytes"
    needed = -(-elements // kind.per_entry)
    if width := _ENTRY_BYTES.get(kind.field):
        return sum(map(len, tensor.each(kind.field))) // width, needed, "entries"
    return tensor.count(kind.field), needed, "entries"


def _shape(tensor: Message) -> tuple[int, ...]:
    return tuple(islice(tensor.numbers(_DIMS), MAX_SIDES + 1))


def _words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape[:MAX_SIDES])) or "()"


def _refused(tensor: Message, why: str) -> ModelError:
    return ModelError(f"the model's tensor {name_of(tensor)[:60]!r} {why}; get the model file again")
