"""Who may ask, and what a browser may do with an answer."""

from __future__ import annotations

import hmac
import itertools
import re
import secrets
from collections.abc import Collection

from finetune_export.service.problems import Problem

Headers = list[tuple[bytes, bytes]]

HEADERS: Headers = [
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
NO_STORE = (b"cache-control", b"no-store")

_PROCESS_ID = secrets.token_hex(6)
_numbers = itertools.count(1)
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def check_host(headers: Headers, http_version: str) -> None:
    """Raise ``Problem`` 400 unless there is exactly one Host header and it holds a name or address, and a port."""
    hosts = [value for name, value in headers if name == b"host"]
    if not hosts and http_version == "1.0":
        return
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        raise Problem(400, "the Host header is not one host name with an optional port")


def check_token(headers: Headers, token: bytes | None, path: str, open_paths: Collection[str]) -> None:
    """Raise ``Problem`` 401 unless the bearer token is right, or is not needed for ``path``."""
    if token is None or path in open_paths:
        return
    given = next((value for name, value in headers if name == b"authorization"), b"")
    scheme, _, credentials = given.partition(b" ")
    if not (scheme.lower() == b"bearer" and hmac.compare_digest(credentials.strip(), token)):
        raise Problem(401, "a valid bearer token is needed", {"WWW-Authenticate": "Bearer"})


def new_request_id() -> str:
    """Return a request id that no other process and no other request has."""
    return f"{_PROCESS_ID}-{next(_numbers):x}"


def given_request_id(headers: Headers) -> str | None:
    """Return the client's request id, if it has sent one that is safe to repeat."""
    value = next((value for name, value in headers if name == b"x-request-id"), b"")
    return value.decode("ascii") if _REQUEST_ID.fullmatch(value) else None
