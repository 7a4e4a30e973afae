"""Published weights that cannot be had: one line that says why, and which file belongs where."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import socket
from pathlib import Path

import pytest

from finetune import download
from finetune.errors import ModelError, ResourceError
from finetune.networks.published import obtain
from finetune.reporting import SILENT
from finetune.testing.published import Published

from .conftest import BEHIND, CONTENT, NAME, REFUSED, SHA256, Obtain, backbone_at, left, refusal, weights_of


def test_other_bytes_than_the_published_are_removed(get: Obtain, place: Path, published: Published) -> None:
    published.files[NAME] = b"<html>Please log in to this hotel's network.</html>"

    got = hashlib.sha256(published.files[NAME]).hexdigest()
    assert refusal(get, ModelError) == (
        f"Pretrained weights of 'tiny': {published.url}/{NAME} is not the published {NAME}: expected SHA-256 "
        f"{SHA256[:8]}…, got 51 bytes with {got}; removed. Run the same command again, or put a copy at "
        f"{place}{BEHIND}"
    )
    assert left(place) == []


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_is_not_there_is_not_worth_another_try(
    place: Path, status: int, get: Obtain, published: Published
) -> None:
    published.status = status

    text = refusal(get, ResourceError)
    assert text.startswith(f"{REFUSED}{published.url}/{NAME}: the server answered {status} ")
    assert text.endswith(f". Put a copy at {place}{BEHIND}")
    assert (len(published.asked), left(place)) == (1, [])


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_cannot_now_is_worth_another_try(
    part: Path, place: Path, status: int, get: Obtain, published: Published
) -> None:
    part.write_bytes(CONTENT[:1000])
    published.status = status

    text = refusal(get, ResourceError)
    assert text.startswith(f"{REFUSED}{published.url}/{NAME}: the server answered {status} ")
    assert ". Run the same command again to go on, or put a copy at " in text
    assert (len(published.asked), left(place)) == (1, [f"{NAME}.part"])


def test_offline_the_message_says_which_file_belongs_where(place: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        there = backbone_at(f"http://127.0.0.1:{closed.getsockname()[1]}/models/{NAME}")

    text = refusal(lambda: obtain(there, weights_of(there), SILENT), ResourceError)
    assert text.startswith(f"{REFUSED}{weights_of(there).url}: [Errno ")
    assert "] Connection refused. Run the same command again to go on, or " in text
    assert text.endswith(f"put a copy at {place}{BEHIND}")
    assert left(place) == []


def test_a_server_that_never_answers_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        there = backbone_at(f"http://127.0.0.1:{silent.getsockname()[1]}/{NAME}")
        text = refusal(lambda: obtain(there, weights_of(there), SILENT), ResourceError)

    assert text.startswith(f"{REFUSED}{weights_of(there).url}: timed out. Run the same command again to go on, or put")


def test_a_disk_that_is_too_small_for_what_the_server_announces_is_said_before_anything_is_written(
    get: Obtain, place: Path, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000_000}))
    published.files[NAME] = bytes(3_000_000)

    assert refusal(get, ResourceError) == (
        f"Pretrained weights of 'tiny': {place.parent} has 1 MB free; {NAME} needs 3 MB to download. Free space "
        f"there, or put a copy at {place}{BEHIND}"
    )
    assert left(place) == []


def test_more_than_the_parameters_can_take_is_refused(get: Obtain, place: Path, published: Published) -> None:
    published.files[NAME] = bytes(64 * 2**20 + 9)  # the backbone has one parameter

    assert "expected at most 67,108,872 bytes, the server announces 67,108,873; removed." in refusal(get, ModelError)
    assert left(place) == []


def test_where_another_process_downloads_it_is_waited_for(get: Obtain, part: Path, published: Published) -> None:
    part.write_bytes(CONTENT[:1000])
    with part.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        text = f"Another run is downloading {part}. Wait for it, then run again."
        assert refusal(get, ResourceError) == f"Pretrained weights of 'tiny': {text}"

    assert published.asked == []
    assert get()[0].read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_is_named(get: Obtain, finetune_caches: Path) -> None:
    finetune_caches.write_text("in the way")

    text = refusal(get, ResourceError)
    assert text.startswith(f"Pretrained weights of 'tiny': Cannot write to {finetune_caches}")
    assert text.endswith("Check space and permissions there, then run again.")
