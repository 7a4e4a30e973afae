"""Real services: `finetune-export serve` in its own processes, over loopback; nothing is left behind."""

from __future__ import annotations

import http.client
import io
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import psutil
import pytest
from PIL import Image

from finetune_export.contract import Task
from finetune_export.service.settings import Settings

PATIENCE_S = 30.0  # for what has to happen on a busy machine; nothing waits that long when all is well
DESKTOP = {"width": 1100, "height": 800}
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)


def until(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Return the first true value of ``condition``; fail if there is none in time."""
    deadline = time.monotonic() + patience_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)
    return value


class Answer:
    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """A running service; its log is ``log()``, parsed."""

    def __init__(self, process: subprocess.Popen[bytes], log_file: Path) -> None:
        self.process = process
        self._log_file = log_file
        assert process.stdout is not None
        self.line = process.stdout.readline().decode()
        found = re.match(r"Listening on http://[\d.]+:(\d+) \(", self.line)
        self.port = int(found[1]) if found else 0

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def raw(self, data: bytes) -> bytes:
        """Send bytes, and return all that comes until the service closes the connection."""
        with self.connect() as connection:
            connection.sendall(data)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log_file.read_text(encoding="utf-8").splitlines()]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["event"] == event]

    def stderr(self) -> str:
        return self._log_file.read_text(encoding="utf-8")

    def metric(self, line: str) -> float:
        text = self.request("GET", "/metrics").body.decode()
        found = [value for value in text.splitlines() if value.startswith(f"{line} ")]
        return float(found[0].rpartition(" ")[2]) if found else 0.0

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


Serve = Callable[..., Service]


FROM_SETTINGS = """
import sys
from finetune_export.contract import Task
from finetune_export.service.settings import Settings
from finetune_export.service.supervisor import serve
said = lambda url, versions: print(f"Listening on {url} ({dict(versions)})", flush=True)
sys.exit(serve(Settings.from_json(sys.argv[1]), said))
"""


def gone(process: psutil.Process) -> bool:
    """Say whether a process has ended; nobody may have asked for its status yet."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def start(log_file: Path, *arguments: str | Path, **options: Any) -> Service:
    command = [sys.executable, "-m", "finetune_export", "serve", *map(str, arguments)]
    if "--port" not in arguments:
        command += ["--port", "0"]
    return launch(log_file, command, **options)


def launch(log_file: Path, command: list[str], **options: Any) -> Service:
    with log_file.open("wb") as log:
        return Service(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, **options), log_file)


def end(service: Service) -> None:
    children = service.workers() if service.process.poll() is None else []
    service.process.kill()
    service.process.wait()
    until(lambda: all(map(gone, children)), "the workers end with their supervisor")
    assert service.process.stdout is not None
    service.process.stdout.close()


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start services with the command line's arguments."""
    monkeypatch.delenv("FINETUNE_TOKEN", raising=False)
    services: list[Service] = []

    def started(*arguments: str | Path, **options: Any) -> Service:
        services.append(start(tmp_path / f"log{len(services)}.jsonl", *arguments, **options))
        return services[-1]

    yield started
    for service in services:
        end(service)


@pytest.fixture
def serve_with(tmp_path: Path, model_path: Path) -> Iterator[Callable[..., Service]]:
    """Start the service of one model with settings that the command line does not offer, such as short time limits."""
    services: list[Service] = []

    def started(**changes: Any) -> Service:
        settings = Settings(**{"models": {"insects": model_path}, "port": 0, "concurrency": 2, **changes})
        command = [sys.executable, "-c", FROM_SETTINGS, settings.to_json()]
        services.append(launch(tmp_path / f"log{len(services)}.jsonl", command))
        return services[-1]

    yield started
    for service in services:
        end(service)


@pytest.fixture(scope="session")
def _shared() -> Iterator[dict[str, Service]]:
    services: dict[str, Service] = {}
    yield services
    for service in services.values():
        end(service)


@pytest.fixture
def service(_shared: dict[str, Service], model: bytes, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """The service that all tests share which leave it as it is; its model is called ``insects``."""
    if "insects" not in _shared:
        folder = tmp_path_factory.mktemp("service")
        path = folder / "insects.onnx"
        path.write_bytes(model)
        _shared["insects"] = start(folder / "log.jsonl", path, "--concurrency", "2")
    return _shared["insects"]


@pytest.fixture
def every_task(
    _shared: dict[str, Service], task_path: Callable[[Task], Path], tmp_path_factory: pytest.TempPathFactory
) -> Service:
    """The shared service of three models, each called after its task."""
    if "every task" not in _shared:
        folder = tmp_path_factory.mktemp("tasks")
        paths = [task_path(task).rename(folder / f"{task}.onnx") for task in get_args(Task)]
        _shared["every task"] = start(folder / "log.jsonl", *paths, "--concurrency", "2")
    return _shared["every task"]


@pytest.fixture
def jpeg(photo: Callable[..., Any], encode: Callable[..., bytes]) -> bytes:
    """A picture's file."""
    return encode(photo(), "JPEG")


@pytest.fixture(scope="session")
def slow_jpeg() -> bytes:
    """A picture's file that takes some ten milliseconds to decode."""
    file = io.BytesIO()
    Image.new("RGB", (2400, 1800), "teal").save(file, "JPEG")
    return file.getvalue()


def posted(path: str, body: bytes, *headers: str) -> bytes:
    """Return a whole request as bytes."""
    head = "\r\n".join([f"POST {path} HTTP/1.1", "Host: here", f"Content-Length: {len(body)}", *headers])
    return f"{head}\r\n\r\n".encode() + body


def read_answer(connection: socket.socket) -> Answer:
    """Read one answer from a connection."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return Answer(response.status, response.getheaders(), response.read())


# ── the page in a browser ───────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; it ends with the module, for Playwright keeps an event loop running in this thread."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("the page is tested in Chromium, which is not installed")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=QUIET.split())
        yield started
        started.close()


@dataclass
class Visit:
    """A page that was opened, and what the browser had to say about it."""

    page: Any
    origin: str
    said: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def on_request(self, request: Any) -> None:
        if not request.url.startswith(f"{self.origin}/"):
            self.elsewhere.append(request.url)
        if request.method == "POST":
            self.sent.append(request.url.removeprefix(self.origin))

    def shown(self, element: str) -> str:
        """Wait until an element is there to be seen, and return its text."""
        found = self.page.locator(element)
        found.wait_for()
        text: str = found.inner_text()
        return text


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Visit]]:
    """Open the page of a service; whatever the browser complains about fails the test."""
    visits: list[Visit] = []

    def opened(service: Any, viewport: dict[str, int] = DESKTOP, **options: Any) -> Visit:
        context = browser.new_context(viewport=viewport, locale="en-GB", **options)
        made = Visit(context.new_page(), f"http://127.0.0.1:{service.port}")
        made.page.on("console", lambda message: made.said.append(message.text))
        made.page.on("pageerror", lambda error: made.said.append(str(error)))
        made.page.on("dialog", lambda dialog: made.said.append(f"a dialog: {dialog.message}") or dialog.dismiss())
        made.page.on("request", made.on_request)
        made.page.on("filechooser", lambda _: None)  # from now on, none is opened by the browser itself
        made.page.goto(made.origin)
        visits.append(made)
        return made

    yield opened
    for each in visits:
        each.page.context.close()
        assert (each.said, each.elsewhere) == ([], [])


@pytest.fixture
def picture_file(tmp_path: Path, jpeg: bytes) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg)
    return path
