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
import re
import shutil
import sys
import tarfile
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
from finetune.whole_folders import reading, whole_folder, writing_to

if sys.platform != "win32":
    import fcntl

__all__ = [
    "Archive",
    "difference",
    "download_folder",
    "fetch",
    "mirror",
    "reading",
    "unpack",
    "unpack_folder",
    "whole_folder",
    "writing_to",
]

_BLOCK = 1 << 20
_LOOK_EVERY = 64 << 20
"""So many bytes may come before the room on the disk is looked at again."""
_TIMEOUT_S = 60.0
_LATER = (http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_MANY_REQUESTS)
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError)
_NOT_FOR_US = (NotImplementedError, RuntimeError, UnicodeError)  # zipfile's for odd compression, a password, odd names


@dataclass(frozen=True)
class Archive:
    """A published file: its name, its size in bytes, its SHA-256 in hexadecimal.

    Of what its publisher does not state, a ``size`` of 0 is what the server says, and of ``sha256`` the first digits
    suffice. ``unpacked`` is the room in bytes that its content takes in the end; 0 counts as its size again, None
    stands for a file that stays as it is. ``otherwise`` says what else a user may do who cannot download it. ``most``
    bounds, in bytes, a file whose size is not stated; 0 does not.
    """

    name: str
    size: int
    sha256: str
    unpacked: int | None = 0
    otherwise: str = "give a copy at hand with --data DIR"
    most: int = 0


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
    if _is_there(path, archive):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with _claimed(path.with_name(path.name + ".part")) as file:
        if _is_there(path, archive):  # another process was faster
            return path
        if path.is_file():
            reporter.note(f"{path} is not what is published now, and is downloaded anew.")
            path.unlink()
        if difference(Path(file.name), archive):  # else a process ended between its last byte and the name
            _receive(url, file, archive, reporter, attempts)
        return _named(url, file, path, archive)


def _is_there(path: Path, archive: Archive) -> bool:
    return path.is_file() and not difference(path, archive)


def _named(url: str, file: BinaryIO, path: Path, archive: Archive) -> Path:
    """Give a partial file its name while it is claimed: nobody else goes on with it, then or later."""
    part = Path(file.name)
    if problem := difference(part, archive):
        raise _other(url, file, problem, archive)
    if sys.platform == "win32":
        file.close()  # an open file keeps its name there
    return part.replace(path)


def difference(path: Path, archive: Archive) -> str:
    """Return how the file differs from what was published, '' if it is the same; raise ``DataError`` if unreadable."""
    with reading(path), path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if archive.sha256 and digest.startswith(archive.sha256):
        return ""
    got = path.stat().st_size
    most = f"at most {archive.most:,} bytes with " if 0 < archive.most < got else ""
    size = f"{archive.size:,} bytes with " if archive.size else most
    stated = f"SHA-256 {archive.sha256}" + "…" * (len(archive.sha256) < len(digest))
    return f"expected {size}{stated}, got {got:,} bytes with {digest}"


@contextlib.contextmanager
def _claimed(part: Path) -> Iterator[BinaryIO]:
    """Open a partial file to append to, for this process alone; one that stays empty is not left behind."""
    with _claim(part) as file:
        try:
            yield file
        finally:
            if not file.closed and not file.tell():
                part.unlink(missing_ok=True)


def _claim(part: Path) -> BinaryIO:
    """Refuse to write where another process does; the claim ends with the process, however that ends."""
    while True:
        file = part.open("ab")
        try:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), part.stat()):
                return file
        except FileNotFoundError:  # as in any other case here: who had claimed it gave it its name, or removed it
            pass
        except BlockingIOError as error:
            file.close()
            raise ResourceError(f"Another run is downloading {part}. Wait for it, then run again.") from error
        file.close()


def _receive(url: str, file: BinaryIO, archive: Archive, reporter: Reporter, attempts: int) -> None:
    """Append what is missing to ``file``, over several connections if they are cut and each brings something."""
    _check_disk(file, archive, archive.size)
    try:
        for left in reversed(range(attempts)):
            have = file.tell()
            reporter.begin(f"Downloading {archive.name}", archive.size or None, "bytes")
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
        have = _begin(url, response, file, archive)
        size = archive.size or _stated_size(response, have)
        if 0 < archive.most < size:
            problem = f"expected at most {archive.most:,} bytes, the server announces {size:,}"
            raise _other(url, file, problem, archive)
        if size and not archive.size:
            _check_disk(file, archive, size)
            reporter.begin(f"Downloading {archive.name} ({size / 1e6:.1f} MB)", size, "bytes")
        reporter.advance(have)
        _keep(_blocks(response, have, size), file, archive, size, reporter)
        if not file.tell():
            raise _failed(url, "the server sent nothing", archive)


def _begin(url: str, response: http.client.HTTPResponse, file: BinaryIO, archive: Archive) -> int:
    """Return how many bytes of the file come before what the server sends; unless it is the rest, they are removed."""
    have = file.tell()
    is_part = response.status == http.HTTPStatus.PARTIAL_CONTENT
    span = response.headers.get("Content-Range") or ""
    if is_part and span.startswith(f"bytes {have}-"):
        return have
    _empty(file)  # a server that ignores Range answers 200 and sends everything again
    if is_part and not span.startswith("bytes 0-"):
        raise _failed(url, "the server sent another part of it than was asked for", archive)
    return 0


def _keep(blocks: Iterator[bytes], file: BinaryIO, archive: Archive, size: int, reporter: Reporter) -> None:
    """Write what comes, as long as there is room for it and it can be what was published."""
    most, look_at = size or archive.most, file.tell() + _LOOK_EVERY
    for block in blocks:
        file.write(block)
        file.flush()
        reporter.advance(len(block))
        have = file.tell()
        if 0 < most < have:  # not what was published, and who knows how long it goes on
            break
        if have >= look_at:
            look_at = have + _LOOK_EVERY
            _check_disk(file, archive, size or look_at)


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
    return have + int(length) if re.fullmatch(r"[0-9]{1,15}", length) else 0  # a longer one is nobody's file


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


def _other(url: str, file: BinaryIO, problem: str, archive: Archive) -> DataError:
    _empty(file)  # and so it is not left behind
    return DataError(f"{url} is not the published {archive.name}: {problem}; removed. {_again(archive)}")


def _again(archive: Archive) -> str:
    return f"Run the same command again, or {archive.otherwise}."
