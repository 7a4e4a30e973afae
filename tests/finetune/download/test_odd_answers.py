"""Answers that no publisher means: empty, endless, of another part; and two processes at one file."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.server
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune import download
from finetune.download import Archive, fetch
from finetune.errors import DataError, ResourceError
from finetune.testing.published import Published
from finetune.types import Reporter

CONTENT = hashlib.shake_256(b"a file").digest(5000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()

Get = Callable[..., Path]


@pytest.fixture
def get(published: Published, reporter: Reporter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Get:
    """Fetch a file of unstated size from a server that answers with these bytes, the last of them without end."""

    def get(*raw: bytes, is_endless: bool = False, most: int = 0) -> Path:
        def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
            with contextlib.suppress(ConnectionError):
                handler.wfile.write(b"".join(raw))
                while is_endless:
                    handler.wfile.write(raw[-1])

        monkeypatch.setattr(published, "answer", answer)
        archive = Archive("a.bin", 0, SHA256, unpacked=None, most=most)
        return fetch(f"{published.url}/a.bin", tmp_path / "a.bin", archive, reporter)

    return get


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "a.bin.part"


# ── nothing, and without end ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("head", ["204 No Content", "200 OK", "200 OK\r\nContent-Length: 0"], ids=["204", "200", "0"])
def test_an_empty_answer_is_a_failed_download(head: str, get: Get, names_in: Any, tmp_path: Path) -> None:
    text = r"a\.bin: the server sent nothing\. Run the same command again to go on, or give a copy at hand with --data"
    with pytest.raises(ResourceError, match=text):
        get(f"HTTP/1.0 {head}\r\n\r\n".encode())
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("length", [b"9" * 5000, b"9" * 400, b"9" * 16, b"-5", b"\xb3"], ids=range(5))
def test_a_length_that_is_no_length_is_not_heeded(length: bytes, get: Get) -> None:
    head = b"HTTP/1.0 200 OK\r\nContent-Length: " + length + b"\r\n\r\n"
    assert get(head, CONTENT).read_bytes() == CONTENT


def test_an_answer_without_end_is_bounded_and_removed(get: Get, names_in: Any, tmp_path: Path) -> None:
    chunk = b"3e8\r\n" + bytes(1000) + b"\r\n"
    text = (
        rf"expected at most 10,000 bytes with SHA-256 {SHA256}, got .*; removed\. Run the same command again, or give"
    )
    with pytest.raises(DataError, match=text):
        get(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk, is_endless=True, most=10_000)
    assert names_in(tmp_path) == []


def test_an_answer_that_is_announced_as_too_long_is_not_listened_to(get: Get, part: Path, names_in: Any) -> None:
    part.write_bytes(CONTENT[:10])
    text = r"expected at most 10,000 bytes, the server announces 20,000; removed\. Run the same"
    with pytest.raises(DataError, match=text):
        get(b"HTTP/1.0 200 OK\r\nContent-Length: 20000\r\n\r\n", most=10_000)
    assert names_in(part.parent) == []


def test_a_disk_that_fills_up_meanwhile_is_said_before_it_is_full(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_LOOK_EVERY", 2_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000_000}))
    with pytest.raises(
        ResourceError, match=r"has 1 MB free; a\.bin needs 2 MB to download\. Free space there, or give"
    ):
        get(b"HTTP/1.0 200 OK\r\n\r\n", bytes(1000), is_endless=True)


# ── another part than was asked for ─────────────────────────────────────────────────────────────────


def part_from(begin: int) -> bytes:
    return f"HTTP/1.0 206 Partial Content\r\nContent-Range: bytes {begin}-4999/5000\r\n\r\n".encode()


@pytest.mark.parametrize("begin", [0, 1000])
def test_a_part_is_put_where_the_server_says(begin: int, get: Get, part: Path) -> None:
    part.write_bytes(CONTENT[:1000])
    assert get(part_from(begin), CONTENT[begin:]).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "head", [part_from(999), part_from(10_000), b"HTTP/1.0 206 Partial Content\r\n\r\n"], ids=range(3)
)
def test_another_part_is_refused_and_the_next_try_begins_anew(head: bytes, get: Get, part: Path, names_in: Any) -> None:
    part.write_bytes(CONTENT[:1000])
    text = (
        r"the server sent another part of it than was asked for\. Run the same command again to go on, or give a copy"
    )
    with pytest.raises(ResourceError, match=text):
        get(head, CONTENT[1000:])
    assert names_in(part.parent) == []
    assert get(b"HTTP/1.0 200 OK\r\n\r\n", CONTENT).read_bytes() == CONTENT


# ── two processes ───────────────────────────────────────────────────────────────────────────────────


def test_a_part_that_another_process_named_just_now_is_not_claimed(
    get: Get, part: Path, names_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    part.write_bytes(CONTENT)
    lock = fcntl.flock

    def late(*claim: Any) -> None:
        if part.stat().st_size:
            part.replace(part.with_suffix(""))
        lock(*claim)

    monkeypatch.setattr(fcntl, "flock", late)
    assert get(b"nothing is asked for").read_bytes() == CONTENT
    assert names_in(part.parent) == ["a.bin"]


def test_a_file_gets_its_name_while_nobody_else_can_claim_it(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def watched(path: Path, target: Path) -> Path:
        with path.open("rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", watched)
    assert get(b"HTTP/1.0 200 OK\r\n\r\n", CONTENT).read_bytes() == CONTENT
