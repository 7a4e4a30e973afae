"""A time limit for onnxruntime's runs: one sleeping thread in the process ends those that take too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from finetune_export.errors import TimeLimitError


class Run(Protocol):
    """What can be ended: ``onnxruntime.RunOptions``; the run stops after the operator it is in."""

    terminate: bool


class _Watchdog:
    """Ends every run whose deadline has passed. Its thread begins with the first run, and sleeps while none is late."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._deadlines: dict[int, tuple[float, Run]] = {}  # seconds on the monotonic clock
        self._wakes_at = float("inf")
        self._thread: threading.Thread | None = None

    def watch(self, run: Run, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        with self._changed:
            self._deadlines[id(run)] = (deadline, run)
            if self._thread is None or not self._thread.is_alive():  # not alive: this process was forked
                self._thread = threading.Thread(target=self._end_late_runs, name="run time limit", daemon=True)
                self._thread.start()
            elif deadline < self._wakes_at:
                self._changed.notify()

    def forget(self, run: Run) -> None:
        with self._changed:
            self._deadlines.pop(id(run), None)

    def _end_late_runs(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for deadline, run in self._deadlines.values():
                    run.terminate |= deadline <= now
                waiting = [deadline for deadline, run in self._deadlines.values() if not run.terminate]
                self._wakes_at = min(waiting, default=float("inf"))
                self._changed.wait(min(self._wakes_at - now, threading.TIMEOUT_MAX))


_watchdog = _Watchdog()


@contextmanager
def limited(run: Any, limit_s: float | None) -> Iterator[None]:
    """End ``run`` after ``limit_s`` seconds, never if None; raise ``TimeLimitError`` when that is what ended it."""
    if limit_s is None:
        yield
        return
    _watchdog.watch(run, limit_s)
    try:
        yield
    except Exception as exc:
        if not run.terminate:
            raise
        raise TimeLimitError(
            f"the network took longer than {limit_s:g} s for one run, which is the limit; "
            "give it fewer pictures at a time, or more time"
        ) from exc
    finally:
        _watchdog.forget(run)
