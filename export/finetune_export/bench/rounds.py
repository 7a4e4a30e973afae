"""Takes the measurements: a fresh process for every round of every configuration, one after the other.

Rounds go through all configurations in turn, so that a machine that is busy for a while disturbs all of them alike.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetune_export.bench.configuration import Configuration
from finetune_export.bench.measurement import Failure, Round, Row
from finetune_export.bench.score import Labelled, Score

ROUNDS = 3
OVERTIME_S = 120.0
"""What a process may take to start, to load and to finish, on top of the seconds it measures."""
UNAVAILABLE = 6
SAMPLE = 64
"""From how many pictures speed is measured; they are taken from the whole list at equal distances."""
LAST_WORDS = 200
"""Characters of what a process that crashed wrote last that are shown."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure: ``seconds`` in all for each configuration, on ``pictures``, or generated ones without any."""

    configurations: Sequence[Configuration]
    seconds: float
    pictures: Sequence[Labelled] = ()
    scoring_limit_s: float = 3600.0

    def rows(self) -> list[Row]:
        """Measure speed in rounds, then the metric once for each model and provider that works."""
        rows = [Row(configuration=configuration) for configuration in self.configurations]
        for _ in range(ROUNDS):
            rows = [row if row.failure else self._with_round(row) for row in rows]
        return self._with_scores(rows) if self.pictures else rows

    def _with_round(self, row: Row) -> Row:
        files = [path for path, _ in self.pictures[:: -(-len(self.pictures) // SAMPLE) or 1]]
        seconds = self.seconds / ROUNDS
        job = {"task": "speed", **vars(row.configuration), "seconds": seconds, "files": files}
        found = _ask(job, seconds + OVERTIME_S, "try a smaller --batch")
        if isinstance(found, Failure):
            return replace(row, failure=found, rounds=())
        return replace(row, rounds=(*row.rounds, Round(**found)))

    def _with_scores(self, rows: Sequence[Row]) -> list[Row]:
        places = dict.fromkeys(_place(row) for row in rows if not row.failure)
        scores = {place: self._score(*place) for place in places}
        return [row if row.failure else _scored(row, scores[_place(row)]) for row in rows]

    def _score(self, model: str, provider: str) -> Score | Failure:
        job = {"task": "accuracy", "model": model, "provider": provider, "pictures": self.pictures}
        found = _ask(job, self.scoring_limit_s, "give a --data folder with fewer pictures")
        return found if isinstance(found, Failure) else Score(**found)


def _place(row: Row) -> tuple[str, str]:
    return row.configuration.model, row.configuration.provider


def _scored(row: Row, found: Score | Failure) -> Row:
    return replace(row, failure=found) if isinstance(found, Failure) else replace(row, score=found)


def _ask(job: dict[str, Any], limit_s: float, if_late: str) -> dict[str, Any] | Failure:
    """Have a job done in a process of its own; one that crashes or is late is a failure, too.

    ``if_late`` is what the user can do about one that is late.
    """
    command = [sys.executable, "-P", "-m", "finetune_export.bench.worker"]
    try:
        ended = subprocess.run(
            command, input=json.dumps(job), capture_output=True, text=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        return Failure(text=f"not done after {limit_s:.0f} s, and ended; {if_late}", status=UNAVAILABLE)
    if ended.returncode:
        words = " ".join(ended.stderr.split())[-LAST_WORDS:]
        return Failure(text=f"its process ended with status {ended.returncode} ({words})", status=UNAVAILABLE)
    answer: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    if "error" in answer:
        return Failure(text=answer["error"], status=answer["status"])
    found: dict[str, Any] = answer["found"]
    return found
