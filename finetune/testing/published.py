"""A publisher's server on this machine, which offers stand-ins for archives, and fails in the ways that servers do."""

from __future__ import annotations

import contextlib
import hashlib
import http
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from finetune.download import Archive


@dataclass
class Published:
    """What the server offers, by name, under ``url``; what it was asked for; and how it fails.

    A name that is not among ``files`` is answered with 404. ``asked`` has, for each request, the name and the value of
    its ``Range`` header. ``hang_up_after`` is the number of bytes after which every connection is cut, while
    ``Content-Length`` promises all; ``hold_after`` the number after which nothing more comes, while the connection
    stays, until the server is gone; ``ignores_range`` lets it send everything again to whoever asks for the rest;
    ``status`` is the answer to everything, such as 503. Who asks for what is behind the end is told so (416).
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    hang_up_after: int | None = None
    hold_after: int | None = None
    ignores_range: bool = False
    status: int | None = None
    closing: threading.Event = field(default_factory=threading.Event)

    def offer(self, name: str, content: bytes) -> Archive:
        """Offer a file; return what its publisher says of it: its name, size and checksum."""
        self.files[name] = content
        return archive_of(name, content)

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        name, wanted = handler.path.rpartition("/")[2], handler.headers.get("Range")
        self.asked.append((name, wanted))
        if self.status or name not in self.files:
            handler.send_error(self.status or http.HTTPStatus.NOT_FOUND)
            return
        begin = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted and not self.ignores_range else 0
        if begin and begin >= len(self.files[name]):
            handler.send_error(http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            return
        self._send(handler, self.files[name][begin:], begin)

    def _send(self, handler: http.server.BaseHTTPRequestHandler, body: bytes, begin: int) -> None:
        handler.send_response(http.HTTPStatus.PARTIAL_CONTENT if begin else http.HTTPStatus.OK)
        handler.send_header("Content-Length", str(len(body)))
        if begin:
            handler.send_header("Content-Range", f"bytes {begin}-{begin + len(body) - 1}/{begin + len(body)}")
        handler.end_headers()
        with contextlib.suppress(ConnectionError):  # whoever asked may have gone
            if self.hold_after is not None:
                handler.wfile.write(body[: self.hold_after])
                self.closing.wait()
            else:
                handler.wfile.write(body[: self.hang_up_after])
        handler.close_connection = True


def archive_of(name: str, content: bytes) -> Archive:
    """Return what a publisher says of a file with this content."""
    return Archive(name, len(content), hashlib.sha256(content).hexdigest())


@contextlib.contextmanager
def publishing() -> Iterator[Published]:
    """Give a server on the loopback interface, which is gone when the block ends."""
    there = Published()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there.answer(self)

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        there.url = f"http://127.0.0.1:{server.server_port}/data"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield there
        finally:
            there.closing.set()
            server.shutdown()
            thread.join()
