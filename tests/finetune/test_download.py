"""From a server on this machine to a folder: resumed, believed only with the right checksum, whole or not there."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.server
import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune import download
from finetune.download import (
    Archive,
    difference,
    download_folder,
    fetch,
    mirror,
    unpack,
    unpack_folder,
    whole_folder,
    writing_to,
)
from finetune.errors import ConfigError, DataError, ResourceError

CONTENT = {"cats/tom.txt": b"a cat" * 40, "dogs/rex.txt": b"a dog" * 60}


def tar_of(members: dict[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def archive_of(name: str, content: bytes, **facts: int) -> Archive:
    return Archive(name, len(content), hashlib.sha256(content).hexdigest(), **facts)


class Recorder:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.steps = 0

    def note(self, text: str) -> None:
        self.titles.append(text)

    def begin(self, title: str, total: int | None = None) -> None:
        self.titles.append(title)
        self.total = total

    def advance(self, steps: int = 1, detail: str = "") -> None:
        self.steps += steps
        self.detail = detail

    def end(self) -> None:
        self.titles.append("end")


class Server:
    """A small web server: what it offers, which ranges it was asked for, and how it misbehaves."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.hang_up_after: int | None = None
        self.knows_ranges = True
        self.is_silent = False
        self.url = ""

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        name, wanted = handler.path.rsplit("/", 1)[-1], handler.headers.get("Range")
        self.asked.append((name, wanted))
        if self.is_silent:
            handler.close_connection = True
            return
        if name not in self.files:
            handler.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.knows_ranges else 0
        if start >= len(self.files[name]):
            handler.send_error(416)
            return
        body = self.files[name][start:]
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: self.hang_up_after])
        handler.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    there = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there.answer(self)

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        there.url = f"http://127.0.0.1:{listening.server_port}/data"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield there
        listening.shutdown()
        thread.join()


@pytest.fixture
def reporter() -> Recorder:
    return Recorder()


@pytest.fixture
def get(server: Server, reporter: Recorder, tmp_path: Path) -> Callable[..., Path]:
    """Publish a tar file of ``CONTENT`` and download it, from now on with the checksum that it has now."""
    server.files["pets.tar"] = tar_of(CONTENT)
    archive = archive_of("pets.tar", server.files["pets.tar"])

    def download(**options: Any) -> Path:
        return download_folder(tmp_path / "cache" / "pets", server.url, (archive,), reporter, **options)

    return download


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ── downloading ─────────────────────────────────────────────────────────────────────────────────────


def test_a_download_becomes_a_folder_and_the_archive_goes(get, server, reporter, tmp_path):
    folder = get()
    assert files_in(folder) == CONTENT
    assert names_in(tmp_path / "cache") == ["pets"]
    assert reporter.titles == ["Downloading pets.tar", "end", "Unpacking pets.tar", "end"]
    assert reporter.steps == len(server.files["pets.tar"])


def test_what_was_downloaded_is_not_asked_for_again(get, server):
    get()
    get()
    assert server.asked == [("pets.tar", None)]


def test_several_archives_become_one_folder(server, reporter, tmp_path):
    server.files = {"a.tar": tar_of({"a.txt": b"1"}), "b.zip": zip_of({"b.txt": b"2"})}
    archives = [archive_of(name, content) for name, content in server.files.items()]
    folder = download_folder(tmp_path / "both", server.url, archives, reporter)
    assert files_in(folder) == {"a.txt": b"1", "b.txt": b"2"}
    assert names_in(tmp_path) == ["both"]


def test_a_connection_that_breaks_is_taken_up_where_it_broke(get, server, tmp_path):
    server.hang_up_after = 700
    size = len(server.files["pets.tar"])
    with pytest.raises(ResourceError, match=f"the connection ended after 700 of {size:,} bytes. Run the same command"):
        get()
    assert names_in(tmp_path / "cache") == ["pets.tar.part"]
    server.hang_up_after = None
    assert files_in(get()) == CONTENT
    assert server.asked == [("pets.tar", None), ("pets.tar", "bytes=700-")]


def test_a_server_without_ranges_sends_everything_again(get, server):
    server.hang_up_after, server.knows_ranges = 700, False
    with pytest.raises(ResourceError):
        get()
    server.hang_up_after = None
    assert files_in(get()) == CONTENT


def test_a_part_that_is_longer_than_the_servers_file_is_begun_anew(get, server):
    whole, server.hang_up_after = server.files["pets.tar"], 700
    with pytest.raises(ResourceError):
        get()
    server.files["pets.tar"], server.hang_up_after = whole[:500], None
    with pytest.raises(ResourceError, match="the server answered 416"):
        get()
    server.files["pets.tar"] = whole
    assert files_in(get()) == CONTENT


def test_a_part_that_is_whole_already_is_not_asked_for(get, server, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "pets.tar.part").write_bytes(server.files["pets.tar"])
    assert files_in(get()) == CONTENT
    assert server.asked == []


def test_a_wrong_checksum_is_refused_and_the_file_removed(get, server, tmp_path):
    expected = hashlib.sha256(server.files["pets.tar"]).hexdigest()
    server.files["pets.tar"] = bytes(len(server.files["pets.tar"]))
    with pytest.raises(DataError) as caught:
        get()
    text = str(caught.value)
    assert f"SHA-256 {expected}" in text
    assert hashlib.sha256(server.files["pets.tar"]).hexdigest() in text
    assert "removed. Run the same command again, or give a copy at hand with --data DIR." in text
    assert "\n" not in text
    assert names_in(tmp_path / "cache") == []


def test_a_file_that_is_longer_than_published_is_refused(get, server):
    server.files["pets.tar"] += b"more"
    with pytest.raises(DataError, match=r"is not the published pets\.tar"):
        get()


def test_of_a_file_without_end_no_more_is_kept_than_one_block_too_much(get, server, monkeypatch, tmp_path):
    monkeypatch.setattr(download, "_BLOCK", 1000)
    size = len(server.files["pets.tar"])
    server.files["pets.tar"] += bytes(100 * size)
    with pytest.raises(DataError) as caught:
        get()
    got = int(str(caught.value).split("got ")[1].split(" bytes")[0].replace(",", ""))
    assert size < got <= size + 1000


def test_where_another_process_downloads_nothing_is_written(get, server, tmp_path):
    (tmp_path / "cache").mkdir()
    part = tmp_path / "cache" / "pets.tar.part"
    with part.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(
            ResourceError, match=r"Another run is downloading .*pets\.tar\.part\. Wait for it, then run"
        ):
            get()
    assert server.asked == []
    assert files_in(get()) == CONTENT


def test_a_missing_file_names_address_status_and_remedy(get, server):
    server.files.clear()
    with pytest.raises(ResourceError, match=r"pets\.tar: the server answered 404 Not Found\. Run .* --data DIR\."):
        get()


def test_a_server_that_hangs_up_without_an_answer_is_the_networks_fault(get, server):
    server.is_silent = True
    with pytest.raises(ResourceError, match=r"Cannot download http://.*/pets\.tar: .* Run the same command again"):
        get()


def test_a_refused_connection_is_one_line(reporter, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ResourceError, match=r"Cannot download .*refused.* Run the same command again") as caught:
            fetch(url, tmp_path / "a.tar", archive_of("a.tar", b"abc"), reporter)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("unpacked", "needed"), [(0, 2), (4_000_000, 5)])
def test_a_full_disk_is_said_before_the_download(unpacked, needed, server, reporter, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000_000}))
    archive = archive_of("big.tar", bytes(1_000_000), unpacked=unpacked)
    with pytest.raises(ResourceError, match=rf"has 1 MB free; big\.tar needs {needed} MB to download and unpack\."):
        fetch(f"{server.url}/big.tar", tmp_path / "big.tar", archive, reporter)
    assert server.asked == []


def test_a_cache_that_is_a_file_is_refused_in_one_line(get, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(ResourceError, match=r"Cannot write to .*cache: File exists\. Check space and permissions"):
        get()


def test_a_checked_archive_that_cannot_be_unpacked_is_removed(server, reporter, tmp_path):
    server.files["odd.tar"] = b"not a tar file at all" * 100
    archive = archive_of("odd.tar", server.files["odd.tar"])
    with pytest.raises(DataError, match=r"odd\.tar is not a whole tar file .* The download was removed\. Run the same"):
        download_folder(tmp_path / "odd", server.url, (archive,), reporter)
    assert names_in(tmp_path) == []


def test_what_is_made_of_the_content_is_there_before_the_name_is(get, tmp_path):
    def shout(folder: Path) -> None:
        assert not (tmp_path / "cache" / "pets").exists()
        (folder / "loud.txt").write_bytes((folder / "cats" / "tom.txt").read_bytes().upper())

    assert (get(finish=shout) / "loud.txt").read_bytes() == CONTENT["cats/tom.txt"].upper()


def test_an_interruption_while_unpacking_leaves_the_download_and_no_folder(get, server, tmp_path):
    def interrupted(folder: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(finish=interrupted)
    assert names_in(tmp_path / "cache") == ["pets.tar"]
    assert files_in(get()) == CONTENT
    assert len(server.asked) == 1


# ── archives ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.zip", zip_of(CONTENT)),
        ("a.ZIP", zip_of(CONTENT)),
        ("a.tar", tar_of(CONTENT)),
        ("a.tar.gz", tar_of(CONTENT, "w:gz")),
        ("a.tgz", tar_of(CONTENT, "w:gz")),
        ("a.tar.xz", tar_of(CONTENT, "w:xz")),
    ],
)
def test_every_usual_kind_of_archive_is_unpacked(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    unpack(tmp_path / name, tmp_path / "out")
    assert files_in(tmp_path / "out") == CONTENT


BROKEN = {
    "empty.zip": b"",
    "text.zip": b"no archive",
    "cut.zip": zip_of(CONTENT)[:-30],
    "flipped.zip": zip_of(CONTENT).replace(b"tom.txt", b"tim.txt", 1),
    "text.tar": b"no archive" * 100,
    "cut.tar": tar_of(CONTENT)[:700],
    "cut.tar.gz": tar_of(CONTENT, "w:gz")[:60],
    "flipped.tar.gz": tar_of(CONTENT, "w:gz")[:40] + bytes(60),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_archive_is_refused_in_one_line(name, tmp_path):
    (tmp_path / name).write_bytes(BROKEN[name])
    kind = "zip" if name.endswith("zip") else "tar"
    with pytest.raises(DataError, match=rf"{name} is not a whole {kind} file \(.+\)\.$") as caught:
        unpack(tmp_path / name, tmp_path / "out")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("member", ["../escaped", "a/../../escaped", "{tmp}/escaped", "..\\escaped"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_nothing_is_written_outside(kind, member, tmp_path):
    (tmp_path / f"bad.{kind}").write_bytes({"zip": zip_of, "tar": tar_of}[kind]({member.format(tmp=tmp_path): b"!"}))
    inside = tmp_path / "deep" / "out"
    inside.mkdir(parents=True)
    with contextlib.suppress(DataError):  # on Linux "..\\escaped" is a name like any other for tar
        unpack(tmp_path / f"bad.{kind}", inside)
    assert not [path for path in tmp_path.rglob("*escaped") if not path.is_relative_to(inside)]


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    with tarfile.open(tmp_path / "link.tar", "w") as archive:
        link = tarfile.TarInfo("shortcut")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    with pytest.raises(DataError, match="is not a whole tar file"):
        unpack(tmp_path / "link.tar", tmp_path / "out")


def test_an_archive_at_hand_is_unpacked_and_stays(reporter, tmp_path):
    (tmp_path / "mine.zip").write_bytes(zip_of(CONTENT))
    folder = unpack_folder(tmp_path / "cache" / "pets", [tmp_path / "mine.zip"], reporter)
    assert files_in(folder) == CONTENT
    assert (tmp_path / "mine.zip").is_file()


def test_a_file_is_held_against_what_was_published(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"abc")
    assert difference(tmp_path / "a.tar", archive_of("a.tar", b"abc")) == ""
    assert difference(tmp_path / "a.tar", archive_of("a.tar", b"abcd")).startswith("expected 4 bytes with SHA-256")


# ── folders ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_gets_its_name_at_the_end(tmp_path):
    with whole_folder(tmp_path / "made") as unfinished:
        (unfinished / "a.txt").write_text("a")
        assert not (tmp_path / "made").exists()
    assert files_in(tmp_path / "made") == {"a.txt": b"a"}
    assert names_in(tmp_path) == ["made"]


def test_a_folder_is_not_left_by_an_error(tmp_path):
    with pytest.raises(ValueError, match="half way"), whole_folder(tmp_path / "made"):
        raise ValueError("half way")
    assert names_in(tmp_path) == []


def test_what_killed_processes_left_is_swept_and_what_is_being_filled_is_not(tmp_path):
    for name in (".made-killed", ".made-busy"):
        (tmp_path / name).mkdir()
    os.utime(tmp_path / ".made-killed", (0, 0))
    with whole_folder(tmp_path / "made"):
        pass
    assert names_in(tmp_path) == [".made-busy", "made"]


def test_of_two_processes_the_first_is_kept(tmp_path):
    with whole_folder(tmp_path / "made") as second:
        (second / "who").write_text("second")
        with whole_folder(tmp_path / "made") as first:
            (first / "who").write_text("first")
    assert files_in(tmp_path / "made") == {"who": b"first"}
    assert names_in(tmp_path) == ["made"]


def test_a_disk_that_refuses_is_named(tmp_path):
    reason = r"Cannot write to .*full: No space left on device\. Check space"
    with pytest.raises(ResourceError, match=reason), writing_to(tmp_path / "full"):
        raise OSError(28, "No space left on device")


# ── addresses, and the weight of it all ─────────────────────────────────────────────────────────────


def test_a_mirror_stands_in_for_the_address(monkeypatch):
    assert mirror("FINETUNE_PETS_URL", "https://example.org/pets/") == "https://example.org/pets"
    monkeypatch.setenv("FINETUNE_PETS_URL", "http://127.0.0.1:8000/copy/")
    assert mirror("FINETUNE_PETS_URL", "https://example.org/pets") == "http://127.0.0.1:8000/copy"


def test_a_mirror_must_be_http(monkeypatch):
    monkeypatch.setenv("FINETUNE_PETS_URL", "file:///etc")
    with pytest.raises(ConfigError, match="FINETUNE_PETS_URL 'file:///etc' is not allowed; give an address"):
        mirror("FINETUNE_PETS_URL", "https://example.org/pets")


def test_importing_it_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'PIL', 'fastai', 'onnxruntime'}"
    code = f"import sys, finetune.download; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
