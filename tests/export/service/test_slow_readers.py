"""Clients that read slowly: they get every byte of their answer, but do not keep a connection for ever."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from finetune_export import Contract

from .conftest import PATIENCE_S, Service, read_answer, until
from .test_predict import form

LABELS = tuple(f"label {number}" for number in range(5_000))
PICTURES = 32
OPENAPI = b"GET /openapi.json HTTP/1.1\r\nHost: here\r\n\r\n"


@pytest.fixture
def many_labels(
    make_graph: Callable[..., onnx.ModelProto], seal: Callable[..., bytes], contract: Contract, tmp_path: Path
) -> Path:
    """Return a model whose answers are larger than what the system holds on the way to a client."""
    path = tmp_path / "many.onnx"
    path.write_bytes(seal(make_graph(classes=len(LABELS)), replace(contract, labels=LABELS)))
    return path


def connect_narrow(service: Service) -> socket.socket:
    """Return a connection on which little can be on its way, so that the service keeps what is not read."""
    connection = socket.socket()
    connection.settimeout(PATIENCE_S)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    connection.connect(("127.0.0.1", service.port))
    return connection


def wait_for_a_late_header(service: Service) -> None:
    """Return after ``header_timeout_s``, by the service's clock."""
    with service.connect() as late:
        late.sendall(b"GET /")
        assert read_answer(late).status == 408


def test_the_last_answer_reaches_a_client_that_reads_slowly(
    serve_with: Callable[..., Service], many_labels: Path, jpeg: bytes
) -> None:
    service = serve_with(models={"many": many_labels}, header_timeout_s=0.4, linger_s=0.1)
    body, headers = form(*[(f"{i}.jpg", jpeg) for i in range(PICTURES)])
    lines = [f"POST /predict?top={len(LABELS)} HTTP/1.1", "Host: here", "Connection: close"]
    lines += [f"Content-Length: {len(body)}", f"Content-Type: {headers['Content-Type']}", "", ""]
    with connect_narrow(service) as connection:
        connection.sendall("\r\n".join(lines).encode() + body)
        until(lambda: service.logged("request"), "the answer is on its way")
        wait_for_a_late_header(service)  # which takes longer than linger_s
        answer = read_answer(connection)
    assert len(answer.json["predictions"]) == PICTURES


def test_an_idle_client_that_leaves_a_little_unread_is_cut_off(serve_with: Callable[..., Service]) -> None:
    service = serve_with(keep_alive_s=1, body_timeout_s=1.0)
    size = len(service.raw(OPENAPI.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))
    (worker,) = service.workers()
    with connect_narrow(service) as connection:
        connection.sendall(OPENAPI * (90_000 // size))
        until(lambda: len(worker.net_connections()) == 2, "it is connected")
        until(lambda: len(worker.net_connections()) == 1, "only the listening socket is open")
