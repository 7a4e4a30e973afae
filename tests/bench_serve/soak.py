"""Many requests of all kinds, a tenth of them malformed: what our service holds before and after."""

from __future__ import annotations

import time
from collections import Counter

from answers import Answers
from goals import Found, Goal, Table
from processes import Footprint
from servers import Server, ours
from workplace import Workplace

CLIENTS, MALFORMED = 8, 0.1
WARM_UP_SHARE = 0.1
GROWTH_MB = 10 * 2**20 / 1e6
SETTLING_S, STEADY = 10.0, 6
"""How long idle connections may take to go away; steady is what was the same so many times in a row."""
ABOUT = """Pictures one by one and in pairs, and every tenth request malformed: cut off, text, empty, compressed, \
too large, not HTTP, half sent, and more. Memory, files and threads are those of all processes of the service while \
nobody is connected, before and after; a first tenth of the requests warms it up."""


def soak(place: Workplace) -> Found:
    """Warm up, look, ask for hours' worth of requests, and look again."""
    total = place.lengths.requests
    with ours(place.processes, place.model, place.photos, *place.options) as server:
        _requests(server, int(total * WARM_UP_SHARE) + 1, seed=1)
        before = settled(server)
        series: list[Footprint] = []
        statuses: Counter[tuple[str, int]] = Counter()
        wrong: Counter[str] = Counter()
        for part in range(place.lengths.parts):
            answers = _requests(server, total // place.lengths.parts + 1, seed=2 + part)
            statuses.update(zip(answers.kind, answers.status, strict=True))
            wrong += answers.wrong()
            series.append(settled(server))
    after = series[-1]
    return Found(
        title=f"Soak: {sum(statuses.values()):,} requests, a tenth malformed",
        about=ABOUT,
        tables=[_footprints(before, series), _answers(statuses)],
        goals=[
            Goal(what="memory growth", values=[after.rss_mb - before.rss_mb], target=GROWTH_MB, unit="MB", digits=1),
            Goal(what="more open files", values=[after.fds - before.fds], target=0),
            Goal(what="more threads", values=[after.threads - before.threads], target=0),
            Goal(what="wrong answers", values=[sum(wrong.values())], target=0),
        ],
        notes=[f"Wrong: {', '.join(f'{name} × {count}' for name, count in wrong.items())}."] if wrong else [],
        figures={"before": vars(before), "series": [vars(found) for found in series], "wrong": wrong},
    )


def _requests(server: Server, count: int, seed: int) -> Answers:
    return server.answers(clients=CLIENTS, requests=count, malformed=MALFORMED, seed=seed)


def settled(server: Server) -> Footprint:
    """Return what the service holds once its open files stay the same; at the latest after some seconds."""
    deadline, seen = time.monotonic() + SETTLING_S, [server.process.footprint()]
    while time.monotonic() < deadline and (len(seen) < STEADY or len({at.fds for at in seen[-STEADY:]}) > 1):
        time.sleep(0.05)
        seen.append(server.process.footprint())
    return seen[-1]


def _footprints(before: Footprint, series: list[Footprint]) -> Table:
    named = {"after the warm-up": before, **{f"part {number}": at for number, at in enumerate(series, 1)}}
    rows = [[name, f"{at.rss_mb:.1f}", f"{at.fds}", f"{at.threads}"] for name, at in named.items()]
    return Table(("", "memory MB", "open files", "threads"), rows)


def _answers(statuses: Counter[tuple[str, int]]) -> Table:
    kinds = sorted({kind for kind, _ in statuses})
    rows = [
        [kind, ", ".join(f"{_status(s)} × {n}" for (other, s), n in sorted(statuses.items()) if other == kind)]
        for kind in kinds
    ]
    return Table(("request", "answers"), rows)


def _status(status: int) -> str:
    return {0: "no answer", -1: "hung up"}.get(status, str(status))
