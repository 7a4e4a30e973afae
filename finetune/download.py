"""For data set plugins: a published archive becomes a folder, resumable, believed only with the right checksum.

    DOGS = Archive("dogs.tar.gz", size=793_579_520, sha256="a443fc2f…")
    folder = download_folder(request.cache / "dogs", "https://example.org/data", (DOGS,), request.reporter)

``download_folder`` is all that most plugins need; its parts are here for the others. Light: only the standard library.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import lzma
import os
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from finetune.errors import ConfigError, DataError, ResourceError
from finetune.types import Reporter

if sys.platform != "win32":
    import fcntl

_BLOCK = 1 << 20
_TIMEOUT_S = 60.0
_ABANDONED_AFTER_S = 86_400.0
_LATER = (http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_MANY_REQUESTS)
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError)
_NOT_FOR_US = (NotImplementedError, RuntimeError, UnicodeError)  # zipfile's for odd compression, a password, odd names


@dataclass(frozen=True)
class Archive:
    """A published file: its name, its size in bytes, its SHA-256 in hexadecimal.

    Of what its publisher does not state, a ``size`` of 0 is what the server says, and of ``sha256`` the first digits
    suffice. ``unpacked`` is the room in bytes that its content takes in the end; 0 counts as its size again, None
    stands for a file that stays as it is. ``otherwise`` says what else a user may do who cannot download it.
    """

    name: str
    size: int
    sha256: str
    unpacked: int | None = 0
    otherwise: str = "give a copy at hand with --data DIR"


def download_folder(
    folder: Path,
    base_url: str,
    archives: Sequence[Archive],
    reporter: Reporter,
    finish: Callable[[Path], None] | None = None,
) -> Path:
    """Return ``folder`` with the content of the archives, downloaded from ``base_url``/name unless it is there.

    ``finish`` may change the unpacked folder before it gets its name. What was downloaded lies beside ``folder``
    until then, so that a later call goes on where this one stopped. Raises ``ResourceError`` when network or disk
    fail, ``DataError`` when what came is not what was published.
    """
    if folder.is_dir():
        return folder
    with writing_to(folder.parent):
        files = [fetch(f"{base_url}/{a.name}", folder.parent / a.name, a, reporter) for a in archives]
        try:
            unpack_folder(folder, files, reporter, finish)
        except DataError as error:
            for file in files:
                file.unlink(missing_ok=True)
            raise DataError(f"{error} The download was removed. {_again(archives[0])}") from error
        for file in files:
            file.unlink(missing_ok=True)
    return folder


def unpack_folder(
    folder: Path, files: Sequence[Path], reporter: Reporter, finish: Callable[[Path], None] | None = None
) -> Path:
    """Return ``folder`` with the content of the archives, which stay, unless it is there; raise as ``unpack`` does."""
    if folder.is_dir():
        return folder
    with writing_to(folder.parent), whole_folder(folder) as unfinished:
        for file in files:
            reporter.begin(f"Unpacking {file.name}")
            unpack(file, unfinished)
            reporter.end()
        if finish:
            finish(unfinished)
    return folder


def mirror(variable: str, url: str) -> str:
    """Return the address in the environment variable, or else ``url``; raise ``ConfigError`` if it is not http(s)."""
    given = os.environ.get(variable, url).rstrip("/")
    if not given.startswith(("http://", "https://")):
        raise ConfigError(f"{variable} '{given}' is not allowed; give an address that starts with http:// or https://.")
    return given


# ── folders that are whole or not there ─────────────────────────────────────────────────────────────


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside ``folder`` to fill, which takes its name when the block ends without an error.

    So the name never stands for half a set. Of two processes, the second leaves what the first has made. What killed
    processes have left is swept away when nothing in it has changed for a day.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)  # mkdtemp made it for this user only
        _rename(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _rename(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.replace(folder)
    except OSError:
        if not folder.is_dir():  # else another process was first
            raise


def _sweep(folder: Path) -> None:
    for old in folder.parent.glob(f".{folder.name}-*"):
        with contextlib.suppress(OSError):  # it changes while it is looked at, and so is not abandoned
            changed = max(path.lstat().st_mtime for path in (old, *old.rglob("*")))  # old's own misses what is below
            if time.time() - changed > _ABANDONED_AFTER_S:
                shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn an ``OSError`` of the block into a ``ResourceError`` that names ``folder``."""
    try:
        yield
    except OSError as error:
        cause = f"Cannot write to {folder}: {error.strerror or error}."
        raise ResourceError(f"{cause} Check space and permissions there, then run again.") from error


@contextlib.contextmanager
def reading(file: Path) -> Iterator[None]:
    """Turn an ``OSError`` of the block into a ``DataError`` that names ``file``."""
    try:
        yield
    except OSError as error:
        cause = f"Cannot read {file}: {error.strerror or error}."
        raise DataError(f"{cause} Check it and its permissions, then run again.") from error


# ── unpacking ───────────────────────────────────────────────────────────────────────────────────────


def unpack(file: Path, folder: Path) -> None:
    """Unpack a ``.zip`` or a tar file, compressed or not, into ``folder``.

    Raises ``DataError`` for an archive that cannot be read, is damaged, or would write outside of ``folder``, and
    ``OSError`` where ``folder`` cannot be written.
    """
    kind = "zip" if file.suffix.lower() == ".zip" else "tar"
    with reading(file):
        source = io.BufferedReader(_Source(file))
    try:
        with source:
            (_unzip if kind == "zip" else _untar)(source, folder)
    except (*_DAMAGED, *_NOT_FOR_US, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's; bz2's and gzip's for damage have no number
        cause = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{file} is not a whole {kind} file ({cause}).") from error


class _Source(io.FileIO):
    # Reading is apart from writing: here an OSError means the archive, there the disk.
    def readinto(self, buffer: Any) -> int:
        with reading(Path(str(self.name))):
            return super().readinto(buffer)


def _untar(file: BinaryIO, folder: Path) -> None:
    with tarfile.open(fileobj=file) as archive:
        archive.extractall(folder, filter="data")


def _unzip(file: BinaryIO, folder: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            path = PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts:
                raise zipfile.BadZipFile(f"'{name}' would lie outside")
        archive.extractall(folder)


# ── downloading ─────────────────────────────────────────────────────────────────────────────────────


def fetch(url: str, path: Path, archive: Archive, reporter: Reporter, attempts: int = 1) -> Path:
    """Download ``url`` to ``path`` unless it is there, by way of ``path`` + ``.part``, which a later call resumes.

    A connection that is cut is taken up at once while there are ``attempts`` left and each brought something. A file
    that is there, but of another publication, is removed. Raises ``ResourceError`` when the network fails or the disk
    is too small, ``DataError`` when what came is not what was published; that is removed, too.
    """
    if path.is_file():
        if not difference(path, archive):
            return path
        reporter.note(f"{path} is not what is published now, and is downloaded anew.")
        path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with _claimed(part) as file:
        if difference(part, archive):  # else a process ended between its last byte and the name
            _receive(url, file, archive, reporter, attempts)
            file.flush()
        problem = difference(part, archive)
    if problem:
        part.unlink()
        raise DataError(f"{url} is not the published {archive.name}: {problem}; removed. {_again(archive)}")
    return part.replace(path)


def difference(path: Path, archive: Archive) -> str:
    """Return how the file differs from what was published, '' if it is the same; raise ``DataError`` if unreadable."""
    with reading(path), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if archive.sha256 and digest.startswith(archive.sha256):
        return ""
    size = f"{archive.size:,} bytes with " if archive.size else ""
    stated = f"SHA-256 {archive.sha256}" + "…" * (len(archive.sha256) < len(digest))
    return f"expected {size}{stated}, got {path.stat().st_size:,} bytes with {digest}"


@contextlib.contextmanager
def _claimed(part: Path) -> Iterator[BinaryIO]:
    """Open a partial file to append to, for this process alone; one that stays empty is not left behind."""
    with part.open("ab") as file:
        _claim(file, part)
        try:
            yield file
        finally:
            if not file.tell():
                part.unlink(missing_ok=True)


def _claim(file: BinaryIO, part: Path) -> None:
    """Refuse to write where another process does; the claim ends with the process, however that ends."""
    try:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ResourceError(f"Another run is downloading {part}. Wait for it, then run again.") from error


def _receive(url: str, file: BinaryIO, archive: Archive, reporter: Reporter, attempts: int) -> None:
    """Append what is missing to ``file``, over several connections if they are cut and each brings something."""
    _check_disk(file, archive, archive.size)
    try:
        for left in reversed(range(attempts)):
            have = file.tell()
            reporter.begin(f"Downloading {archive.name}", archive.size or None)
            try:
                return _receive_rest(url, file, archive, reporter)
            except _CutError as error:
                if not left or file.tell() <= have:
                    raise _failed(url, str(error), archive) from error
                reporter.note(f"{url}: {error}; asking for the rest.")
    finally:
        reporter.end()


def _receive_rest(url: str, file: BinaryIO, archive: Archive, reporter: Reporter) -> None:
    with _opened(url, file, archive) as response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            _empty(file)  # a server that ignores Range answers 200 and sends everything again
        have = file.tell()
        size = archive.size or _stated_size(response, have)
        if size and not archive.size:
            _check_disk(file, archive, size)
            reporter.begin(f"Downloading {archive.name} ({size / 1e6:.1f} MB)", size)
        reporter.advance(have)
        for block in _blocks(response, have, size):
            have += file.write(block)
            reporter.advance(len(block))
            if size and have > size:  # not what was published, and who knows how long it goes on
                break


def _opened(url: str, file: BinaryIO, archive: Archive) -> http.client.HTTPResponse:
    """Ask for what is missing; a partial file that the server's ends before is emptied, and asked for anew."""
    have = file.tell()
    request = urllib.request.Request(url, headers={"User-Agent": "finetune"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        return cast(http.client.HTTPResponse, urllib.request.urlopen(request, timeout=_TIMEOUT_S))
    except urllib.error.HTTPError as error:
        error.close()
        if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            _empty(file)
            return _opened(url, file, archive)
        raise _refused(url, error, archive) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _failed(url, str(getattr(error, "reason", error)), archive) from error


def _empty(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _stated_size(response: http.client.HTTPResponse, have: int) -> int:
    """Return the size in bytes of the whole file, as the server says it; 0 if it does not."""
    length = response.headers.get("Content-Length") or ""
    return have + int(length) if length.isdecimal() else 0


def _check_disk(file: BinaryIO, archive: Archive, size: int) -> None:
    folder = Path(file.name).parent
    unpacked, what = (0, "download") if archive.unpacked is None else (archive.unpacked or size, "download and unpack")
    needed, free = size + unpacked - file.tell(), shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            f"{folder} has {free / 1e6:.0f} MB free; {archive.name} needs {needed / 1e6:.0f} MB to {what}. "
            f"Free space there, or {archive.otherwise}."
        )


class _CutError(Exception):
    """The connection ended before the file did; says after how many bytes of how many."""


def _blocks(response: http.client.HTTPResponse, have: int, size: int) -> Iterator[bytes]:
    # Reading is apart from writing: here an OSError means the network, there the disk.
    why = ""
    try:
        while block := response.read1(_BLOCK):  # as it comes: a process that is killed has kept it
            have += len(block)
            yield block
    except (OSError, http.client.HTTPException) as error:
        why = f" ({error})"
    if why or have < size:
        raise _CutError(f"the connection ended after {have:,}{f' of {size:,}' if size else ''} bytes{why}")


def _refused(url: str, error: urllib.error.HTTPError, archive: Archive) -> ResourceError:
    why = f"the server answered {error.code} {error.reason}"
    if error.code < http.HTTPStatus.INTERNAL_SERVER_ERROR and error.code not in _LATER:
        otherwise = archive.otherwise[0].upper() + archive.otherwise[1:]
        return ResourceError(f"Cannot download {url}: {why}. {otherwise}.")
    return _failed(url, why, archive)


def _failed(url: str, why: str, archive: Archive) -> ResourceError:
    return ResourceError(f"Cannot download {url}: {why}. Run the same command again to go on, or {archive.otherwise}.")


def _again(archive: Archive) -> str:
    return f"Run the same command again, or {archive.otherwise}."
