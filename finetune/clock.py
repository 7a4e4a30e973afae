"""Wall-clock seconds per stage of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Measures named stages: ``seconds`` holds what has ended, in order; ``started`` is of ``time.monotonic``."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.started = time.monotonic()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Measure one stage; a stage that comes again adds up."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.perf_counter() - started, 3)

    def total(self) -> dict[str, float]:
        """Return the stages and the ``total`` since the clock was made."""
        return {**self.seconds, "total": round(time.monotonic() - self.started, 3)}
