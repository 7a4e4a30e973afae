"""A download that takes up where it stopped, and is believed only when its checksum is right."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from finetune.errors import DataError, ResourceError
from finetune.types import Reporter

_BLOCK = 1 << 20
_TIMEOUT_S = 60.0
_AT_HAND = "or give a copy at hand with --data DIR"


@dataclass(frozen=True)
class Archive:
    """A published file: its name, its size in bytes, its SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str


def fetch(url: str, path: Path, archive: Archive, reporter: Reporter) -> Path:
    """Download ``url`` to ``path`` unless it is there, by way of ``path`` + ``.part``, which a later call resumes.

    Raises ``ResourceError`` when the network fails or the disk is too small, ``DataError`` when what came is
    not what was published.
    """
    if path.is_file():
        return path
    part = path.with_name(path.name + ".part")
    _check_disk(part, archive)
    reporter.begin(f"Downloading {archive.name}", archive.size)
    try:
        _receive(url, part, archive, reporter)
    finally:
        reporter.end()
    _verify(part, archive, url)
    return part.replace(path)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _check_disk(part: Path, archive: Archive) -> None:
    # Twice: the archive, and what is unpacked from it.
    needed, free = 2 * archive.size - _size(part), shutil.disk_usage(part.parent).free
    if free < needed:
        raise ResourceError(
            f"{part.parent} has {free / 1e6:.0f} MB free; {archive.name} needs {needed / 1e6:.0f} MB to download and "
            f"unpack. Free space there, {_AT_HAND}."
        )


def _receive(url: str, part: Path, archive: Archive, reporter: Reporter) -> None:
    have = _size(part)
    if have < archive.size:
        have = _receive_rest(url, part, have, reporter)
    else:
        reporter.advance(have)
    if have < archive.size:
        raise _broken_off(url, f"the connection ended after {have:,} of {archive.size:,} bytes")


def _receive_rest(url: str, part: Path, have: int, reporter: Reporter) -> int:
    """Append what is missing to ``part``; return its size in bytes."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            # A server that ignores Range answers 200 and sends everything again.
            resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
            reporter.advance(have if resumed else 0)
            with part.open("ab" if resumed else "wb") as file:
                for block in _blocks(response, url):
                    file.write(block)
                    reporter.advance(len(block))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()  # the server's file ends before ours does: begin anew next time
        raise _broken_off(url, f"the server answered {error.code} {error.reason}") from error
    except (urllib.error.URLError, http.client.HTTPException) as error:
        raise _broken_off(url, str(getattr(error, "reason", error))) from error
    return _size(part)


def _blocks(response: BinaryIO, url: str) -> Iterator[bytes]:
    # Reading is apart from writing: here an OSError means the network, there the disk.
    try:
        while block := response.read(_BLOCK):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise _broken_off(url, str(error)) from error


def _broken_off(url: str, why: str) -> ResourceError:
    return ResourceError(f"Cannot download {url}: {why}. Run the same command again to go on, {_AT_HAND}.")


def _verify(part: Path, archive: Archive, url: str) -> None:
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != archive.sha256:
        size = _size(part)
        part.unlink()
        raise DataError(
            f"{url} is not the published {archive.name}: expected {archive.size:,} bytes with SHA-256 "
            f"{archive.sha256}, got {size:,} bytes with {digest}; removed. Run the same command again, {_AT_HAND}."
        )
