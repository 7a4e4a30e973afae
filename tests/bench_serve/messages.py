"""HTTP requests as bytes: pictures as people send them, and what a service has to refuse."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

BOUNDARY = b"a-boundary-that-no-picture-has"
HUGE_HEADER_BYTES = 200_000
ANNOUNCED_BYTES = 10**9
INFER = "/v2/models/model/infer"
"""Our service is started with its model under this name."""


@dataclass(frozen=True)
class Message:
    """A request: ``kind`` names it in tables, ``allowed`` are the statuses that are right.

    ``hang_up``: nothing is waited for. ``cut_off``: the rest of it will never be sent, so that nothing else can follow
    on its connection.
    """

    kind: str
    data: bytes
    allowed: frozenset[int] = frozenset({200})
    hang_up: bool = False
    cut_off: bool = False


def post(target: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """Return a POST request with a body; ``length`` is announced instead of the body's."""
    announced = len(body) if length is None else length
    lines = [f"POST {target} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {announced}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def pictures(paths: Sequence[Path], target: str, form: str = "raw") -> list[Message]:
    """Return a request for each picture, ``raw`` or in ``base64`` within JSON."""
    build = {"raw": _raw, "base64": _base64}[form]
    return [Message(str(path), build(target, path.read_bytes())) for path in paths]


def mixed(paths: Sequence[Path], target: str, share: float, seed: int) -> Iterator[Message]:
    """Yield requests without end: pictures in several forms, and as a ``share`` of them (0..1) what is malformed."""
    chance = random.Random(seed)
    files = [path.read_bytes() for path in paths]
    plain = [Message("picture", _raw(target, file)) for file in files]
    pairs = [Message("two pictures", _multipart(target, pair)) for pair in pairwise(files)]
    bad = [message for file in files[:20] for message in malformed(file, target)]
    while True:
        if chance.random() < share:
            yield chance.choice(bad)
        else:
            yield chance.choice(pairs if pairs and chance.random() < 0.05 else plain)


def malformed(file: bytes, target: str) -> list[Message]:
    """Return one request of every kind that a service has to refuse, made from a picture's file."""
    tensor = {"name": "image", "shape": [1, 2, 2, 3], "datatype": "FP64", "data": [0.5] * 12}
    gzip = "Content-Encoding: gzip"
    return [
        _refused("cut JPEG", _raw(target, file[: len(file) // 2]), 422),
        _refused("text for a picture", _raw(target, b"this is not a picture\n" * 50), 415),
        _refused("empty body", _raw(target, b""), 400, 411, 415, 422),
        _refused("compressed body", post(target, file[:2_000], gzip), 415),
        replace(_refused("a gigabyte announced", post(target, b"", length=ANNOUNCED_BYTES), 413), cut_off=True),
        _refused("huge header", post(target, file, "X-Long: " + "x" * HUGE_HEADER_BYTES), 400, 431),
        _refused("broken multipart", post(target, file[:5_000], _multipart_type()), 400, 415, 422),
        _refused("wrong tensor", post(INFER, json.dumps({"inputs": [tensor]}).encode(), _json_type()), 400),
        _refused("broken JSON", post(INFER, b'{"inputs": [[[[', _json_type()), 400),
        _refused("no such route", post("/nowhere", b"x"), 404, 405),
        _refused("wrong method", post(target, b"x").replace(b"POST", b"PUT", 1), 405),
        _refused("not HTTP", b"\x16\x03\x01 what is this\r\n\r\n", 400),
        Message("half an upload", _raw(target, file)[: len(file) // 2], hang_up=True),
    ]


def _raw(target: str, file: bytes) -> bytes:
    return post(target, file, "Content-Type: application/octet-stream")


def _base64(target: str, file: bytes) -> bytes:
    return post(target, json.dumps({"content": base64.b64encode(file).decode()}).encode(), _json_type())


def _multipart(target: str, files: Sequence[bytes]) -> bytes:
    heads = [
        b'Content-Disposition: form-data; name="content"; filename="%d.jpg"\r\nContent-Type: image/jpeg' % number
        for number, _ in enumerate(files)
    ]
    parts = [b"--%s\r\n%s\r\n\r\n%s\r\n" % (BOUNDARY, head, file) for head, file in zip(heads, files, strict=True)]
    return post(target, b"".join(parts) + b"--" + BOUNDARY + b"--\r\n", _multipart_type())


def _refused(kind: str, data: bytes, *allowed: int) -> Message:
    return Message(kind, data, frozenset(allowed))


def _multipart_type() -> str:
    return f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}"


def _json_type() -> str:
    return "Content-Type: application/json"
