from __future__ import annotations

import hashlib
import http.server
import threading
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from finetune.download import Archive
from finetune.types import DatasetRequest

PROJECT = Path(__file__).parent.parent


class CountingReporter:
    """Keeps what it is told."""

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
        pass


@pytest.fixture
def reporter() -> CountingReporter:
    return CountingReporter()


@pytest.fixture
def request_for(tmp_path: Path, reporter: CountingReporter) -> Callable[..., DatasetRequest]:
    def build(data: Path | None = None) -> DatasetRequest:
        return DatasetRequest(source="any", data=data, cache=tmp_path / "cache", reporter=reporter)

    return build


class Mirror:
    """A small web server: what it offers, which ranges it was asked for, and after how many bytes it hangs up."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.hang_up_after: int | None = None
        self.url = ""

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        name, wanted = handler.path.rsplit("/", 1)[-1], handler.headers.get("Range")
        self.asked.append((name, wanted))
        body = self.files[name][int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0 :]
        handler.send_response(206 if wanted else 200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: self.hang_up_after])
        handler.close_connection = True


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    there = Mirror()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there.answer(self)

        def log_message(self, *args: Any) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        there.url = f"http://127.0.0.1:{server.server_port}/data"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield there
        server.shutdown()
        thread.join()


@pytest.fixture
def publish(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType, bytes], Mirror]:
    """Let the mirror offer these bytes as the data set's archive, and their checksum be the published one."""

    def offered(module: ModuleType, content: bytes) -> Mirror:
        published = module.PUBLISHED
        archive = Archive(published.archive.name, len(content), hashlib.sha256(content).hexdigest())
        mirror.files[archive.name] = content
        monkeypatch.setattr(module, "PUBLISHED", replace(published, archive=archive))
        monkeypatch.setenv(published.variable, mirror.url)
        return mirror

    return offered


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the plugin's metadata on the path, so that it is found whether or not it is installed."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    facts = tmp_path / "site" / "finetune_classics-0.1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(f"{name} = {value}\n" for name, value in project["entry-points"]["finetune"].items())
    (facts / "entry_points.txt").write_text(f"[finetune]\n{points}")
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.fixture
def photos() -> Callable[[Path, list[str]], Path]:
    """Write small pictures of these names into a folder, and return the folder."""

    def written(folder: Path, names: list[str]) -> Path:
        for number, name in enumerate(names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (24, 20), (9 * number % 256, 90, 60)).save(folder / name)
        return folder

    return written
