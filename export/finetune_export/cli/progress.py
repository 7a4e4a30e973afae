"""How far a long command is, on stderr: one line kept up to date in a terminal, and elsewhere a line now and then."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

TERMINAL_INTERVAL_S, LOG_INTERVAL_S = 0.2, 30.0
CLEAR = "\r\x1b[K"

Item = TypeVar("Item", bound=Sequence[object])


class Progress:
    """Counts pictures as they pass; ``count`` finds out how many there are altogether, in the background.

    ``done`` are those of an earlier run: they count for what is left, not for the speed.
    """

    def __init__(self, program: str, count: Callable[[], int] | None, done: int = 0) -> None:
        self._program = program
        self._terminal = sys.stderr.isatty()
        self._began_at = self._shown_at = time.monotonic()
        self._done = done
        self._passed = 0
        self._total: int | None = None
        if count and self._terminal:
            threading.Thread(target=self._find_total, args=(count,), daemon=True).start()

    def following(self, batches: Iterable[Item]) -> Iterator[Item]:
        """Yield each batch when it is ready, and show how many pictures have passed."""
        interval_s = TERMINAL_INTERVAL_S if self._terminal else LOG_INTERVAL_S
        try:
            for batch in batches:
                self._passed += len(batch)
                if time.monotonic() - self._shown_at > interval_s:
                    self._show()
                yield batch
        finally:
            if self._terminal:
                print(CLEAR, end="", file=sys.stderr, flush=True)

    def text(self) -> str:
        """Return how many pictures have passed, how fast, and when the others will have."""
        passed_s = max(time.monotonic() - self._began_at, 1e-9)
        speed = self._passed / passed_s
        of = f" of {self._total:,}" if self._total else ""
        left = f", {_duration((self._total - self._done - self._passed) / speed)} left" if self._total and speed else ""
        return f"{self._done + self._passed:,}{of} pictures, {speed:.1f}/s{left}"

    def _show(self) -> None:
        self._shown_at = time.monotonic()
        before, after = (CLEAR, "") if self._terminal else ("", "\n")
        print(f"{before}{self._program}: {self.text()}", end=after, file=sys.stderr, flush=True)

    def _find_total(self, count: Callable[[], int]) -> None:
        self._total = count()


def _duration(seconds: float) -> str:
    """Return a time as hours, minutes and seconds: ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
