"""Everything is bounded: bodies, headers, connections, times, what waits; and health answers all the while."""

from __future__ import annotations

import itertools
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from .conftest import Answer, Serve, Service, posted, read_answer, until

MiB = 2**20
HEAD = b"POST /predict HTTP/1.1\r\nHost: here\r\n"
OPENAPI = b"GET /openapi.json HTTP/1.1\r\nHost: here\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def is_healthy(service: Service) -> bool:
    return service.request("GET", "/v2/health/live").status == 200


def is_closed(connection: socket.socket) -> bool:
    """Say whether the service has closed a connection; what it sent is thrown away."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


class Memory:
    """How much a worker grows, at most, while it is looked at."""

    def __init__(self, service: Service) -> None:
        (self._worker,) = service.workers()
        self._before = self._worker.memory_info().rss
        self.growth = 0

    def look(self) -> None:
        self.growth = max(self.growth, self._worker.memory_info().rss - self._before)


def warm(service: Service, jpeg: bytes) -> Memory:
    for _ in range(20):
        assert service.request("POST", "/predict", jpeg).status == 200
    return Memory(service)


# ── bodies ──────────────────────────────────────────────────────────────────────────────────────────


def test_q07_one_byte_too_many_is_refused_and_the_client_sees_why(service: Service) -> None:
    answer = service.request("POST", "/predict", bytes(10 * MiB + 1))
    assert answer.status == 413
    assert answer.json == {"error": "the body is too long; at most 10485760 bytes are allowed"}


def test_a_body_of_just_the_limit_is_read(service: Service) -> None:
    assert service.request("POST", "/predict", bytes(10 * MiB)).status == 415


def test_q08_600_mb_announced_are_refused_without_reading_them(serve: Serve, model_path: Path, jpeg: bytes) -> None:
    service = serve(model_path)
    memory = warm(service, jpeg)
    with service.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 629145600\r\n\r\n")
        assert read_answer(connection).status == 413
        send_until_closed(connection, itertools.repeat(bytes(MiB), 600), memory)
    assert memory.growth <= 32 * MiB
    assert is_healthy(service)


def test_q08_600_mb_in_chunks_are_refused_at_the_limit(serve: Serve, model_path: Path, jpeg: bytes) -> None:
    service = serve(model_path)
    memory = warm(service, jpeg)
    chunk = b"100000\r\n" + bytes(MiB) + b"\r\n"
    with service.connect() as connection:
        connection.sendall(CHUNKED)
        send_until_closed(connection, itertools.repeat(chunk, 600), memory)
    assert memory.growth <= 32 * MiB
    assert is_healthy(service)


def send_until_closed(connection: socket.socket, parts: itertools.repeat[bytes], memory: Memory) -> None:
    """Send all parts, or as many as the service takes."""
    try:
        for part in parts:
            connection.sendall(part)
            memory.look()
    except ConnectionError:
        pass


def test_q09_a_million_chunks_are_bounded(serve: Serve, model_path: Path, jpeg: bytes) -> None:
    service = serve(model_path)
    memory = warm(service, jpeg)
    with service.connect() as connection:
        connection.sendall(CHUNKED)
        for _ in range(100):
            connection.sendall(b"1\r\nx\r\n" * 10_000)
            memory.look()
        connection.sendall(b"0\r\n\r\n")
        assert read_answer(connection).status == 415
    assert memory.growth <= 32 * MiB


def test_q10_a_compressed_body_is_refused(service: Service) -> None:
    answer = service.request("POST", "/predict", b"\x1f\x8b" + bytes(1000), {"Content-Encoding": "gzip"})
    assert answer.status == 415
    assert answer.json == {"error": "compressed bodies are not accepted; send the picture as it is"}


def test_all_bodies_together_are_bounded(serve_with: Callable[..., Service], jpeg: bytes) -> None:
    service = serve_with(max_held_bytes=4 * MiB, max_body_bytes=3 * MiB)
    with service.connect() as first, service.connect() as second:
        for connection in (first, second):
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (3 * MiB))
        first.sendall(bytes(3 * MiB - 1))
        second.sendall(bytes(3 * MiB - 1))
        (answered,), _, _ = select.select([first, second], [], [], 30)
        refused = read_answer(answered)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        admitted = second if answered is first else first
        admitted.sendall(b"\0")
        assert read_answer(admitted).status == 415
    assert service.request("POST", "/predict", bytes(3 * MiB)).status == 415  # all was given back
    assert service.request("POST", "/predict", jpeg).status == 200


# ── times ───────────────────────────────────────────────────────────────────────────────────────────


def test_half_open_headers_are_closed_and_health_answers(serve: Serve, model_path: Path) -> None:
    service = serve(model_path)
    headers = [service.connect() for _ in range(300)]
    bodies = [service.connect() for _ in range(100)]
    for i, connection in enumerate(headers):
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: he"[: i % 30])
    for connection in bodies:
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\nx")
    assert is_healthy(service)
    open_ = list(headers)

    def one_byte_more() -> bool:
        """Every client sends another byte, which does not earn it more time."""
        assert is_healthy(service)
        for connection in open_:
            connection.setblocking(True)
        open_[:] = [connection for connection in open_ if not is_closed(connection)]
        return not open_

    until(one_byte_more, "all half-open connections are closed")
    assert not any(is_closed(connection) for connection in bodies)  # they have 30 seconds
    for connection in headers + bodies:
        connection.close()


def test_a_header_that_comes_too_slowly_is_refused(serve_with: Callable[..., Service]) -> None:
    service = serve_with(header_timeout_s=0.5)
    with service.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        answer = read_answer(connection)
    assert (answer.status, answer.json) == (408, {"error": "the header did not arrive within 0.5 s"})


def test_a_second_header_that_comes_too_slowly_is_refused(serve_with: Callable[..., Service], jpeg: bytes) -> None:
    service = serve_with(header_timeout_s=0.5, linger_s=0.5)
    with service.connect() as connection:
        connection.sendall(posted("/predict", jpeg) + b"GET /")
        assert read_answer(connection).status == 200
        assert read_answer(connection).status == 408


def test_blank_lines_do_not_keep_a_connection(serve_with: Callable[..., Service], jpeg: bytes) -> None:
    service = serve_with(header_timeout_s=0.5)
    with service.connect() as connection:
        connection.sendall(posted("/predict", jpeg))
        assert read_answer(connection).status == 200

        def blank() -> bool:
            connection.setblocking(True)
            try:
                connection.sendall(b"\r\n")
            except ConnectionError:
                return True
            return is_closed(connection)

        until(blank, "the connection is closed")


def test_a_body_that_comes_too_slowly_is_refused(serve_with: Callable[..., Service], jpeg: bytes) -> None:
    service = serve_with(body_timeout_s=0.5)
    with service.connect() as connection:
        connection.sendall(posted("/predict", jpeg)[:-1])
        answer = read_answer(connection)
    assert (answer.status, answer.json) == (408, {"error": "the body did not arrive within 0.5 s"})
    until(lambda: service.metric('finetune_requests_total{route="/predict",status="499"}') == 1, "it was given up")
    assert service.request("POST", "/predict", jpeg).status == 200


def test_the_rest_of_a_refused_body_has_little_time(serve_with: Callable[..., Service]) -> None:
    service = serve_with(linger_s=0.5)
    with service.connect() as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\nx")
        assert read_answer(connection).status == 404
        until(lambda: is_closed(connection), "the connection is closed")


def test_an_idle_connection_is_closed(serve_with: Callable[..., Service], jpeg: bytes) -> None:
    service = serve_with(keep_alive_s=1)
    with service.connect() as connection:
        connection.sendall(posted("/predict", jpeg))
        assert read_answer(connection).status == 200
        until(lambda: is_closed(connection), "the connection is closed")


def test_a_client_that_does_not_read_is_cut_off(serve_with: Callable[..., Service]) -> None:
    service = serve_with(body_timeout_s=1.0)
    with service.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            while True:  # what waits is read by nobody
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: here\r\n\r\n")
                until(lambda: is_healthy(service), "health answers")
        except ConnectionError:
            pass
    assert is_healthy(service)


def test_requests_that_wait_on_one_connection_are_bounded(service: Service) -> None:
    answer = service.raw(b"GET /openapi.json HTTP/1.1\r\nHost: here\r\n\r\n" * 1000)
    assert answer.count(b"HTTP/1.1") <= 18
    assert b"HTTP/1.1 400 Bad Request" in answer


# ── connections and headers ─────────────────────────────────────────────────────────────────────────


def test_connections_are_bounded(serve_with: Callable[..., Service]) -> None:
    service = serve_with(max_connections=8)
    connections = [service.connect() for _ in range(8)]
    for connection in connections:
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: here\r\n\r\n")
        assert read_answer(connection).status == 200
    with service.connect() as one_more:
        one_more.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: here\r\n\r\n")
        answer = read_answer(one_more)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    for connection in connections:
        connection.close()
    until(lambda: is_healthy(service), "there is room again")
    assert service.metric('finetune_refused_total{reason="connections"}') >= 1


def test_a_header_without_end_is_refused(service: Service) -> None:
    with service.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n")
        answers = []

        def more() -> bool:
            connection.setblocking(True)
            connection.sendall(b"X-Filler: " + b"x" * 1000 + b"\r\n")
            connection.setblocking(False)
            try:
                answers.append(connection.recv(65536))
            except BlockingIOError:
                return False
            return True

        until(more, "the header is refused")
    assert answers[0].startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("name", [b"X-Filler", b"Cookie"])
def test_a_long_header_that_arrives_at_once_is_refused_as_well(service: Service, name: bytes) -> None:
    with service.connect() as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: here\r\n%b: %b\r\n\r\n" % (name, b"x" * 66_000))
        assert connection.recv(65536).startswith(b"HTTP/1.1 431 ")


# ── what waits ──────────────────────────────────────────────────────────────────────────────────────


def at_once(service: Service, count: int, request: bytes) -> list[Answer]:
    """Send requests over as many connections, and return the answers."""
    connections = [service.connect() for _ in range(count)]
    for connection in connections:
        connection.sendall(request)
    found = [read_answer(connection) for connection in connections]
    for connection in connections:
        connection.close()
    return found


def test_what_cannot_wait_is_refused_with_503(serve: Serve, model_path: Path, slow_jpeg: bytes) -> None:
    service = serve(model_path, "--concurrency", "1", "--queue", "3")
    answers = at_once(service, 40, posted("/predict", slow_jpeg))
    statuses = [answer.status for answer in answers]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 4
    refused = next(answer for answer in answers if answer.status == 503)
    assert refused.headers["retry-after"] == "1"
    assert refused.json == {"error": "too many pictures are waiting; try again in a moment"}
    assert service.request("POST", "/predict", slow_jpeg).status == 200
    assert service.metric("finetune_admitted_pictures") == 0
    assert service.metric('finetune_refused_total{reason="queue"}') == statuses.count(503)


def test_64_clients_at_once_are_not_refused(serve: Serve, model_path: Path, slow_jpeg: bytes) -> None:
    service = serve(model_path)
    assert {answer.status for answer in at_once(service, 64, posted("/predict", slow_jpeg))} == {200}


def test_more_pictures_than_could_ever_wait_are_refused(serve: Serve, model_path: Path, jpeg: bytes) -> None:
    from .test_predict import form

    service = serve(model_path, "--concurrency", "1", "--queue", "1")
    body, headers = form(*[(f"{i}.jpg", jpeg) for i in range(3)])
    assert service.request("POST", "/predict", body, headers).status == 400
    body, headers = form(*[(f"{i}.jpg", jpeg) for i in range(2)])
    assert service.request("POST", "/predict", body, headers).status == 200


@pytest.mark.parametrize("queued", [b"", OPENAPI])
def test_the_work_of_clients_that_left_is_not_done(
    serve: Serve, model_path: Path, slow_jpeg: bytes, queued: bytes
) -> None:
    service = serve(model_path, "--concurrency", "1", "--queue", "200")
    for _ in range(150):
        with service.connect() as connection:
            connection.sendall(posted("/predict", slow_jpeg) + queued)
    assert service.request("POST", "/predict", slow_jpeg).status == 200
    until(lambda: service.metric("finetune_admitted_pictures") == 0, "nothing waits")
    done = service.metric('finetune_pictures_total{model="model",outcome="answered"}')
    assert done < 100


def test_q23_a_thousand_clients_that_leave_while_sending_leave_nothing(
    serve: Serve, model_path: Path, jpeg: bytes
) -> None:
    service = serve(model_path)
    request = posted("/predict", jpeg)

    def leave(times: int) -> None:
        for i in range(times):
            with service.connect() as connection:
                connection.sendall(request[: 1 + i * 37 % len(request)])

    leave(100)
    (worker,) = service.workers()
    until(lambda: len(worker.net_connections()) == 1, "only the listening socket is open")
    before = worker.num_fds(), worker.num_threads(), worker.memory_info().rss
    clients = [threading.Thread(target=leave, args=(250,)) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    until(lambda: len(worker.net_connections()) == 1, "only the listening socket is open")
    assert service.request("POST", "/predict", jpeg).status == 200
    until(lambda: len(worker.net_connections()) == 1, "only the listening socket is open")
    after = worker.num_fds(), worker.num_threads(), worker.memory_info().rss
    assert after[:2] == before[:2]
    assert after[2] - before[2] <= 10 * MiB
    assert isinstance(worker, psutil.Process)
