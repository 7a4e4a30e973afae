"""A minimal reader and writer of protobuf's wire format, enough to look into an ONNX file without the onnx package.

A message is a sequence of fields; each starts with a varint that holds the field's number and wire type. The type
says how the value is stored: 0 varint, 1 eight bytes, 2 a length and that many bytes, 5 four bytes. Types 3 and 4
(groups) do not occur in ONNX and are refused, as is anything that does not fit into its message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from finetune_export.errors import ModelError

VARINT, LENGTH_DELIMITED = 0, 2
_FIXED_SIZES = {1: 8, 5: 4}
_MAX_VARINT_BYTES = 10


class Field(NamedTuple):
    """One field of a message: ``raw`` is all of it, ``value`` its number or, for the other wire types, its bytes."""

    number: int
    value: int | memoryview
    raw: memoryview


def fields(message: memoryview) -> Iterator[Field]:
    """Yield a message's fields in file order; raise ``ModelError`` where the bytes are not a message."""
    start = 0
    while start < len(message):
        tag, at = _varint(message, start)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise _damaged("a field has the number 0")
        value, end = _value(message, at, wire_type)
        yield Field(number, value, message[start:end])
        start = end


def varints(packed: memoryview) -> Iterator[int]:
    """Yield the numbers of a packed repeated field."""
    at = 0
    while at < len(packed):
        value, at = _varint(packed, at)
        yield value


def encode_field(number: int, value: bytes) -> bytes:
    """Return a length-delimited field."""
    return _encode_varint(number << 3 | LENGTH_DELIMITED) + _encode_varint(len(value)) + value


def _value(message: memoryview, at: int, wire_type: int) -> tuple[int | memoryview, int]:
    if wire_type == VARINT:
        return _varint(message, at)
    if wire_type == LENGTH_DELIMITED:
        size, at = _varint(message, at)
    elif wire_type in _FIXED_SIZES:
        size = _FIXED_SIZES[wire_type]
    else:
        raise _damaged(f"a field has the wire type {wire_type}")
    if at + size > len(message):
        raise _damaged("it ends in the middle of a field")
    return message[at : at + size], at + size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for i, byte in enumerate(message[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise _damaged("a number is cut off or too long")


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))


def _damaged(why: str) -> ModelError:
    return ModelError(f"not a whole ONNX file ({why}); get the model file again")
