"""A protobuf message by its field numbers, read with a budget: what a model file is looked into with.

Values are views of the file, never copies. Nothing is trusted: a field that may occur once is refused when it occurs
twice, for readers disagree on what that means, and all messages of a file share one budget of fields, for a hostile
file may hold a field in every two of its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from finetune_export import wire
from finetune_export.errors import ModelError

MAX_FIELDS = 2**20
"""How many fields are looked at in one file; MaxViT, among the most branched, has 17,000."""


class Reader:
    """Reads the messages of one file."""

    def __init__(self) -> None:
        self._left = MAX_FIELDS

    def fields(self, data: memoryview) -> Iterator[wire.Field]:
        """Yield a message's fields; raise ``ModelError`` if it is none, or the file's fields are too many."""
        for field in wire.fields(data):
            self._left -= 1
            if self._left < 0:
                raise ModelError(
                    f"more than {MAX_FIELDS} fields; no classifier has that many, get the model file again"
                )
            yield field

    def read(self, data: memoryview) -> Message:
        """Return the message in ``data``, or raise as ``fields`` does."""
        values: dict[int, list[int | memoryview]] = {}
        for field in self.fields(data):
            values.setdefault(field.number, []).append(field.value)
        return Message(values)


class Message:
    """The values of one message, by field number."""

    def __init__(self, values: dict[int, list[int | memoryview]]) -> None:
        self._values = values

    def __contains__(self, number: int) -> bool:
        return number in self._values

    def each(self, number: int) -> list[memoryview]:
        """Return all values of a field that holds messages, texts or bytes."""
        return [value for value in self._values.get(number, ()) if isinstance(value, memoryview)]

    def bytes(self, number: int) -> memoryview:
        """Return the one value of such a field, empty if it is missing."""
        value = self._only(number)
        return value if isinstance(value, memoryview) else memoryview(b"")

    def text(self, number: int) -> str:
        """Return a text, empty if it is missing; what is not UTF-8 is escaped."""
        return _text(self.bytes(number))

    def texts(self, number: int) -> list[str]:
        """Return the texts of a repeated field."""
        return [_text(value) for value in self.each(number)]

    def number(self, number: int) -> int:
        """Return an integer, 0 if it is missing."""
        value = self._only(number)
        return _signed(value) if isinstance(value, int) else 0

    def numbers(self, number: int) -> Iterator[int]:
        """Yield the integers of a repeated field, however they are packed."""
        for value in self._values.get(number, ()):
            yield from map(_signed, [value] if isinstance(value, int) else wire.varints(value))

    def count(self, number: int) -> int:
        """Return how many integers a repeated field has, without decoding them."""
        values = self._values.get(number, ())
        ends = (1 if isinstance(value, int) else _count_ends(value) for value in values)
        return sum(ends)

    def _only(self, number: int) -> int | memoryview | None:
        values = self._values.get(number, [None])
        if len(values) > 1:
            raise ModelError(f"not a whole ONNX file (field {number} occurs twice); get the model file again")
        return values[0]


def _text(value: memoryview) -> str:
    return str(value, errors="backslashreplace")


def _count_ends(packed: memoryview) -> int:
    """Return how many numbers are packed: the last byte of each is below 0x80."""
    return int(np.count_nonzero(np.frombuffer(packed, np.uint8) < 0x80))


def _signed(value: int) -> int:
    """Return an int64 as protobuf means it: negative numbers are stored as their two's complement."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value
