"""From a server on this machine to a folder: resumed, and believed only with the right checksum."""

from __future__ import annotations

import fcntl
import hashlib
import http.server
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune import download
from finetune.download import difference, download_folder, fetch, mirror
from finetune.errors import ConfigError, DataError, ResourceError
from finetune.types import Reporter


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
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{start + len(body)}")
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
def get(server: Server, reporter: Reporter, packed, archive_of, tmp_path: Path) -> Callable[..., Path]:
    """Publish a tar file and download it, from now on with the checksum that it has now."""
    server.files["pets.tar"] = packed("pets.tar")
    archive = archive_of("pets.tar", server.files["pets.tar"])

    def download(**options: Any) -> Path:
        return download_folder(tmp_path / "cache" / "pets", server.url, (archive,), reporter, **options)

    return download


def test_a_download_becomes_a_folder_and_the_archive_goes(get, server, reporter, content, names_in, tree, tmp_path):
    folder = get()
    assert tree(folder) == content
    assert names_in(tmp_path / "cache") == ["pets"]
    assert reporter.titles == ["Downloading pets.tar", "end", "Unpacking pets.tar", "end"]
    assert reporter.steps == len(server.files["pets.tar"])


def test_what_was_downloaded_is_not_asked_for_again(get, server):
    get()
    get()
    assert server.asked == [("pets.tar", None)]


def test_several_archives_become_one_folder(server, reporter, packed, archive_of, names_in, tree, tmp_path):
    server.files = {"a.tar": packed("a.tar", {"a.txt": b"1"}), "b.zip": packed("b.zip", {"b.txt": b"2"})}
    archives = [archive_of(name, content) for name, content in server.files.items()]
    folder = download_folder(tmp_path / "both", server.url, archives, reporter)
    assert tree(folder) == {"a.txt": b"1", "b.txt": b"2"}
    assert names_in(tmp_path) == ["both"]


def test_a_connection_that_breaks_is_taken_up_where_it_broke(get, server, content, names_in, tree, tmp_path):
    server.hang_up_after = 700
    size = len(server.files["pets.tar"])
    with pytest.raises(ResourceError, match=f"the connection ended after 700 of {size:,} bytes. Run the same command"):
        get()
    assert names_in(tmp_path / "cache") == ["pets.tar.part"]
    server.hang_up_after = None
    assert tree(get()) == content
    assert server.asked == [("pets.tar", None), ("pets.tar", "bytes=700-")]


def test_a_server_without_ranges_sends_everything_again(get, server, content, tree):
    server.hang_up_after, server.knows_ranges = 700, False
    with pytest.raises(ResourceError):
        get()
    server.hang_up_after = None
    assert tree(get()) == content


def test_a_part_that_is_longer_than_the_servers_file_is_begun_anew(get, server, content, tree):
    whole, server.hang_up_after = server.files["pets.tar"], 700
    with pytest.raises(ResourceError):
        get()
    server.files["pets.tar"], server.hang_up_after = whole[:500], None
    with pytest.raises(ResourceError, match="the connection ended after 500 of 10,240 bytes"):
        get()
    assert server.asked[1:] == [("pets.tar", "bytes=700-"), ("pets.tar", None)]
    server.files["pets.tar"] = whole
    assert tree(get()) == content


def test_a_part_that_is_whole_already_is_not_asked_for(get, server, content, tree, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "pets.tar.part").write_bytes(server.files["pets.tar"])
    assert tree(get()) == content
    assert server.asked == []


def test_a_wrong_checksum_is_refused_and_the_file_removed(get, server, names_in, tmp_path):
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


def test_where_another_process_downloads_nothing_is_written(get, server, content, tree, tmp_path):
    (tmp_path / "cache").mkdir()
    part = tmp_path / "cache" / "pets.tar.part"
    with part.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(
            ResourceError, match=r"Another run is downloading .*pets\.tar\.part\. Wait for it, then run"
        ):
            get()
    assert server.asked == []
    assert tree(get()) == content


def test_a_missing_file_names_address_status_and_remedy(get, server):
    server.files.clear()
    text = r"pets\.tar: the server answered 404 Not Found\. Give a copy at hand with --data DIR\.$"
    with pytest.raises(ResourceError, match=text):
        get()


def test_a_server_that_hangs_up_without_an_answer_is_the_networks_fault(get, server):
    server.is_silent = True
    with pytest.raises(ResourceError, match=r"Cannot download http://.*/pets\.tar: .* Run the same command again"):
        get()


def test_a_refused_connection_is_one_line(reporter, archive_of, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ResourceError, match=r"Cannot download .*refused.* Run the same command again") as caught:
            fetch(url, tmp_path / "a.tar", archive_of("a.tar", b"abc"), reporter)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("unpacked", "needed"), [(0, 2), (4_000_000, 5)])
def test_a_full_disk_is_said_before_the_download(unpacked, needed, server, reporter, monkeypatch, archive_of, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000_000}))
    archive = archive_of("big.tar", bytes(1_000_000), unpacked=unpacked)
    with pytest.raises(ResourceError, match=rf"has 1 MB free; big\.tar needs {needed} MB to download and unpack\."):
        fetch(f"{server.url}/big.tar", tmp_path / "big.tar", archive, reporter)
    assert server.asked == []


def test_a_cache_that_is_a_file_is_refused_in_one_line(get, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(ResourceError, match=r"Cannot write to .*cache: File exists\. Check space and permissions"):
        get()


def test_a_checked_archive_that_cannot_be_unpacked_is_removed(server, reporter, archive_of, names_in, tmp_path):
    server.files["odd.tar"] = b"not a tar file at all" * 100
    archive = archive_of("odd.tar", server.files["odd.tar"])
    with pytest.raises(DataError, match=r"odd\.tar is not a whole tar file .* The download was removed\. Run the same"):
        download_folder(tmp_path / "odd", server.url, (archive,), reporter)
    assert names_in(tmp_path) == []


def test_what_is_made_of_the_content_is_there_before_the_name_is(get, content, tmp_path):
    def shout(folder: Path) -> None:
        assert not (tmp_path / "cache" / "pets").exists()
        (folder / "loud.txt").write_bytes((folder / "cats" / "tom.txt").read_bytes().upper())

    assert (get(finish=shout) / "loud.txt").read_bytes() == content["cats/tom.txt"].upper()


def test_an_interruption_while_unpacking_leaves_the_download_and_no_folder(
    get, server, content, names_in, tree, tmp_path
):
    def interrupted(folder: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(finish=interrupted)
    assert names_in(tmp_path / "cache") == ["pets.tar"]
    assert tree(get()) == content
    assert len(server.asked) == 1


def test_a_mirror_stands_in_for_the_address(monkeypatch):
    assert mirror("FINETUNE_PETS_URL", "https://example.org/pets/") == "https://example.org/pets"
    monkeypatch.setenv("FINETUNE_PETS_URL", "http://127.0.0.1:8000/copy/")
    assert mirror("FINETUNE_PETS_URL", "https://example.org/pets") == "http://127.0.0.1:8000/copy"


def test_a_mirror_must_be_http(monkeypatch):
    monkeypatch.setenv("FINETUNE_PETS_URL", "file:///etc")
    with pytest.raises(ConfigError, match="FINETUNE_PETS_URL 'file:///etc' is not allowed; give an address"):
        mirror("FINETUNE_PETS_URL", "https://example.org/pets")


def test_a_finished_download_is_believed_after_another_look(server, reporter, packed, archive_of, tmp_path):
    (tmp_path / "pets.tar").write_bytes(packed("pets.tar"))
    archive = archive_of("pets.tar", packed("pets.tar"))
    assert fetch(f"{server.url}/pets.tar", tmp_path / "pets.tar", archive, reporter) == tmp_path / "pets.tar"
    assert (server.asked, reporter.notes) == ([], [])


def test_a_finished_download_of_an_older_publication_is_fetched_anew(get, server, reporter, content, tree, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "pets.tar").write_bytes(b"as it was published last year")
    assert tree(get()) == content
    assert server.asked == [("pets.tar", None)]
    (note,) = reporter.notes
    assert note == f"{tmp_path / 'cache' / 'pets.tar'} is not what is published now, and is downloaded anew."


def test_a_file_is_held_against_what_was_published(archive_of, tmp_path):
    (tmp_path / "a.tar").write_bytes(b"abc")
    assert difference(tmp_path / "a.tar", archive_of("a.tar", b"abc")) == ""
    assert difference(tmp_path / "a.tar", archive_of("a.tar", b"abcd")).startswith("expected 4 bytes with SHA-256")


def test_a_file_that_cannot_be_held_against_it_is_named(archive_of, tmp_path):
    (tmp_path / "a.tar").mkdir()
    with pytest.raises(
        DataError, match=r"Cannot read .*a\.tar: Is a directory\. Check it and its permissions, then run"
    ):
        difference(tmp_path / "a.tar", archive_of("a.tar", b"abc"))


def test_importing_it_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'PIL', 'fastai', 'onnxruntime'}"
    code = f"import sys, finetune.download; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
