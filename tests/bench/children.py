"""Runs a command in a process of its own and measures it: seconds, largest process, output; ends it when it is late."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

PEAK_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024
LAST_WORDS = 500
"""Characters of what a failed process wrote last that are shown."""


class ChildFailedError(Exception):
    """A measured process failed or was too late; the text says which, and what it wrote last."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a process wrote and took.

    ``peak_mb`` is of its largest process: itself, or one that it started and waited for.
    """

    output: str
    seconds: float
    peak_mb: float


@dataclass
class _Watch:
    """Ends the process group of ``pid`` after so many seconds."""

    pid: int
    limit_s: float
    rang: bool = field(default=False, init=False)

    def __enter__(self) -> _Watch:
        self._timer = threading.Timer(self.limit_s, self._ring)
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        end_group(self.pid)  # what a process leaves behind must not disturb the next measurement

    def _ring(self) -> None:
        self.rang = True
        end_group(self.pid)


def end_group(pid: int) -> None:
    """End a process and everything that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def measured(command: Sequence[str], env: Mapping[str, str], limit_s: float) -> Finished:
    """Run a command to its end and return what it wrote and took; raise ``ChildFailedError`` where there is nothing."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, start_new_session=True
        )
        with _Watch(process.pid, limit_s) as watch:
            _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)  # waited for above, for the sake of the usage
        if watch.rang:
            raise ChildFailedError(f"was ended after {limit_s:g} s")
        if process.returncode:
            raise ChildFailedError(f"ended with status {process.returncode}: {_text(errors)[-LAST_WORDS:].strip()}")
        return Finished(output=_text(out), seconds=seconds, peak_mb=usage.ru_maxrss * PEAK_UNIT_BYTES / 1e6)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
