"""A hub on this machine, and no other network."""

from __future__ import annotations

import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.utils import reset_sessions

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Let nothing leave this machine, and nothing into the user's cache; it looks like a cable that was pulled."""
    resolve = socket.getaddrinfo

    def resolve_here(host: Any, *args: Any, **options: Any) -> Any:
        if host in ("127.0.0.1", "localhost"):
            return resolve(host, *args, **options)
        raise socket.gaierror(socket.EAI_AGAIN, f"tests have no network: {host}")

    monkeypatch.setattr(socket, "getaddrinfo", resolve_here)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.org")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # as another test's process may have it
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # it waits between its tries
    reset_sessions()  # the library keeps what it decided about being offline
    yield
    reset_sessions()


class Hub:
    """A stand-in for the hub: a repository's weight file, what it says of it, and what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.stated: dict[str, str] = {}
        self.is_gated = False
        self.is_cut = False
        self.status = 0
        self.asked: list[str] = []

    def offer(self, repository: str, content: bytes, file: str = "model.safetensors", sha256: str = "") -> None:
        self.files[f"{repository}/resolve/main/{file}"] = content
        self.stated[f"{repository}/resolve/main/{file}"] = sha256 or hashlib.sha256(content).hexdigest()

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        path = handler.path.strip("/")
        self.asked.append(f"{handler.command} {path}")
        known = any(other.split("/resolve/")[0] == path.split("/resolve/")[0] for other in self.files)
        if self.status:
            self._send(handler, self.status, b"")
        elif self.is_gated:
            self._send(handler, 403, b"", {"X-Error-Code": "GatedRepo"})
        elif path not in self.files:
            self._send(handler, 404, b"", {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound"})
        else:
            facts = {"ETag": '"lfs"', "X-Linked-Etag": f'"{self.stated[path]}"', "X-Repo-Commit": COMMIT}
            self._send(handler, 200, self.files[path], facts)

    def _send(
        self,
        handler: http.server.BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
    ) -> None:
        handler.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            handler.send_header(key, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body[: len(body) // 2] if self.is_cut else body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    there = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there.answer(self)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield there
        server.shutdown()
        thread.join()
