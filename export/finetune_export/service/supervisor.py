"""The parent process: holds the socket, keeps the workers alive, and passes signals on.

It answers no requests and opens no models, so there is next to nothing in it that can fail.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from finetune_export.errors import ResourceError
from finetune_export.service.logs import Log
from finetune_export.service.problems import StartError
from finetune_export.service.settings import TOKEN_VARIABLE, Settings

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
LOOPBACK = ("127.", "::1", "localhost")
LONG_ENOUGH_S = 10.0  # a worker that lived for that long is replaced at once
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 10.0
KILL_AFTER_S = 5.0  # beyond the time that workers have for draining
OUR_FAULT, KILLED = 1, 6  # exit statuses; a process is killed where memory is short
_SIGNALLED = 128  # an exit status is this and the signal's number

Versions = Mapping[str, str]  # of each model, by name


def serve(settings: Settings, announce: Callable[[str, Versions], None]) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status: 0 if every request begun was answered.

    ``announce`` is called with the URL and the models' versions once all workers answer. A second signal ends
    everything at once. Raises ``ResourceError`` if the address cannot be used, ``StartError`` if no worker starts.
    """
    _occupy_standard_streams()
    with ExitStack() as stack:
        listener = stack.enter_context(bound_socket(settings.host, settings.port))
        shared = None  # where the workers' metrics meet; a single worker needs no disk
        if settings.workers > 1:
            shared = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="finetune-")))
        return asyncio.run(Supervisor(settings, listener, shared).run(announce))


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address, not listening yet; port 0 is any free one. Raises ``ResourceError``."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the last service may linger
        bound.bind((host, port))
    except OSError as exc:
        bound.close()
        if exc.errno == errno.EADDRINUSE:
            raise ResourceError(f"port {port} of {host} is in use; stop what listens there, or choose another") from exc
        raise ResourceError(f"cannot listen on port {port} of {host} ({exc.strerror}); choose another") from exc
    return bound


@dataclass
class Worker:
    """A worker process that answers."""

    process: Process
    versions: Versions
    since: float  # seconds on the monotonic clock


class Supervisor:
    """Starts ``settings.workers`` processes on ``listener``, and replaces those that die until it is told to stop."""

    def __init__(self, settings: Settings, listener: socket.socket, shared: Path | None) -> None:
        self._settings = settings
        self._listener = listener
        self._url = _url(listener)
        self._shared = shared
        self._log = Log()
        self._processes: set[Process] = set()
        self._answering: set[Process] = set()
        self._reloads = 0
        self._ending: signal.Signals | None = None
        self._end = asyncio.Event()

    async def run(self, announce: Callable[[str, Versions], None]) -> int:
        """Run the service, and return its exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        try:
            workers = await asyncio.gather(*(self._started() for _ in range(self._settings.workers)))
            announce(self._url, workers[0].versions)
            if self._settings.token is None and not self._settings.host.startswith(LOOPBACK):
                self._log.write("warning", "other machines can reach this service, and no token is asked for")
            clean = all(await asyncio.gather(*(self._kept(worker) for worker in workers)))
        except StartError:
            if self._ending is None:
                raise
            clean = True  # it was told to stop before it had started
        finally:
            await self._kill()
            self._log.close()
        return 0 if clean or self._ending is None else _SIGNALLED + self._ending

    async def _started(self) -> Worker:
        """Return a new worker that answers; raise ``StartError`` with its cause."""
        reloads = self._reloads
        process = await self._process()
        self._processes.add(process)
        if self._ending is not None:
            process.kill()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(self._settings.to_json().encode() + b"\n")
        said = json.loads(await process.stdout.readline() or b"{}")
        if "ready" not in said:
            status = await self._ended(process)
            unexplained = f"a worker process ended while it started ({_cause(status)})"
            raise StartError(
                said.get("failed", unexplained), said.get("exit_code", OUR_FAULT if status > 0 else KILLED)
            )
        self._answering.add(process)
        if self._reloads != reloads:  # it may have opened the files before we were told to
            _signal(process, signal.SIGHUP)
        return Worker(process, said["ready"], time.monotonic())

    async def _process(self) -> Process:
        listener = self._listener.fileno()
        try:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "finetune_export.service.worker", str(listener)),
                stdin=PIPE,
                stdout=PIPE,
                pass_fds=[listener],
                env=self._environment(),
                process_group=0,  # Ctrl-C is for us: we let the workers finish
            )
        except OSError as exc:
            raise StartError(f"no worker process could be started ({exc.strerror})") from exc

    def _environment(self) -> Mapping[str, str]:
        """Return our environment, with the folder for metrics, and without the token, which workers get by pipe."""
        ours = {name: value for name, value in os.environ.items() if name not in (TOKEN_VARIABLE, METRICS_FOLDER)}
        shared = {METRICS_FOLDER: str(self._shared)} if self._shared else {}
        return {**ours, **shared}

    async def _kept(self, worker: Worker) -> bool:
        """Replace a worker whenever it dies; return whether the last one ended cleanly when it was told to."""
        pause_s = 0.0
        while True:
            status = await self._ended(worker.process)
            self._answering.discard(worker.process)
            if self._ending is not None:
                return status == 0
            self._log.write("error", "worker ended; starting another", pid=worker.process.pid, cause=_cause(status))
            if time.monotonic() - worker.since > LONG_ENOUGH_S:
                pause_s = 0.0
            replacement = await self._replacement(pause_s)
            if replacement is None:
                return True
            worker, pause_s = replacement, _longer(pause_s)

    async def _replacement(self, pause_s: float) -> Worker | None:
        """Return a new worker, or None if the service ends first; raise ``StartError`` if nobody answers any more."""
        while self._ending is None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._end.wait(), pause_s)
                return None
            try:
                return await self._started()
            except StartError as exc:
                if not self._answering and self._ending is None:
                    raise
                self._log.write("error", "no new worker", cause=str(exc))
                pause_s = _longer(pause_s)
        return None

    async def _ended(self, process: Process) -> int:
        """Wait for the end of a process, and return its status."""
        status = await process.wait()
        self._processes.discard(process)
        if self._shared is not None:  # what it said of the moment, such as pictures being worked on
            for file in self._shared.glob(f"gauge_live*_{process.pid}.db"):
                file.unlink()
        return status

    def _stop(self, number: signal.Signals) -> None:
        """Let the workers finish; when it is called again, end them at once."""
        if self._ending is not None:
            self._send(signal.SIGKILL)
            return
        self._ending = number
        self._end.set()
        self._listener.close()  # as the workers do; otherwise clients would wait for an answer until we have ended
        self._send(signal.SIGTERM)
        latest_s = self._settings.drain_timeout_s + KILL_AFTER_S
        asyncio.get_running_loop().call_later(latest_s, self._send, signal.SIGKILL)

    def _reload(self) -> None:
        """Let the workers open their files again; the signal would kill one that is still starting."""
        self._reloads += 1
        for process in self._answering:
            _signal(process, signal.SIGHUP)

    def _send(self, number: signal.Signals) -> None:
        for process in self._processes:
            _signal(process, number)

    async def _kill(self) -> None:
        self._send(signal.SIGKILL)
        await asyncio.gather(*(process.wait() for process in self._processes))


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(number)


def _longer(pause_s: float) -> float:
    return min(max(2 * pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)


def _cause(status: int) -> str:
    """Return an exit status in words."""
    return f"status {status}" if status >= 0 else signal.Signals(-status).name


def _occupy_standard_streams() -> None:
    """Open what the caller has closed of stdin, stdout and stderr; a socket would get one of their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
