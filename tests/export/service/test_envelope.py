"""What surrounds an answer also holds where the application fails."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from finetune_export.service.bodies import Held
from finetune_export.service.envelope import Envelope
from finetune_export.service.logs import MAX_WAITING, Log
from finetune_export.service.metrics import Metrics
from finetune_export.service.problems import ClientGoneError, Problem

App = Callable[..., Awaitable[None]]


def exchange(app: App, **changes: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Send one request to ``app`` within its envelope, and return what was sent and what was logged."""
    reading, writing = os.pipe()
    log, sent = Log(writing), []
    headers = [(b"host", b"here")]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "http_version": "1.1", "state": {}}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    envelope = Envelope(app, log, Metrics(), Held(100), None, ())
    asyncio.run(envelope({**scope, **changes}, receive, send))
    log.close()
    os.close(writing)
    with os.fdopen(reading, "rb") as lines:
        return sent, [json.loads(line) for line in lines]


async def fails(*_: Any) -> None:
    raise ValueError("/srv/secret/model.onnx")


async def refuses(*_: Any) -> None:
    raise Problem(418, "a teapot", {"Retry-After": "7"})


async def leaves(*_: Any) -> None:
    raise ClientGoneError


def test_an_error_of_ours_is_neutral_to_the_client_and_complete_in_the_log() -> None:
    (start, body), (error, request) = exchange(fails)
    assert start["status"] == 500
    assert json.loads(body["body"]) == {"error": "internal error"}
    assert (error["event"], error["error"]) == ("internal error", "ValueError")
    assert "/srv/secret/model.onnx" in error["traceback"]
    assert error["request_id"] == request["request_id"] == dict(start["headers"])[b"x-request-id"].decode()


def test_a_refusal_keeps_its_status_and_headers() -> None:
    (start, body), (request,) = exchange(refuses)
    assert (start["status"], request["status"]) == (418, 418)
    assert dict(start["headers"])[b"retry-after"] == b"7"
    assert json.loads(body["body"]) == {"error": "a teapot"}


def test_a_client_that_left_is_not_answered_but_logged() -> None:
    sent, (request,) = exchange(leaves)
    assert sent == []
    assert request["status"] == 499


def test_what_is_not_http_is_passed_on() -> None:
    seen = []

    async def app(scope: Any, *_: Any) -> None:
        seen.append(scope["type"])

    assert exchange(app, type="lifespan") == ([], [])
    assert seen == ["lifespan"]


def test_bytes_that_are_held_are_given_back() -> None:
    held = Held(10)
    held.take(10)
    with pytest.raises(Problem, match="too many bodies"):
        held.take(1)
    held.give_back(10)
    held.take(10)


def test_a_log_that_nobody_reads_drops_lines_and_says_how_many() -> None:
    reading, writing = os.pipe()
    log = Log(writing)
    for number in range(3 * MAX_WAITING):
        log.write("info", "line", number=number)
    found: list[dict[str, Any]] = []
    with os.fdopen(reading, "rb") as lines:
        while not (found and found[-1].get("number") == 3 * MAX_WAITING - 1):
            found.append(json.loads(lines.readline()))
        log.close()
        os.close(writing)
        found += [json.loads(line) for line in lines]
    dropped = sum(line["lines"] for line in found if line["event"] == "log lines dropped")
    assert dropped > 0
    assert sum(line["event"] == "line" for line in found) + dropped == 3 * MAX_WAITING
