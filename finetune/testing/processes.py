"""A module of the kit in a process of its own, so that what a plugin does there is seen from outside and survived."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import dumps, loads
from os import _exit, write  # by name, for a plugin may replace what the modules have
from pathlib import Path
from typing import Any, BinaryIO

_FRAME = re.compile(r'File "(?P<file>.+)", line (?P<line>\d+),? in ')
"""As ``faulthandler`` writes it, the innermost first, and as a traceback has it, the innermost last."""
_LIBRARY = Path(os.__file__).parent
_OURS = Path(__file__).parent.parent
_MOST_SHOWN = 200
"""So many characters of what was printed are quoted."""


@dataclass(frozen=True)
class Told:
    """What a process told on its last line, and how it ended; ``answer`` is None where it did not come to that.

    ``status`` is as ``subprocess`` has it: negative for a signal, None where it was stopped for taking too long.
    """

    answer: Any
    stdout: str
    stderr: str
    status: int | None

    @property
    def printed(self) -> str:
        """The beginning of what was printed beside the answer, on one line."""
        return " ".join((self.stdout + self.stderr).split())[:_MOST_SHOWN]

    @property
    def place(self) -> str:
        """Where a plugin's code was when it was stopped or fell: its innermost line, '' where that is not known."""
        frames = [(Path(frame["file"]), frame["line"]) for frame in _FRAME.finditer(self.stderr)]
        if "(most recent call last)" in self.stderr:
            frames.reverse()
        return next((f"{file.name}, line {line}" for file, line in frames if _is_theirs(file)), "")

    @property
    def ending(self) -> str:
        """How it ended, in a few words."""
        if self.status is None:
            return "it did not end"
        if self.status < 0:
            return f"it was ended by {signal.Signals(-self.status).name}"
        said = f": {self._last_words}" if self.status and self._last_words else ""
        return f"it ended with status {self.status}{said}"

    @property
    def _last_words(self) -> str:
        """The last line of stderr, which names the error after a traceback."""
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        return lines[-1][:_MOST_SHOWN] if lines else ""


def ask(module: str, *arguments: str, limit_s: float, environment: Mapping[str, str] | None = None) -> Told:
    """Run ``python -m module``, which tells JSON on its last line; end it, and what it started, after ``limit_s``.

    It sees the modules that this process sees, writes none of their bytecode, and is told by a crash where it was.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        command = [sys.executable, "-P", "-X", "faulthandler", "-m", module, *arguments]
        status = _run(command, {**_environment(), **(environment or {})}, out, err, limit_s)
        stdout, stderr = _read(out), _read(err)
    before, _, last = stdout.rpartition("\n")
    with contextlib.suppress(ValueError):
        return Told(answer=loads(last), stdout=before, stderr=stderr, status=status)
    return Told(answer=None, stdout=stdout, stderr=stderr, status=status)


def tell(answer: object) -> None:
    """Print the answer on the last line, and end this process at once, whatever still runs in it."""
    if sys.__stdout__:
        sys.__stdout__.flush()
    text = memoryview(f"\n{dumps(answer)}".encode())
    while text:
        text = text[write(1, text) :]
    _exit(0)


def _is_theirs(file: Path) -> bool:
    is_library = file.is_relative_to(_LIBRARY) and "site-packages" not in file.parts
    return file.is_absolute() and not is_library and not file.is_relative_to(_OURS)


def _environment() -> dict[str, str]:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def _run(
    command: Sequence[str], environment: Mapping[str, str], out: BinaryIO, err: BinaryIO, limit_s: float
) -> int | None:
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
    )
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # its own session: it, and what it started
        process.wait()


def _read(file: BinaryIO) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
