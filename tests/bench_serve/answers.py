"""What came back: load on a server from a process of its own, and the figures of its answers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from processes import Process, Processes

HERE = Path(__file__).parent
GOOD, NO_ANSWER, BUSY = 200, 0, 503


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Answers in columns, in the order in which they came; moments are of the monotonic clock, in seconds."""

    began: Sequence[float]
    seconds: Sequence[float]
    status: Sequence[int]
    kind: Sequence[str]
    right: Sequence[bool]
    started: float
    ended: float
    cpu_s: float
    versions: dict[str, int]
    bodies: dict[str, str]

    def __len__(self) -> int:
        return len(self.status)

    def per_s(self, warm_up_s: float, seconds: float) -> float:
        """Return good answers per second, of ``seconds`` after a warm-up; what came later does not count."""
        ends = np.add(self.began, self.seconds) - self.started - warm_up_s
        counted = (ends >= 0) & (ends < seconds) & (np.array(self.status) == GOOD)
        return float(counted.sum() / seconds)

    def quantile_ms(self, share: float, status: int = GOOD, after_s: float = 0.0) -> float | None:
        """Return a quantile of the milliseconds of answers with a status, None where there are none."""
        chosen = (np.array(self.status) == status) & (np.array(self.began) - self.started >= after_s)
        return float(np.quantile(np.array(self.seconds)[chosen], share)) * 1e3 if chosen.any() else None

    def wrong(self) -> Counter[str]:
        """Return how many answers were not what they have to be, by kind of request and status."""
        pairs = zip(self.kind, self.status, self.right, strict=True)
        return Counter(f"{kind}: {status or 'no answer'}" for kind, status, right in pairs if not right)

    def count(self, status: int) -> int:
        """Return how many answers have a status."""
        return list(self.status).count(status)

    def first_good_after(self, moment: float) -> float | None:
        """Return the seconds from a moment to the first good answer to a request that was sent after it."""
        rows = zip(self.began, self.seconds, self.status, strict=True)
        ends = [began + took for began, took, status in rows if status == GOOD and began > moment]
        return min(ends) - moment if ends else None

    @property
    def cpu_ms(self) -> float:
        """What a request costs its client, in milliseconds of one core."""
        return self.cpu_s * 1e3 / max(1, len(self))


class Load:
    """Load that is being put on a server; see ``load.Job`` for what it may be told."""

    def __init__(self, processes: Processes, **job: Any) -> None:
        self._processes = processes
        command = [sys.executable, str(HERE / "load.py")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": None}
        self.process: Process = processes.start(command, text=True, **pipes)
        self.process.tell(json.dumps(job) + "\n")
        self.wait_for("started")

    def wait_for(self, line: str) -> None:
        """Wait until the process writes a line."""
        found = self.process.hear().strip()
        assert found == line, f"the load wrote {found[:100]!r} instead of {line!r}"

    def stop(self) -> None:
        """Let it send nothing more."""
        self.process.popen.send_signal(signal.SIGTERM)

    def answers(self) -> Answers:
        """Wait for the end and return what came back."""
        found = json.loads(self.process.hear())
        self.process.ended(30)
        self._processes.end(self.process)
        return Answers(**found)
