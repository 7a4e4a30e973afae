"""The log: one JSON object per line on stderr, written by a thread so that a slow reader never slows an answer.

What is logged of a request is in ``envelope.py``; never a body, a query string, a token or a path of this machine
that a client could have chosen. Lines that nobody reads are dropped once ``MAX_WAITING`` wait, and counted.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
import traceback
from collections import deque
from datetime import UTC, datetime
from typing import Any

MAX_WAITING = 10_000  # lines
_encode = json.JSONEncoder(ensure_ascii=False, default=str).encode
GATHERED_S = 0.02  # lines that come this close together are written at once


class Log:
    """A log that never waits: ``write`` takes microseconds, whether or not anybody reads ``descriptor``."""

    def __init__(self, descriptor: int = 2) -> None:
        self._descriptor = descriptor
        self._lines: deque[dict[str, Any]] = deque(maxlen=MAX_WAITING)
        self._dropped = 0
        self._counting = threading.Lock()  # held for no longer than it takes to add a line or to swap the queue
        self._filled = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write_lines, name="log", daemon=True)
        self._thread.start()

    def write(self, level: str, event: str, **fields: object) -> None:
        """Add a line with the time, its ``level``, what happened, and whatever belongs to it."""
        line = {"time": time.time(), "level": level, "event": event, **fields}
        with self._counting:
            self._dropped += len(self._lines) == MAX_WAITING
            self._lines.append(line)
        if not self._filled.is_set():
            self._filled.set()

    def exception(self, event: str, error: BaseException, **fields: object) -> None:
        """Add a line with the traceback of an error that is ours to mend."""
        trace = "".join(traceback.format_exception(error))
        self.write("error", event, **fields, error=type(error).__name__, traceback=trace)

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what waits, for ``timeout_s`` seconds at most, and end the thread."""
        self._closing.set()
        self._filled.set()
        self._thread.join(timeout_s)

    def _write_lines(self) -> None:
        while not self._closing.is_set():
            self._filled.wait()
            self._closing.wait(GATHERED_S)
            self._filled.clear()
            self._flush()
        self._flush()  # what came while the last lines were written

    def _flush(self) -> None:
        with self._counting:
            waiting, self._lines = self._lines, deque(maxlen=MAX_WAITING)
            dropped, self._dropped = self._dropped, 0
        lines = list(waiting)
        if dropped:
            lines.append({"time": time.time(), "level": "warning", "event": "log lines dropped", "lines": dropped})
        data = "".join(map(_text, lines)).encode(errors="backslashreplace")
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:  # closed, or on a full disk: the service answers without its log
            return


def _text(line: dict[str, Any]) -> str:
    line["time"] = datetime.fromtimestamp(line["time"], UTC).isoformat(timespec="milliseconds")
    return _encode(line) + "\n"


class LogHandler(logging.Handler):
    """Brings what libraries log through ``logging`` into the log."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.ERROR)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, with its traceback where it has one."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            self._log.exception(record.getMessage().strip(), error, source=record.name)
        else:
            self._log.write(record.levelname.lower(), record.getMessage().strip(), source=record.name)


def take_over_logging(log: Log) -> None:
    """Send errors of every library into ``log``, and nothing to anywhere else."""
    logging.basicConfig(handlers=[LogHandler(log)], level=logging.ERROR, force=True)
    logging.captureWarnings(True)
    sys.unraisablehook = lambda unraisable: log.write("error", f"ignored: {unraisable.exc_value!r}")
