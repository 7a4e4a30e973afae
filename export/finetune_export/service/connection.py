"""One connection: uvicorn's HTTP parser with the limits that it lacks, and refusals that reach the client.

A server that closes a connection while the client is still sending resets it, and the client may never see why. So a
connection that has to be closed first says so, sends what is unsent, for which the client has ``body_timeout_s``
seconds, closes its sending half, and reads on for ``linger_s`` seconds.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httptools
from starlette.applications import Starlette
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from finetune_export.service import security
from finetune_export.service.settings import Settings

MAX_PIPELINED = 16  # requests of a connection that wait for the answer of the one before
UNREADABLE = "unreadable"  # the route of what never became a request, in the log and the metrics


class Connection(HttpToolsProtocol):
    """HTTP/1.1 with a time limit for headers, for clients that do not read, and a limit to the connections."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        assert isinstance(config.app, Starlette)
        self._state = config.app.state
        self._settings: Settings = config.app.state.settings
        self._reading = _Deadline(self.loop, self._client_is_slow)
        self._writing = _Deadline(self.loop, self._abort)
        self._header_bytes = 0
        self._receiving = False  # a message has begun and not ended
        self._running: RequestResponseCycle | None = None  # what is being answered; ``cycle`` is what arrived last

    # ── what arrives ────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it when there are too many."""
        self._lingering = LingeringTransport(transport, self.loop, self._linger)
        super().connection_made(self._lingering)
        self._reading.start(self._settings.header_timeout_s)
        if len(self.connections) > 2 * self._settings.max_connections:
            transport.abort()
        elif len(self.connections) > self._settings.max_connections:
            self._state.metrics.refused("connections")
            self.refuse(503, "too many connections; try again in a moment", b"retry-after: 1\r\n")

    def data_received(self, data: bytes) -> None:
        """Parse what arrives; what arrives after a refusal is thrown away."""
        if self._lingering.is_closing():
            return
        self._unset_keepalive_if_required()
        lingered = self._lingers_on_body()
        self._parse(data)
        if self._lingering.is_closing():
            return
        if self._answering():
            self._header_bytes = 0
            if self._receiving:
                self._reading.start_unless_running(self._settings.body_timeout_s)
            return
        if lingered and not self._receiving:  # the end of a body that nobody wanted; now it is idle
            self._header_bytes = 0
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
            return
        self._reading.start_unless_running(self._settings.header_timeout_s)
        self._header_bytes += 0 if self._lingers_on_body() else len(data)
        if self._header_bytes > self._settings.max_header_bytes:
            self._refuse_header()

    def on_message_begin(self) -> None:
        """Note that a request has begun."""
        self._receiving = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start answering, or refuse to queue any more requests, and headers that are too long."""
        if len(self.pipeline) >= MAX_PIPELINED or self._header_is_too_long():
            raise OverflowError  # which makes the parser stop
        if not self.parser.should_upgrade():
            self._reading.stop()
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that a request has arrived as a whole."""
        if self.parser.should_upgrade():
            return
        self._receiving = False
        self._reading.stop()
        super().on_message_complete()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            if self._header_is_too_long():
                self._refuse_header()
            else:
                self.refuse(400, "the request is not well-formed HTTP/1.1")

    def _decline_upgrade(self, rest: bytes) -> None:
        """Parse a request again as if it had not offered another protocol, as clients in Java do with HTTP/2.

        The parser would take it for one without a body.
        """
        method, kept = self.parser.get_method(), [header for header in self.headers if header[0] != b"upgrade"]
        if method == b"CONNECT" or len(kept) == len(self.headers):
            self.refuse(400, "the request is not well-formed HTTP/1.1")
            return
        lines = b"".join(b"%b: %b\r\n" % header for header in kept)
        self.parser = httptools.HttpRequestParser(self)
        self._parse(b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, self.url, lines, rest))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    # ── how it ends ─────────────────────────────────────────────────────────────────────────────────

    def on_response_complete(self) -> None:
        """Keep the connection, or read the rest of a body that nobody wanted for a little while."""
        super().on_response_complete()
        if self._lingering.is_closing():
            return
        if self._receiving and not self._answering():
            if self.expect_100_continue:  # whether its body will follow, only the client knows
                self._lingering.close()
            else:
                self._reading.start(self._settings.linger_s)

    def refuse(self, status: int, text: str, header: bytes = b"") -> None:
        """Answer from outside of the application, and close; abort if another answer has begun."""
        running = self._running
        if running is not None and running.response_started and not running.response_complete:
            self._abort()
            return
        body = json.dumps({"error": text}).encode()
        request_id = security.new_request_id()
        headers = [*security.HEADERS, security.NO_STORE, (b"x-request-id", request_id.encode())]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        length = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
        self._lingering.write(STATUS_LINE[status] + lines + header + length + b"\r\n" + body)
        self._state.log.write("info", "request", request_id=request_id, route=UNREADABLE, status=status)
        self._state.metrics.answered(UNREADABLE, status, 0.0)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._lingering.close()

    def _refuse_header(self) -> None:
        self.refuse(431, f"the header is too long; at most {self._settings.max_header_bytes} bytes are allowed")

    def _header_is_too_long(self) -> bool:
        """Say so of the header that was parsed last; one that arrives slowly is counted as it does."""
        lines = ((b"", self.url or b""), *(self.headers or ()))
        return sum(len(name) + len(value) + 4 for name, value in lines) > self._settings.max_header_bytes

    def pause_writing(self) -> None:
        """Give a client that does not read its answer a time limit."""
        self._writing.start(self._settings.body_timeout_s)
        super().pause_writing()

    def resume_writing(self) -> None:
        """Lift the time limit: the client reads."""
        self._writing.stop()
        super().resume_writing()
        if self._lingering.is_closing():
            self._linger()

    def eof_received(self) -> None:
        """Close when the client has closed its half."""
        self._lingering.close_now()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything, and let the application forget what nobody waits for."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            if leave := self._running.scope["state"].get("on_disconnect"):
                leave()
        self._reading.stop()
        self._writing.stop()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def shutdown(self) -> None:
        """Close an idle connection; one that is being answered closes after its answer."""
        if self._answering():
            self.cycle.keep_alive = False
        else:
            self._lingering.close_now()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle for long enough."""
        self._lingering.close_now()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _lingers_on_body(self) -> bool:
        """Say whether the body of a request that was answered already is still arriving."""
        begun = self._receiving and self.cycle is not None and self.cycle.scope is self.scope
        return begun and not self._answering()

    def _linger(self) -> None:
        """Read on for a while once everything is sent; the sending half is closed then."""
        self._unset_keepalive_if_required()
        if self._lingering.get_write_buffer_size() > 0:
            self._reading.stop()
            self._writing.start(self._settings.body_timeout_s)
        else:
            self._reading.start(self._settings.linger_s)

    def _client_is_slow(self) -> None:
        if self._lingering.is_closing():
            self._abort()
        elif self._answering():
            self.refuse(408, f"the body did not arrive within {self._settings.body_timeout_s:g} s")
        elif self._lingers_on_body():
            self._abort()
        elif self._receiving:
            self.refuse(408, f"the header did not arrive within {self._settings.header_timeout_s:g} s")
        else:
            self._lingering.close_now()

    def _abort(self) -> None:
        self._lingering.abort()


class LingeringTransport(asyncio.Transport):
    """A transport whose ``close`` closes the sending half only, and says so to ``lingering``; reading goes on.

    What is written in one turn of the event loop, such as header and body of an answer, is sent at once.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, lingering: Callable[[], None]
    ) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._unsent: list[bytes] = []
        self._lingering = lingering
        self._closing = False
        self.pause_reading = transport.pause_reading  # type: ignore[method-assign]
        self.resume_reading = transport.resume_reading  # type: ignore[method-assign]
        self.get_extra_info = transport.get_extra_info  # type: ignore[method-assign]
        self.get_write_buffer_size = transport.get_write_buffer_size  # type: ignore[method-assign]

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send bytes, unless the sending half is closed."""
        if self._closing:
            return
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(bytes(data))

    def is_closing(self) -> bool:
        """Say whether nothing will be sent any more."""
        return self._closing or self._transport.is_closing()

    def close(self) -> None:
        """Close the sending half once everything is sent."""
        if self.is_closing():
            return
        self._closing = True
        self._flush()
        self._transport.write_eof()
        self._transport.resume_reading()
        self._lingering()

    def close_now(self) -> None:
        """Close both halves once everything is sent."""
        self._closing = True
        if not self._transport.is_closing():
            self._flush()
            self._transport.close()

    def abort(self) -> None:
        """Close both halves without sending what waits."""
        self._closing = True
        self._transport.abort()

    def _flush(self) -> None:
        """Send what waits; ``pause_writing`` tells the protocol that some is left, ``resume_writing`` that none is."""
        self._send()
        self._transport.set_write_buffer_limits(0)

    def _send(self) -> None:
        if self._unsent and not self._transport.is_closing():
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()


class _Deadline:
    """A time limit that can be started again and again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[], None]) -> None:
        self._loop = loop
        self._expire = expire
        self._timer: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        self.stop()
        self._timer = self._loop.call_later(seconds, self._end)

    def start_unless_running(self, seconds: float) -> None:
        if self._timer is None:
            self.start(seconds)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._timer = None
        self._expire()
