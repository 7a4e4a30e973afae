"""Reporters that need no terminal; the command line's is in ``finetune.cli.progress``."""

from __future__ import annotations


class SilentReporter:
    """Says nothing: the default of the Python interface."""

    def note(self, text: str) -> None:
        """Ignore the sentence; the result carries it."""

    def begin(self, title: str, total: int | None = None, unit: str = "") -> None:
        """Ignore the job."""

    def advance(self, steps: int = 1, detail: str = "") -> None:
        """Ignore the steps."""

    def figure(self, name: str, value: float, shown: str) -> None:
        """Ignore the figure; the history has all that last."""

    def end(self) -> None:
        """Ignore the end."""


SILENT = SilentReporter()
