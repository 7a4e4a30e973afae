"""Twice as many requests as our service can answer, and how it is afterwards."""

from __future__ import annotations

import numpy as np
from answers import BUSY, GOOD, NO_ANSWER, Answers
from goals import Found, Goal, Table, shown
from servers import Server, ours
from workplace import Workplace

from finetune_export.service.settings import Settings

TIMES_CAPACITY = 2.0
CAPACITY_CLIENTS, CAPACITY_S, CALM_S = 8, 5.0, 4.0
REFUSAL_MS, RECOVERY_S = 50.0, 2.0
TIMES_CALM, WINDOW = 1.5, 10
"""Recovered: the median of this many answers in a row is at most so many times that from before."""
SLACK = 1.2
"""By how much an admitted request may wait longer than a full queue takes."""
ABOUT = """Open loop: requests leave at random moments (Poisson, seeded), whatever comes back, so that a late server \
cannot slow its clients down; latency counts from the moment at which a request was due. The queue has its default \
length. A full queue takes (queue + cores) ÷ capacity. Recovered is the service when the median of ten answers in a \
row, asked by one client right after the overload, is within 1.5 times the one before it."""


def overload(place: Workplace) -> Found:
    """Measure capacity, overload the service ``repeats`` times, and see how fast it recovers."""
    rows = [_repeat(place, seed) for seed in range(1, place.lengths.repeats + 1)]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return Found(
        title=f"Overload: {TIMES_CAPACITY:g} times the capacity for {place.lengths.overload_s:g} s",
        about=ABOUT,
        tables=[Table(("", ""), [[name, shown(values, 1)] for name, values in columns.items()])],
        goals=[
            _goal("admitted: p99 by full queue", columns["admitted p99 by full queue"], SLACK, "×", 2),
            _goal("refusals: p99", columns["refused p99 ms"], REFUSAL_MS, "ms", 1),
            _goal("recovery of p50", columns["recovered after s"], RECOVERY_S, "s", 2),
            Goal(what="connections without an answer", values=_known(columns["no answer"]), target=0, worst=True),
            Goal(what="answers other than 200 and 503", values=_known(columns["other answers"]), target=0, worst=True),
        ],
        figures=columns,
    )


def _repeat(place: Workplace, seed: int) -> dict[str, float | None]:
    with ours(place.processes, place.model, place.photos, *place.options) as server:
        calm_ms = server.answers(seconds=_at_most(place, CALM_S)).quantile_ms(0.5)
        seconds = _at_most(place, CAPACITY_S)
        capacity = server.answers(clients=CAPACITY_CLIENTS, seconds=seconds).per_s(0, seconds)
        rate = TIMES_CAPACITY * capacity
        answers = server.answers(loop="open", rate=rate, seconds=place.lengths.overload_s, seed=seed)
        recovered_s = _recovery_s(server, place, answers, calm_ms)
    admitted_ms = answers.quantile_ms(0.99)
    full_queue_ms = (Settings(models={}).queue + place.cores) / capacity * 1e3
    return {
        "capacity, pictures/s": capacity,
        "admitted": answers.count(GOOD),
        "admitted/s": answers.count(GOOD) / (answers.ended - answers.started),
        "admitted p50 ms": answers.quantile_ms(0.5),
        "admitted p99 ms": admitted_ms,
        "admitted p99 by full queue": admitted_ms / full_queue_ms if admitted_ms else None,
        "refused": answers.count(BUSY),
        "refused p50 ms": answers.quantile_ms(0.5, BUSY),
        "refused p99 ms": answers.quantile_ms(0.99, BUSY),
        "no answer": answers.count(NO_ANSWER),
        "other answers": sum(status not in (GOOD, BUSY, NO_ANSWER) for status in answers.status),
        "client's CPU ms a request": answers.cpu_ms,
        "p50 ms before": calm_ms,
        "recovered after s": recovered_s,
    }


def _recovery_s(server: Server, place: Workplace, overloaded: Answers, calm_ms: float | None) -> float | None:
    """Return the seconds from the last request of the overload to the first of a calm row of answers."""
    after = server.answers(seconds=_at_most(place, 2 * RECOVERY_S))
    rows = zip(after.began, after.seconds, after.status, strict=True)
    good = [(began, took) for began, took, status in rows if status == GOOD]
    for index in range(len(good) - WINDOW + 1):
        window = good[index : index + WINDOW]
        if calm_ms and np.median([took for _, took in window]) * 1e3 <= TIMES_CALM * calm_ms:
            return window[0][0] - max(overloaded.began)
    return None


def _at_most(place: Workplace, seconds: float) -> float:
    return min(seconds, place.lengths.seconds)


def _goal(what: str, values: list[float | None], target: float, unit: str, digits: int) -> Goal:
    return Goal(what=what, values=_known(values), target=target, unit=unit, digits=digits)


def _known(values: list[float | None]) -> list[float]:
    return [value for value in values if value is not None]
