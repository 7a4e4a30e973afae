"""Ending a run early on request: by a signal, after what there is was saved, or because its time is up."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal

from finetune.errors import ResourceError
from finetune.run_folder import resuming_command

SIGNALS = (signal.SIGINT, signal.SIGTERM)
TERMINATED = 128 + signal.SIGTERM
"""The exit status of a process that was asked to end: 143."""

Asked = Literal["SIGINT", "SIGTERM", "time"]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a run in good order; the text says how to go on, and the exit status is 130."""


class Terminated(SystemExit):
    """SIGTERM ended a run in good order; the text says how to go on, and the exit status, ``code``, is 143."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = TERMINATED


@contextmanager
def resumable(run: Path, note: Callable[[str], None]) -> Iterator[None]:
    """Say how to go on with the run in the folder ``run`` where a signal or a lack of room or memory ends the block.

    Wherever a signal came, ``Interrupted`` or ``Terminated`` is raised in the place of what it raised; what else ends
    the block keeps its own words, and ``note`` is given a sentence.
    """
    try:
        yield
    except ResourceError:
        note(f"Once there is enough of what was missing, go on with: {resuming_command(run)}.")
        raise
    except (KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code != TERMINATED:
            raise
        raise _ending(signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM, run) from error


def _ending(by: signal.Signals, run: Path | None) -> Interrupted | Terminated:
    how = "" if run is None else f"; go on with: {resuming_command(run)}"
    message = f"Stopped by {by.name}{how}"
    return Interrupted(message) if by == signal.SIGINT else Terminated(message)


class Stop:
    """Whether a run was asked to end early, and by what: the loop that trains looks at every step.

    ``max_minutes`` after ``started``, of ``time.monotonic``, the whole run is to be done; ``reserve_s`` of it are what
    is left to do after training is expected to take, in seconds. ``run`` is the folder to name when a signal ends it.
    """

    def __init__(self, max_minutes: float | None = None, started: float | None = None, run: Path | None = None) -> None:
        self.reserve_s = 0.0
        self._run = run
        started = time.monotonic() if started is None else started
        self._deadline = float("inf") if max_minutes is None else started + 60 * max_minutes
        self._signal: signal.Signals | None = None

    @property
    def asked(self) -> Asked | None:
        """What asks the run to end: a signal before all, or the time; None as long as nothing does."""
        if self._signal is not None:
            return "SIGINT" if self._signal == signal.SIGINT else "SIGTERM"
        return "time" if self.remaining_s() <= self.reserve_s else None

    def remaining_s(self) -> float:
        """Return the seconds until the run is to be done: infinite without a limit, negative after it."""
        return self._deadline - time.monotonic()

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Mark a stretch that looks at ``asked``: its first signal only asks, so that it can save and end by itself.

        A second signal ends it at once. Where the stretch ends by itself after a signal, ``Interrupted`` or
        ``Terminated`` is raised, so that none is lost. Outside of such stretches signals do what they did, as they do
        in threads other than the main one, and as ones that the process was started to ignore.
        """
        if threading.current_thread() is threading.main_thread():
            with self._handled():
                yield
        else:
            yield
        self.raise_if_signalled()

    def raise_if_signalled(self) -> None:
        """Raise ``Interrupted`` or ``Terminated`` where a signal has asked for it."""
        if self._signal is not None:
            raise _ending(self._signal, self._run)

    @contextmanager
    def _handled(self) -> Iterator[None]:
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        # None was installed by other means than Python's, and could not be put back.
        handlers = {number: found for number, found in handlers.items() if found not in (signal.SIG_IGN, None)}

        def ask(number: int, _: FrameType | None) -> None:
            if self._signal is None:
                self._signal = signal.Signals(number)
            else:
                signal.signal(number, handlers[signal.Signals(number)])
                signal.raise_signal(number)

        try:
            for number in handlers:
                signal.signal(number, ask)
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
