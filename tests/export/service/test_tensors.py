from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from finetune_export.service import tensors
from finetune_export.service.problems import Problem

SIDE = 4
PICTURE = SIDE * SIDE * 3
MAX_PICTURES = 8


def described(shape: list[Any] | None = None, **changes: Any) -> dict[str, Any]:
    return {"name": "image", "datatype": "UINT8", "shape": shape or [1, SIDE, SIDE, 3], **changes}


def pixels(value: Any, binary: bytes = b"") -> np.ndarray[Any, Any]:
    given = tensors.read_input(json.loads(json.dumps(value)), memoryview(binary))
    return tensors.read_pixels(given, SIDE, MAX_PICTURES)


def files(binary: bytes, count: Any) -> list[bytes]:
    value = {"name": "file", "datatype": "BYTES", "shape": [count], "parameters": {"binary_data_size": len(binary)}}
    return tensors.read_files(tensors.read_input(value, memoryview(binary)), MAX_PICTURES)


def refusal(call: Any, *arguments: Any) -> str:
    with pytest.raises(Problem) as caught:
        call(*arguments)
    assert caught.value.status == 400
    assert caught.value.text.isprintable()
    return caught.value.text


# ── pixels ──────────────────────────────────────────────────────────────────────────────────────────

batches = hnp.arrays(np.uint8, st.tuples(st.integers(1, MAX_PICTURES), st.just(SIDE), st.just(SIDE), st.just(3)))


@given(batches)
def test_pixels_arrive_as_they_were_sent_flat_nested_and_binary(batch: np.ndarray[Any, Any]) -> None:
    shape, data = list(batch.shape), batch.tobytes()
    size = {"binary_data_size": len(data)}
    for arrived in (
        pixels(described(shape, data=batch.ravel().tolist())),
        pixels(described(shape, data=batch.tolist())),
        pixels(described(shape, parameters=size), data),
    ):
        np.testing.assert_array_equal(arrived, batch)
        assert arrived.dtype == np.uint8


@pytest.mark.parametrize("datatype", ["FP32", "INT8", "uint8", "BYTES", ""])
def test_other_datatypes_than_uint8_are_refused(datatype: str) -> None:
    value = described(datatype=datatype, data=[0] * PICTURE)
    assert refusal(pixels, value) == f'input "image": datatype "{datatype}" is not allowed; it has to be UINT8'


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ([SIDE, SIDE, 3], "[4, 4, 3]"),
        ([1, 3, SIDE, SIDE], "[1, 3, 4, 4]"),
        ([1, SIDE, SIDE, 1], "[1, 4, 4, 1]"),
        ([1, SIDE, SIDE + 1, 3], "[1, 4, 5, 3]"),
        ([0, SIDE, SIDE, 3], "[0, 4, 4, 3]"),
        ([-1, SIDE, SIDE, 3], "[-1, 4, 4, 3]"),
        ([10_000, SIDE, SIDE, 3], "[10000, 4, 4, 3]"),
        ([1.0, SIDE, SIDE, 3], "[1.0, 4, 4, 3]"),
        ([True, SIDE, SIDE, 3], "[true, 4, 4, 3]"),
        (["1", SIDE, SIDE, 3], '["1", 4, 4, 3]'),
        ([None, [], {}, 3], "[null, a list, an object, 3]"),
        ([1] * 9, "[1, 1, 1, 1, 1, 1, 1, 1, ...]"),
        ([10**200, SIDE, SIDE, 3], f"[1{'0' * 55}..."),
    ],
)
def test_other_shapes_are_refused(shape: list[Any], shown: str) -> None:
    value = described(shape, data=[0] * PICTURE)
    expected = f'input "image": shape {shown} is not allowed; it has to be [N, 4, 4, 3], N from 1 to 8'
    assert refusal(pixels, value) == expected


@pytest.mark.parametrize("count", [0, PICTURE - 1, PICTURE + 1])
def test_a_wrong_number_of_elements_is_refused(count: int) -> None:
    message = f'input "image": {count} elements; shape [1, 4, 4, 3] needs 48'
    assert refusal(pixels, described(data=[0] * count)) == message
    assert refusal(pixels, described(parameters={"binary_data_size": count}), bytes(count)) == message


@pytest.mark.parametrize(
    ("element", "shown"),
    [
        (256, "256"),
        (-1, "-1"),
        (1.5, "1.5"),
        (1.0, "1.0"),
        (True, "true"),
        (None, "null"),
        ("7", '"7"'),
        ("x" * 10**6, f'"{"x" * 56}...'),
        ([7], "a list"),
        ({"seven": 7}, "an object"),
        (10**199, f"1{'0' * 56}..."),
        (float("1e999"), "Infinity"),
    ],
)
def test_elements_that_are_no_pixels_are_refused(element: Any, shown: str) -> None:
    given = tensors.read_input(described(data=[0] * (PICTURE - 1) + [element]), memoryview(b""))
    expected = f'input "image": {shown} is not allowed in data; it has to be whole numbers from 0 to 255'
    assert refusal(tensors.read_pixels, given, SIDE, MAX_PICTURES) == expected


def test_data_nested_otherwise_than_the_shape_says_is_refused() -> None:
    rows = np.zeros((1, 3, SIDE, SIDE), int).tolist()
    expected = 'input "image": data is nested otherwise than shape [1, 4, 4, 3] says'
    assert refusal(pixels, described(data=rows)) == expected


# ── where the data is ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", [described(), described(data=[], parameters={"binary_data_size": 0})])
def test_data_has_to_be_in_one_place(value: dict[str, Any]) -> None:
    assert refusal(pixels, value) == 'input "image": give either data or the parameter binary_data_size'


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (described(parameters={"binary_data_size": PICTURE + 1}), PICTURE + 1),
        (described(parameters={"binary_data_size": -1}), -1),
        (described(data=[0] * PICTURE), 0),
    ],
)
def test_binary_data_of_another_size_than_stated_is_refused(value: dict[str, Any], size: int) -> None:
    expected = f'input "image": binary_data_size is {size}, but 48 bytes follow the JSON'
    assert refusal(pixels, value, bytes(PICTURE)) == expected


@pytest.mark.parametrize("name", ["shared_memory_region", "shared_memory_byte_size", "sequence_id"])
def test_data_elsewhere_and_requests_in_sequence_are_refused(name: str) -> None:
    value = described(data=[0] * PICTURE, parameters={name: 1})
    assert refusal(pixels, value) == f'input "image": parameter "{name}" is not supported; leave it out'


def test_hints_of_other_servers_are_passed_over() -> None:
    assert pixels(described(data=[0] * PICTURE, parameters={"content_type": "np"})).shape == (1, SIDE, SIDE, 3)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "inputs[0]: a list is not allowed; it has to be an object"),
        ({"name": "image"}, 'inputs[0]: key "shape" is missing'),
        (
            described(dtype="UINT8"),
            'inputs[0]: unknown key "dtype"; allowed are name, shape, datatype, parameters, data',
        ),
        (described(name=5), "inputs[0].name: 5 is not allowed; it has to be text"),
        (described(name="\ud800"), r'inputs[0].name: "\ud800" is not allowed; it has to be text'),
        (described(data="AAAA"), 'inputs[0].data: "AAAA" is not allowed; it has to be a list'),
        (described(data={}), "inputs[0].data: an object is not allowed; it has to be a list"),
        (
            described(parameters={"binary_data_size": "48"}),
            'input "image": parameter binary_data_size: "48" is not allowed; it has to be a whole number',
        ),
    ],
)
def test_an_input_with_other_keys_or_types_is_refused(value: Any, message: str) -> None:
    assert refusal(pixels, value) == message


# ── picture files ───────────────────────────────────────────────────────────────────────────────────


def framed(*elements: bytes) -> bytes:
    return b"".join(len(each).to_bytes(4, "little") + each for each in elements)


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=MAX_PICTURES))
def test_files_arrive_as_they_were_sent(elements: list[bytes]) -> None:
    assert files(framed(*elements), len(elements)) == elements


@pytest.mark.parametrize(
    ("binary", "count"),
    [
        (framed(b"one", b"two"), 1),
        (framed(b"one"), 2),
        (framed(b"one")[:-1], 1),
        (framed(b"one") + b"x", 1),
        (b"", 1),
        (b"\x00\x00\x00", 1),
        (b"\xff\xff\xff\xffone", 1),
    ],
)
def test_files_that_are_not_framed_by_their_lengths_are_refused(binary: bytes, count: int) -> None:
    expected = f'input "file": its binary data is not {count} elements, each after its length in 4 bytes'
    assert refusal(files, binary, count) == expected


@given(st.binary(max_size=60), st.integers(1, MAX_PICTURES))
def test_any_bytes_are_files_or_refused(binary: bytes, count: int) -> None:
    with suppress(Problem):
        assert framed(*files(binary, count)) == binary


def test_files_in_json_are_refused() -> None:
    given = tensors.read_input({"name": "file", "datatype": "BYTES", "shape": [1], "data": ["x"]}, memoryview(b""))
    expected = 'input "file": picture files cannot stand in JSON; send them as binary data'
    assert refusal(tensors.read_files, given, MAX_PICTURES) == expected


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_binary_part_begins_where_the_header_says() -> None:
    value, binary = tensors.split(b'{"a": 1}binary', "8")
    assert (value, bytes(binary)) == ({"a": 1}, b"binary")


def test_without_the_header_all_is_json() -> None:
    value, binary = tensors.split(b'{"a": 1}', None)
    assert (value, bytes(binary)) == ({"a": 1}, b"")


@pytest.mark.parametrize("length", ["", "-1", "9", "+8", "8.0", "1" * 5000, "8 ", "٨", "0x8"])
def test_a_wrong_length_of_the_json_is_refused(length: str) -> None:
    shown = tensors.show(length)
    expected = f"Inference-Header-Content-Length: {shown} is not allowed; it has to be 0 to 8"
    assert refusal(tensors.split, b'{"a": 1}', length) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not valid JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"[" * 10_000, "not valid JSON: nested too deeply"),
        (b'{"a":' * 900 + b"[" * 90_000, "not valid JSON: nested too deeply"),
        (b'{"a": 1, "a": 1}', 'not valid JSON: key "a" occurs twice'),
        (b"[NaN]", "not valid JSON: NaN is not a finite number"),
        (b"[-Infinity]", "not valid JSON: -Infinity is not a finite number"),
        (b'"\xff"', "not valid JSON: 'utf-8' codec can't decode byte 0xff in position 1: invalid start byte"),
        (b"\xef\xbb\xbf{}", "not valid JSON: Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)"),
        (
            '"x"'.encode("utf-16"),
            "not valid JSON: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        ),
        (b"{" * 1_001, "the JSON holds too many values; send tensors as binary data"),
        (b"," * 1_000_001, "the JSON holds too many values; send tensors as binary data"),
        (b'""' * 2_001, "the JSON holds too many values; send tensors as binary data"),
        (b"[]," * 250_001, "the JSON holds too many values; send tensors as binary data"),
    ],
)
def test_json_that_is_not_sound_is_refused(text: bytes, message: str) -> None:
    assert refusal(tensors.parse, text) == message


def test_a_number_too_long_for_python_is_refused() -> None:
    assert refusal(tensors.parse, b"1" * 10**6).startswith("not valid JSON: Exceeds the limit (4300 digits)")


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"[]," * 3_000_000 + b"[]]",
        b"[" + b"{}," * 3_000_000 + b"{}]",
        b"[" + b"999," * 2_500_000 + b"999]",
        b"[" + b"[]," * 249_000 + b"[]]",
        b"[" + b"1.5," * 999_000 + b"1]",
    ],
    ids=["lists", "objects", "numbers", "lists below the limit", "numbers below the limit"],
)
def test_json_never_costs_more_than_a_bounded_amount_of_memory(text: bytes) -> None:
    tracemalloc.start()
    with suppress(Problem):
        tensors.parse(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 2**20


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=20))
def test_every_value_is_shown_in_one_short_line(value: Any) -> None:
    shown = tensors.show(value)
    assert len(shown) <= 60
    assert shown.isascii()
    assert shown.isprintable()


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────


def test_outputs_are_json_or_follow_it_in_order() -> None:
    floats = np.array([[0.25, 0.75]], np.float32)
    texts = np.array([["0.75:1:Käfer", "0.25:0:"]], object)
    outputs = [
        tensors.Output("a", floats, binary=True),
        tensors.Output("b", floats, binary=False),
        tensors.Output("c", texts, binary=True),
        tensors.Output("d", texts, binary=False),
    ]
    body, length = tensors.dump({"id": "7"}, outputs)
    texts_sent = framed("0.75:1:Käfer".encode(), b"0.25:0:")
    assert json.loads(body[:length]) == {
        "id": "7",
        "outputs": [
            {"name": "a", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
            {"name": "b", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]},
            {"name": "c", "datatype": "BYTES", "shape": [1, 2], "parameters": {"binary_data_size": len(texts_sent)}},
            {"name": "d", "datatype": "BYTES", "shape": [1, 2], "data": ["0.75:1:Käfer", "0.25:0:"]},
        ],
    }
    assert body[length:] == floats.tobytes() + texts_sent


def test_an_answer_without_binary_data_is_json_alone() -> None:
    body, length = tensors.dump({}, [tensors.Output("a", np.zeros((1, 1), np.float32), binary=False)])
    assert length is None
    assert json.loads(body)["outputs"][0]["data"] == [0.0]
