"""What every room speaks of: tasks, parts, and who is told how a job is getting on."""

from __future__ import annotations

from typing import Literal, Protocol

Task = Literal["single-label", "multi-label", "regression"]
"""What pictures show and models answer; the contract's own, without the numpy that importing it from there loads."""
Part = Literal["train", "valid", "test"]


class Reporter(Protocol):
    """Where a long job says how it is getting on; the command line draws a live view, a script may stay silent."""

    def note(self, text: str) -> None:
        """Say one plain sentence that the user should read."""

    def begin(self, title: str, total: int | None = None, unit: str = "") -> None:
        """Start a job of ``total`` steps (None: unknown), ending the one before.

        ``unit`` says in the plural what a step is, such as "pictures" or "bytes"; without it steps are only counted.
        """

    def advance(self, steps: int = 1, detail: str = "") -> None:
        """Count ``steps`` more of the current job, with a few words on its state.

        The first call may count what was there before the job began, such as what an earlier attempt had done.
        """

    def figure(self, name: str, value: float, shown: str) -> None:
        """Hand over the newest value of a figure that is followed through the jobs, and how people read it: "97.4%"."""

    def end(self) -> None:
        """End the current job."""
