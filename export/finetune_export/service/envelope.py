"""What surrounds every answer: a request id, the checks of who asks, security headers, one log line, the metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finetune_export.service import security
from finetune_export.service.bodies import Held
from finetune_export.service.logs import Log
from finetune_export.service.metrics import Metrics
from finetune_export.service.models import Served
from finetune_export.service.problems import ClientGoneError, Problem

GONE = 499  # in the log and the metrics: the client left before its answer
UNKNOWN = "unknown"


def answer(problem: Problem) -> Response:
    """Return a problem as every client is told it: ``{"error": text}``."""
    return JSONResponse({"error": problem.text}, problem.status, problem.headers)


class Envelope:
    """ASGI middleware around the whole application; ``open_paths`` need no token."""

    def __init__(
        self, app: ASGIApp, log: Log, metrics: Metrics, held: Held, token: str | None, open_paths: Collection[str]
    ) -> None:
        self._app = app
        self._log = log
        self._metrics = metrics
        self._held = held
        self._token = None if token is None else token.encode()
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; anything but HTTP is passed on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, send)
        try:
            await self._answer(scope, receive, exchange)
        finally:
            self._held.give_back(scope["state"].get("held", 0))
            self._record(scope, exchange)

    async def _answer(self, scope: Scope, receive: Receive, exchange: Exchange) -> None:
        try:
            security.check_host(scope["headers"], scope["http_version"])
            security.check_token(scope["headers"], self._token, scope["path"], self._open_paths)
            await self._app(scope, receive, exchange.send)
        except Problem as problem:
            await answer(problem)(scope, receive, exchange.send)
        except (ClientGoneError, asyncio.CancelledError):
            exchange.status = GONE
        except Exception as exc:
            self._log.exception("internal error", exc, request_id=exchange.request_id)
            if not exchange.status:
                await answer(Problem(500, "internal error"))(scope, receive, exchange.send)

    def _record(self, scope: Scope, exchange: Exchange) -> None:
        seconds = time.perf_counter() - exchange.began
        route = getattr(scope.get("route"), "path", UNKNOWN)
        served: Served | None = scope["state"].get("served")
        model = {} if served is None else {"model": served.name, "version": served.version}
        self._metrics.answered(route, exchange.status, seconds)
        self._log.write(
            "info",
            "request",
            request_id=exchange.request_id,
            method=scope["method"],
            route=route,
            status=exchange.status,
            bytes=scope["state"].get("held", 0),
            seconds=round(seconds, 5),
            **model,
        )


class Exchange:
    """One request and its answer: adds the headers that every answer has, and remembers the status."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.began = time.perf_counter()
        self.request_id = security.given_request_id(scope["headers"]) or security.new_request_id()
        self.status = 0
        self._state: dict[str, Any] = scope.setdefault("state", {})
        self._send = send
        self._state["request_id"] = self.request_id

    async def send(self, message: Message) -> None:
        """Pass a message on; the first one with all headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = self._complete(message["headers"])
        await self._send(message)

    def _complete(self, headers: security.Headers) -> security.Headers:
        headers = [*headers, *security.HEADERS, (b"x-request-id", self.request_id.encode())]
        if not any(name == b"cache-control" for name, _ in headers):
            headers.append(security.NO_STORE)
        served: Served | None = self._state.get("served")
        if served is not None:
            headers.append((b"x-model-version", served.version.encode()))
        return headers
