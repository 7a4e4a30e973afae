"""Processes that are measured: each is started in a session of its own, and none of them outlives the benchmark."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

POLL_S = 0.005
LAST_WORDS = 800
"""Characters of what a failed process wrote last that are shown."""


class ProcessFailedError(Exception):
    """A process ended, or was not ready in time; the text says which, and what it wrote last."""


@dataclass(frozen=True)
class Footprint:
    """What a process and its descendants hold: resident memory (shared pages counted in each), files and threads."""

    rss_mb: float
    fds: int
    threads: int


class Process:
    """A process that was started; what it writes goes to a file, unless ``stdout`` is a pipe."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - kept as long as the process
        settings = {"stdin": subprocess.DEVNULL, "stdout": self._log, "stderr": self._log, **options}
        self.began = time.monotonic()
        self.popen = subprocess.Popen(list(command), start_new_session=True, **settings)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.popen.pid

    @property
    def written(self) -> str:
        """What the process wrote to its file so far."""
        return os.pread(self._log.fileno(), os.fstat(self._log.fileno()).st_size, 0).decode(errors="replace")

    def wait_until(self, is_so: Callable[[], Any], limit_s: float, what: str) -> Any:
        """Return what ``is_so`` returns as soon as it is true; raise if the process ends or it takes too long."""
        deadline = time.monotonic() + limit_s
        while not (found := is_so()):
            if self.popen.poll() is not None or time.monotonic() > deadline:
                raise ProcessFailedError(f"{what}: status {self.popen.poll()}: {self.written[-LAST_WORDS:].strip()}")
            time.sleep(POLL_S)
        return found

    def tell(self, text: str) -> None:
        """Write to the process's stdin, a pipe."""
        assert self.popen.stdin
        self.popen.stdin.write(text)
        self.popen.stdin.flush()

    def hear(self) -> str:
        """Return the next line of the process's stdout, a pipe; raise if it ended without one."""
        assert self.popen.stdout
        line: str = self.popen.stdout.readline()
        if not line:
            raise ProcessFailedError(f"ended with status {self.ended(5)}; what it wrote is above")
        return line

    def ended(self, limit_s: float) -> int:
        """Wait for the process to end by itself and return its status; raise if it takes too long."""
        try:
            return self.popen.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise ProcessFailedError(f"still there after {limit_s:g} s: {self.written[-LAST_WORDS:]}") from None

    def tree(self) -> list[psutil.Process]:
        """Return the process and its descendants, those that are still there."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.pid)
            return [root, *root.children(recursive=True)]
        return []

    def footprint(self) -> Footprint:
        """Return what the process and its descendants hold at this moment."""
        rss, fds, threads = 0, 0, 0
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess), process.oneshot():
                rss += process.memory_info().rss
                threads += process.num_threads()
                fds += process.num_fds()
        return Footprint(rss / 1e6, fds, threads)

    def cpu_s(self) -> float:
        """Return the seconds of the processor that the process and its descendants have taken so far."""
        seconds = 0.0
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                seconds += times.user + times.system
        return seconds

    def kill(self) -> None:
        """End the process and everything that it started, at once."""
        family = self.tree()
        if self.popen.returncode is None:  # otherwise its number may belong to somebody else by now
            os.killpg(self.pid, signal.SIGKILL)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout, self._log):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()


class Processes:
    """Starts processes and ends those that are left when it is closed."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self._started: list[Process] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._started):
            process.kill()

    def start(self, command: Sequence[str], **options: Any) -> Process:
        """Start a process; ``options`` are those of ``subprocess.Popen``."""
        process = Process(command, **options)
        self._started.append(process)
        return process

    def end(self, process: Process) -> None:
        """End a process and forget it."""
        process.kill()
        self._started.remove(process)
