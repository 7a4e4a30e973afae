from __future__ import annotations

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_export import wire
from finetune_export.errors import ModelError

numbers = st.integers(1, 2**29 - 1)


def read(data: bytes) -> list[wire.Field]:
    return list(wire.fields(memoryview(data)))


@given(st.lists(st.tuples(numbers, st.binary(max_size=300)), max_size=5))
def test_what_is_written_is_read_back(items: list[tuple[int, bytes]]) -> None:
    data = b"".join(wire.encode_field(number, value) for number, value in items)
    assert [(field.number, bytes(field.value)) for field in read(data)] == items
    assert b"".join(field.raw for field in read(data)) == data


@given(st.binary(max_size=60))
def test_any_bytes_are_either_read_completely_or_refused(data: bytes) -> None:
    try:
        fields = read(data)
    except ModelError:
        return
    assert b"".join(field.raw for field in fields) == data


def test_it_reads_what_protobuf_writes() -> None:
    entry = onnx.StringStringEntryProto(key="a key", value="Käfer")
    assert [(field.number, bytes(field.value)) for field in read(entry.SerializeToString())] == [
        (1, b"a key"),
        (2, "Käfer".encode()),
    ]
    model = onnx.ModelProto(ir_version=10, model_version=2**40)
    assert [(field.number, field.value) for field in read(model.SerializeToString())] == [(1, 10), (5, 2**40)]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x0a", "a number is cut off"),
        (b"\x0a\x80", "a number is cut off"),
        (b"\x08" + b"\xff" * 11, "a number is cut off or too long"),
        (b"\x0a\x05abc", "it ends in the middle of a field"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "it ends in the middle of a field"),
        (b"\x09\x00\x00", "it ends in the middle of a field"),
        (b"\x0b\x0c", "a field has the wire type 3"),
        (b"\x0e", "a field has the wire type 6"),
        (b"\x02\x00", "a field has the number 0"),
    ],
)
def test_what_does_not_fit_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        read(data)
