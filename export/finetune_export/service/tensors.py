"""Tensors on the wire of the Open Inference Protocol v2: strict JSON, and the binary data that may follow it.

Whatever a client may get wrong is a ``Problem`` with status 400 and one line that names the place. What JSON may hold
is counted before it is parsed, for parsed it takes up to thirty times the memory of its text, and the time to build it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune_export import strict_json
from finetune_export.image import Pixels
from finetune_export.service.problems import Problem

MOST = {b",": 1_000_000, b"[": 250_000, b"{": 1_000, b'"': 4_000}
"""How often these may stand in JSON: enough for a picture of about 500 by 500 pixels, nested, and what describes it."""

_LENGTH_BYTES = 4
_WORDS = {str: "text", list: "a list", dict: "an object", bool: "true or false", int: "a whole number"}
_INPUT = {"name": str, "shape": list, "datatype": str, "parameters": dict, "data": list}
_ELSEWHERE = ("shared_memory_", "sequence_")


@dataclass(frozen=True)
class Input:
    """A tensor as it arrived: ``data`` is a list out of the JSON, or the bytes that followed it."""

    name: str
    datatype: str
    shape: list[Any]
    data: list[Any] | memoryview

    def wrong(self, text: str) -> Problem:
        """Return what to raise: ``text`` with this input's name in front."""
        return Problem(400, f"input {show(self.name)}: {text}")


@dataclass(frozen=True)
class Output:
    """A tensor to send: float32 is FP32, an object array of ``str`` is BYTES; ``binary`` puts it behind the JSON."""

    name: str
    values: NDArray[Any]
    binary: bool


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────


def split(body: bytes, json_length: str | None) -> tuple[Any, memoryview]:
    """Return the parsed JSON of a request and the bytes behind it.

    ``json_length`` is what the header ``Inference-Header-Content-Length`` says; without it, all of the body is JSON.
    """
    if json_length is None:
        return parse(body), memoryview(b"")
    if not re.fullmatch("[0-9]{1,18}", json_length) or int(json_length) > len(body):
        raise Problem(
            400, f"Inference-Header-Content-Length: {show(json_length)} is not allowed; it has to be 0 to {len(body)}"
        )
    return parse(body[: int(json_length)]), memoryview(body)[int(json_length) :]


def parse(data: bytes) -> Any:
    """Return the value of UTF-8 JSON; refuse duplicate keys, NaN, deep nesting, and more values than memory is for."""
    if any(data.count(sign) > most for sign, most in MOST.items()):
        raise Problem(400, "the JSON holds too many values; send tensors as binary data")
    try:
        return strict_json.loads(data.decode())
    except RecursionError as exc:
        raise Problem(400, "not valid JSON: nested too deeply") from exc
    except ValueError as exc:
        raise Problem(400, f"not valid JSON: {exc}") from exc


def members(value: Any, where: str, kinds: Mapping[str, type], needed: Sequence[str] = ()) -> dict[str, Any]:
    """Return ``value`` if it is an object whose keys are in ``kinds``, of these types, with all that are ``needed``."""
    found: dict[str, Any] = expect(value, dict, where)
    if unknown := [key for key in found if key not in kinds]:
        raise Problem(400, f"{where}: unknown key {show(unknown[0])}; allowed are {', '.join(kinds)}")
    if missing := [key for key in needed if key not in found]:
        raise Problem(400, f"{where}: key {show(missing[0])} is missing")
    for key, each in found.items():
        expect(each, kinds[key], f"{where}.{key}")
    return found


def parameters(owner: Mapping[str, Any], where: str, kinds: Mapping[str, type]) -> dict[str, Any]:
    """Return the parameters of a request, an input or an output; those in ``kinds`` have to be of these types.

    Others are hints by the protocol's definition, and may be passed over; not so those that would move data elsewhere
    or tie requests together.
    """
    found: dict[str, Any] = owner.get("parameters", {})
    for key, value in found.items():
        if key.startswith(_ELSEWHERE):
            raise Problem(400, f"{where}: parameter {show(key)} is not supported; leave it out")
        if key in kinds:
            expect(value, kinds[key], f"{where}: parameter {key}")
    return found


def read_input(value: Any, binary: memoryview) -> Input:
    """Return the one input of a request, whose data is in its JSON or is all of ``binary``."""
    found = members(value, "inputs[0]", _INPUT, ("name", "shape", "datatype"))
    given = Input(found["name"], found["datatype"], found["shape"], found.get("data", binary))
    size = parameters(found, f"input {show(given.name)}", {"binary_data_size": int}).get("binary_data_size")
    if (size is None) == ("data" not in found):
        raise given.wrong("give either data or the parameter binary_data_size")
    if (size or 0) != len(binary):
        raise given.wrong(f"binary_data_size is {show(size or 0)}, but {len(binary)} bytes follow the JSON")
    return given


def read_pixels(given: Input, side_px: int, max_pictures: int) -> Pixels:
    """Return an input of datatype UINT8 and shape [N, side, side, 3] as the array it is."""
    shape = _shape(given, "UINT8", (side_px, side_px, 3), max_pictures)
    elements = given.data if isinstance(given.data, memoryview) else _flat(given, given.data, shape)
    if len(elements) != math.prod(shape):
        raise given.wrong(f"{len(elements)} elements; shape {list(shape)} needs {math.prod(shape)}")
    if isinstance(elements, list):
        elements = memoryview(_octets(given, elements))
    return np.frombuffer(elements, np.uint8).reshape(shape)


def read_files(given: Input, max_pictures: int) -> list[bytes]:
    """Return the elements of an input of datatype BYTES, shape [N]; each follows its length, uint32 little endian."""
    (count,) = _shape(given, "BYTES", (), max_pictures)
    if not isinstance(given.data, memoryview):
        raise given.wrong("picture files cannot stand in JSON; send them as binary data")
    found: list[bytes] = []
    rest = given.data
    while len(found) < count and len(rest) >= _LENGTH_BYTES:
        end = _LENGTH_BYTES + int.from_bytes(rest[:_LENGTH_BYTES], "little")
        if end > len(rest):
            break
        found.append(bytes(rest[_LENGTH_BYTES:end]))
        rest = rest[end:]
    if len(found) != count or rest:
        raise given.wrong(f"its binary data is not {count} elements, each after its length in {_LENGTH_BYTES} bytes")
    return found


def _shape(given: Input, datatype: str, sides: tuple[int, ...], max_pictures: int) -> tuple[int, ...]:
    """Return the input's shape if it is [N, *sides] of ``datatype``, with N from 1 to ``max_pictures``."""
    if given.datatype != datatype:
        raise given.wrong(f"datatype {show(given.datatype)} is not allowed; it has to be {datatype}")
    stated = given.shape if len(given.shape) == 1 + len(sides) and set(map(type, given.shape)) == {int} else [0]
    if tuple(stated[1:]) != sides or not 1 <= stated[0] <= max_pictures:
        wanted = f"[{', '.join(map(str, ('N', *sides)))}], N from 1 to {max_pictures}"
        raise given.wrong(f"shape {_show_shape(given.shape)} is not allowed; it has to be {wanted}")
    return tuple(stated)


def _flat(given: Input, values: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Return data that is flat, or nested as the shape says, as a flat list."""
    for side in shape[1:]:
        if set(map(type, values)) != {list}:
            break
        if any(len(row) != side for row in values):
            raise given.wrong(f"data is nested otherwise than shape {list(shape)} says")
        values = list(chain.from_iterable(values))
    return values


def _octets(given: Input, elements: list[Any]) -> bytes:
    """Return whole numbers from 0 to 255 as bytes."""
    if set(map(type, elements)) == {int}:
        with suppress(ValueError):
            return bytes(elements)
    wrong = next(each for each in elements if type(each) is not int or not 0 <= each <= 255)
    raise given.wrong(f"{show(wrong)} is not allowed in data; it has to be whole numbers from 0 to 255")


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────


def dump(head: dict[str, Any], outputs: Sequence[Output]) -> tuple[bytes, int | None]:
    """Return an answer's body, and how much of it is JSON where binary data follows (else ``None``)."""
    blobs = [_binary(each.values) if each.binary else b"" for each in outputs]
    described = [_described(each, len(blob)) for each, blob in zip(outputs, blobs, strict=True)]
    text = json.dumps({**head, "outputs": described}, allow_nan=False).encode()
    return b"".join((text, *blobs)), len(text) if any(each.binary for each in outputs) else None


def _described(output: Output, size: int) -> dict[str, Any]:
    datatype = "FP32" if output.values.dtype == np.float32 else "BYTES"
    where = {"parameters": {"binary_data_size": size}} if output.binary else {"data": output.values.ravel().tolist()}
    return {"name": output.name, "datatype": datatype, "shape": list(output.values.shape), **where}


def _binary(values: NDArray[Any]) -> bytes:
    if values.dtype == np.float32:
        return values.astype("<f4").tobytes()
    texts = [text.encode() for text in values.ravel()]
    return b"".join(len(text).to_bytes(_LENGTH_BYTES, "little") + text for text in texts)


# ── words ───────────────────────────────────────────────────────────────────────────────────────────


def expect(value: Any, kind: type, where: str) -> Any:
    """Return ``value`` if it is exactly of this type: true is no number, and half a surrogate pair is no text."""
    if type(value) is not kind or (isinstance(value, str) and not _is_unicode(value)):
        raise Problem(400, f"{where}: {show(value)} is not allowed; it has to be {_WORDS[kind]}")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def show(value: Any) -> str:
    """Return a value as one short line of ASCII, whatever it is."""
    if isinstance(value, list | dict):
        return _WORDS[type(value)]
    return _cut(json.dumps(value[:60] if isinstance(value, str) else value))


def _show_shape(shape: list[Any]) -> str:
    return _cut(f"[{', '.join(map(show, shape[:8]))}{', ...' if len(shape) > 8 else ''}]")


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
