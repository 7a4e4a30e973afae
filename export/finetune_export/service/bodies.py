"""Bodies of requests: counted while they arrive, bounded each and all together, and taken apart without a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from finetune_export.service.problems import ClientGoneError, Problem
from finetune_export.service.settings import Settings

T = TypeVar("T")
RAW_NAME = "picture"
MAX_NAME = 255  # characters of a file's name that an answer repeats
_CLOSE = {"Connection": "close"}  # where a request ends is not known, or far away
MAX_LENGTH = 2**63  # no body has that many bytes


class Held:
    """How many bytes of bodies are in memory, all requests together."""

    def __init__(self, max_bytes: int) -> None:
        self._free = max_bytes

    def take(self, count: int) -> None:
        """Take ``count`` bytes, or raise ``Problem`` 503 if there are not that many left."""
        if count > self._free:
            raise Problem(503, "too many bodies are being received; try again in a moment", {"Retry-After": "1"})
        self._free -= count

    def give_back(self, count: int) -> None:
        """Give bytes back that were taken."""
        self._free += count


async def read_body(request: Request, settings: Settings) -> bytes:
    """Return the body of a request, which counts as held until the request is answered.

    Raises ``Problem``: 411 without a length, 413 if it is too long (before it is read, where the length says so), 415
    if it is compressed, 503 if too much is held; and ``ClientGoneError``, also where the connection ran out of time.
    """
    _check_framing(request, settings)
    held: Held = request.app.state.held
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk: bytes = message["body"]
        if len(body) + len(chunk) > settings.max_body_bytes:
            raise _too_long(settings)
        held.take(len(chunk))
        request.state.held = len(body) + len(chunk)
        if not message["more_body"]:
            return bytes(body + chunk) if body else chunk
        body += chunk


def pictures_in(request: Request, body: bytes, settings: Settings) -> list[tuple[str, bytes]]:
    """Return names and bytes of the pictures in a body: all parts of a form, or the body itself.

    Raises ``Problem`` 400 for a form that cannot be taken apart, or has too many or no pictures.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        return [(RAW_NAME, body)]
    boundary = options.get(b"boundary")
    if not boundary:
        raise Problem(400, "the form has no boundary; let your HTTP library write the Content-Type")
    return _Form(boundary, settings.max_pictures).parts(body)


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """Return what ``work`` does; cancel it and raise ``ClientGoneError`` if the client leaves."""
    task = asyncio.current_task()
    assert task is not None
    gone = False

    def leave() -> None:  # called by the connection
        nonlocal gone
        gone = True
        task.cancel()

    request.scope["state"]["on_disconnect"] = leave
    try:
        return await work
    except asyncio.CancelledError:
        if gone:
            raise ClientGoneError from None
        raise
    finally:
        del request.scope["state"]["on_disconnect"]


def _check_framing(request: Request, settings: Settings) -> None:
    headers = request.headers
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "compressed bodies are not accepted; send the picture as it is")
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is None and length is None:
        raise Problem(411, "the request has no Content-Length", _CLOSE)
    if coding is not None and coding.strip().lower() != "chunked":
        raise Problem(400, "only the transfer coding chunked is accepted", _CLOSE)
    if length is not None and int(length) >= MAX_LENGTH:
        raise Problem(400, "the Content-Length is not a possible one", _CLOSE)
    if length is not None and int(length) > settings.max_body_bytes:
        raise _too_long(settings)


def _too_long(settings: Settings) -> Problem:
    return Problem(413, f"the body is too long; at most {settings.max_body_bytes} bytes are allowed", _CLOSE)


class _Form:
    """Takes a multipart form apart in memory."""

    def __init__(self, boundary: bytes, max_pictures: int) -> None:
        self._boundary = boundary
        self._max_pictures = max_pictures
        self._parts: list[tuple[str, bytearray]] = []
        self._header = bytearray()
        self._value = bytearray()
        self._name: str | None = None
        self._ended = False

    def parts(self, body: bytes) -> list[tuple[str, bytes]]:
        parser = MultipartParser(
            self._boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._field,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._start_picture,
                "on_part_data": self._data,
                "on_end": self._end,
            },
        )
        try:
            parser.write(body)
            parser.finalize()
        except FormParserError:
            self._ended = False
        if not self._ended:  # the parser takes a form that was cut off for a whole one
            raise Problem(400, "the form is not well-formed multipart/form-data, or was cut off")
        if not self._parts:
            raise Problem(400, "the form has no pictures; send each as a file")
        return [(name, bytes(data)) for name, data in self._parts]

    def _begin(self) -> None:
        self._name = None

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            name = options.get(b"filename")
            self._name = None if name is None else name.decode("utf-8", "replace")[:MAX_NAME]
        self._header.clear()
        self._value.clear()

    def _start_picture(self) -> None:
        if self._name is None:
            raise Problem(400, "the form has a field that is not a file; send each picture as a file")
        if len(self._parts) == self._max_pictures:
            raise Problem(400, f"the form has too many pictures; at most {self._max_pictures} are allowed")
        self._parts.append((self._name, bytearray()))

    def _end(self) -> None:
        self._ended = True

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._parts[-1][1].extend(memoryview(data)[start:end])
