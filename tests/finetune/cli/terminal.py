"""A terminal of our own: programs run in it, and what it shows in the end can be read."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|(.)", re.DOTALL)
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9\d|10\d)(?:;\d+)*m")
"""What makes a terminal change the colour of letters or of what is behind them."""


@dataclass(frozen=True)
class Shown:
    """What a program sent to its terminal, and the status that it ended with."""

    status: int
    raw: str

    @property
    def screen(self) -> list[str]:
        """The lines that are on the terminal in the end."""
        return screen_of(self.raw)

    @property
    def last_view(self) -> list[str]:
        """The lines that were there before the view was taken away."""
        return screen_of(self.raw[: self.raw.rindex("\x1b[?25h")])


def screen_of(raw: str) -> list[str]:
    """Return the lines that a terminal shows which was sent ``raw``: enough of a terminal for what rich sends."""
    rows, y, x = [""], 0, 0
    for code, command, char in _TOKEN.findall(raw):
        if command == "A":
            y = max(0, y - int(code or 1))
        elif command == "K":
            rows[y] = "" if code == "2" else rows[y][:x]
        elif char == "\r":
            x = 0
        elif char == "\n":
            y += 1
            rows += [""] * (y == len(rows))
        elif char:
            rows[y] = rows[y][:x].ljust(x) + char + rows[y][x + 1 :]
            x += 1
    return [row.rstrip() for row in rows if row.rstrip()]


def in_terminal(
    words: Sequence[str],
    environment: dict[str, str],
    columns: int = 80,
    answer: Callable[[str, int], None] = lambda *_: None,
    cwd: Path | None = None,
) -> Shown:
    """Run a program whose input and output are a terminal; ``answer`` is given all it said and the terminal's number.

    stdout goes nowhere, as results are none of the view.
    """
    ours, theirs = pty.openpty()
    resize(ours, columns)
    program = subprocess.Popen(
        [sys.executable, *words],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=environment,
        cwd=cwd,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C is a signal
    )
    os.close(theirs)
    raw = b""
    with contextlib.suppress(OSError):  # how Linux says that nobody holds the other end any more
        while read := os.read(ours, 1 << 16):
            raw += read
            answer(raw.decode(errors="ignore"), ours)
    os.close(ours)
    return Shown(program.wait(), raw.decode())


def resize(terminal: int, columns: int) -> None:
    """Give a terminal another width."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
