"""A connection that is kept: what an early refusal leaves on it does not harm the next request."""

from __future__ import annotations

import pytest

from .conftest import Service, posted, read_answer


@pytest.mark.parametrize("late_bytes", [1, 66_000, 300_000])
def test_the_rest_of_a_refused_body_counts_for_no_header(service: Service, late_bytes: int) -> None:
    request = posted("/nope", b"x" * 400_000)
    with service.connect() as connection:
        for _ in range(3):
            connection.sendall(request[:-late_bytes])
            assert read_answer(connection).status == 404
            connection.sendall(request[-late_bytes:])
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: here\r\n\r\n")
        assert read_answer(connection).status == 200
