"""Progress on stderr: one live view in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console

from finetune.cli.live_view import LiveView, writable
from finetune.reporting import SilentReporter


class Lines(SilentReporter):
    """Every job and every note is a line, in plain text: for logs, and for people who prefer it."""

    def note(self, text: str) -> None:
        """Print one sentence."""
        _say(f"• {text}")

    def begin(self, title: str, total: int | None = None, unit: str = "") -> None:  # noqa: ARG002
        """Print what begins."""
        _say(f"{title} …")


class RichReporter:
    """A reporter for people; use it as a context manager, so that the view is gone when the command ends.

    It draws where stderr is a terminal that can move its cursor, unless ``no_progress`` asks for lines.
    """

    def __init__(self, no_progress: bool = False) -> None:
        console = Console(stderr=True, highlight=False, emoji=False)
        # Of a console, FORCE_COLOR makes a terminal; for what moves the cursor it has to be one.
        is_live = not no_progress and sys.stderr.isatty() and console.is_interactive and not console.is_dumb_terminal
        self._view = LiveView(console) if is_live else None
        self._told: LiveView | Lines = self._view or Lines()

    def __enter__(self) -> RichReporter:
        if self._view:
            self._view.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._view:
            self._view.stop()

    def note(self, text: str) -> None:
        """Say one sentence, above the view where there is one."""
        self._told.note(text)

    def begin(self, title: str, total: int | None = None, unit: str = "") -> None:
        """Show a new job, in place of the one before."""
        self._told.begin(title, total, unit)

    def advance(self, steps: int = 1, detail: str = "") -> None:
        """Show that the job is further on."""
        self._told.advance(steps, detail)

    def figure(self, name: str, value: float, shown: str) -> None:
        """Show the newest value of a figure."""
        self._told.figure(name, value, shown)

    def end(self) -> None:
        """Take the job away."""
        self._told.end()


def _say(text: str) -> None:
    # In one piece: a signal between a text and the end of its line would put its own words into that line.
    sys.stderr.write(f"{writable(text, sys.stderr.encoding or 'utf-8')}\n")
    sys.stderr.flush()
