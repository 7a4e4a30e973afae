"""What no HTTP library would send: raw bytes over loopback."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import Service, posted, read_answer

many = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
HEAD = b"POST /predict HTTP/1.1\r\nHost: here\r\n"


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:100]
    return int(answer[9:12])


@pytest.mark.parametrize(
    ("request_", "statuses"),
    [
        pytest.param(HEAD + b"\r\n", {411}, id="Q01 no length"),
        pytest.param(HEAD + b"\r\nbody without a length", {411, 400}, id="Q01 no length, but a body"),
        pytest.param(HEAD + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", {400}, id="Q02 twice"),
        pytest.param(HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", {400}, id="Q02 contradictory"),
        pytest.param(HEAD + b"Content-Length: -1\r\n\r\n", {400}, id="Q03 negative"),
        pytest.param(HEAD + b"Content-Length: ten\r\n\r\n", {400}, id="Q04 not a number"),
        pytest.param(HEAD + b"Content-Length: 0x10\r\n\r\n", {400}, id="Q04 hexadecimal"),
        pytest.param(HEAD + b"Content-Length: 1, 1\r\n\r\nx", {400}, id="Q04 list"),
        pytest.param(HEAD + b"Content-Length: %d\r\n\r\n" % 2**63, {400, 413}, id="Q05 2^63"),
        pytest.param(HEAD + b"Content-Length: %d\r\n\r\n" % 2**64, {400}, id="Q05 2^64"),
        pytest.param(HEAD + b"Content-Length: 2\r\n\r\nxx more of it", {400}, id="Q06 shorter than the body"),
        pytest.param(
            HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\n\r\n",
            {400},
            id="Q24 length and chunks",
        ),
        pytest.param(
            HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            {400},
            id="Q24 chunks and length",
        ),
        pytest.param(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", {400}, id="Q24 two codings"),
        pytest.param(HEAD + b"Transfer-Encoding: identity\r\n\r\n", {400, 411}, id="Q24 another coding"),
        pytest.param(HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", {400}, id="Q24 space before the colon"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", {400}, id="Q24 chunk without a size"),
        pytest.param(HEAD + b"X: a\r\n b\r\nContent-Length: 1\r\n\r\nx", {400}, id="Q24 folded header"),
        pytest.param(HEAD + b"X: a\rb\r\nContent-Length: 1\r\n\r\nx", {400}, id="Q24 CR in a header"),
        pytest.param(HEAD + b"X: a\0b\r\nContent-Length: 1\r\n\r\nx", {400}, id="Q24 NUL in a header"),
        pytest.param(b"hello\r\n\r\n", {400}, id="not HTTP"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400}, id="TLS"),
        pytest.param(b"GET / HTTP/3.7\r\nHost: here\r\n\r\n", {400}, id="another version"),
        pytest.param(b"CONNECT here:80 HTTP/1.1\r\nHost: here\r\n\r\n", {400}, id="CONNECT"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400}, id="HTTP/2"),
    ],
)
def test_malformed_requests_are_refused_and_the_connection_closed(
    service: Service, request_: bytes, statuses: set[int]
) -> None:
    answer = service.raw(request_)
    assert status_of(answer) in statuses
    assert b'{"error":' in answer
    assert b"x-request-id: " in answer
    assert b"x-content-type-options: nosniff" in answer
    assert answer.lower().count(b"http/1.1 ") == 1


@pytest.mark.parametrize("host", ["a/b", "a?b", "a b", "a@b", "a,b", "a#b", "", "[::1", "a:b", "a:1:2", "é", "a\\b"])
def test_q21_a_host_that_is_none_is_refused(service: Service, host: str) -> None:
    answer = service.raw(f"GET /v2 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert status_of(answer) == 400


@pytest.mark.parametrize("headers", ["", "Host: a\r\nHost: b\r\n", "Host: a\r\nHost: a\r\n"])
def test_there_is_exactly_one_host(service: Service, headers: str) -> None:
    assert status_of(service.raw(f"GET /v2 HTTP/1.1\r\n{headers}Connection: close\r\n\r\n".encode())) == 400


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "[::1]:8080", "model-server.default.svc", "a_b"])
def test_hosts_that_are_some_are_accepted(service: Service, host: str) -> None:
    answer = service.raw(f"GET /v2/health/live HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert status_of(answer) == 200


def test_http_1_0_is_spoken(service: Service) -> None:
    assert status_of(service.raw(b"GET /v2/health/live HTTP/1.0\r\n\r\n")) == 200


def test_requests_may_be_pipelined(service: Service, jpeg: bytes) -> None:
    with service.connect() as connection:
        connection.sendall(posted("/predict", jpeg) + posted("/predict?top=1", jpeg) + posted("/nothing", jpeg))
        answers = connection.makefile("rb")
        assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
        text = answers.read1(65536)
        while text.count(b"HTTP/1.1") < 2 or not text.endswith(b"}"):
            text += answers.read1(65536)
        assert b"HTTP/1.1 200 OK" in text
        assert b"HTTP/1.1 404 Not Found" in text


def test_a_connection_is_kept_also_after_a_refusal(service: Service, jpeg: bytes) -> None:
    with service.connect() as connection:
        for path, body, status in [
            ("/predict", jpeg, 200),
            ("/predict", b"no picture", 415),
            ("/nothing", jpeg, 404),
            ("/v2", jpeg, 405),
            ("/predict?top=x", jpeg, 400),
            ("/predict", jpeg, 200),
        ]:
            connection.sendall(posted(path, body))
            assert read_answer(connection).status == status


def test_an_upgrade_is_not_taken_up(service: Service, jpeg: bytes) -> None:
    """Clients in Java offer HTTP/2 with every request."""
    for upgrade in ("h2c", "websocket"):
        request = posted("/predict", jpeg, "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {upgrade}")
        with service.connect() as connection:
            for sent in (request, request, request[:-9]):
                connection.sendall(sent)
                if sent == request:
                    assert read_answer(connection).status == 200
            connection.sendall(request[-9:])
            assert read_answer(connection).status == 200


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(service: Service, jpeg: bytes) -> None:
    head, _, body = posted("/predict", jpeg, "Expect: 100-continue").partition(b"\r\n\r\n")
    with service.connect() as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert read_answer(connection).status == 200


def test_a_client_that_waits_is_refused_before_it_sends(service: Service) -> None:
    head = HEAD + b"Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"
    answer = service.raw(head)
    assert status_of(answer) == 413


@many
@given(st.binary(max_size=300))
def test_random_bytes_never_get_anything_but_a_refusal(service: Service, data: bytes) -> None:
    with service.connect() as connection:
        connection.sendall(data + b"\r\n\r\n" * 2)
        connection.shutdown(1)
        try:
            answer = connection.recv(65536)
        except ConnectionResetError:
            return
    assert not answer or status_of(answer) in {400, 404, 405, 411}


@many
@given(st.binary(max_size=2000))
def test_random_bodies_are_no_pictures(service: Service, data: bytes) -> None:
    assert service.request("POST", "/predict", data).status in {415, 422}


@pytest.mark.parametrize("path", ["/page.js%0A", "/%0A", "/page.js%0D", "/page.js%00"])
def test_an_address_with_a_control_character_is_none(service: Service, path: str) -> None:
    answer = service.request("GET", path)
    assert (answer.status, answer.json) == (404, {"error": "there is nothing at this address"})
    assert "Traceback" not in service.stderr()
