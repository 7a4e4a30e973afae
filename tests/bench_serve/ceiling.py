"""Our service held against the same work without HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from answers import GOOD, Answers
from goals import Found, Goal, Table, shown
from processes import Process
from servers import Server, ours, top
from workplace import Workplace

from finetune_export import Predictor

CLIENTS = (1, 8, 32, 64)
SHARE_OF_CEILING, LATENCY_OVER_DIRECT_MS, TIMES_FAIR_SHARE = 85.0, 3.0, 1.75
Percent = partial(Goal, at_least=True, unit="%")
ABOUT = """Direct: from bytes in memory to the prediction, each run of the network on one thread; the ceiling is the \
better of as many threads in one process, or as many processes, as there are cores. Over HTTP: the same photos by POST \
from clients in a process of their own, which shares the cores; each sends the next when it has its answer. Of each \
column the median, minimum to maximum; throughput by ceiling is of the same repeat. The fair share of a client is \
clients ÷ throughput. CPU is \
that of all cores and processes, which other work on the machine disturbs least."""


@dataclass
class Measured:
    """Figures of each repeat, by column."""

    per_s: list[float] = field(default_factory=list)
    p50_ms: list[float | None] = field(default_factory=list)
    p99_ms: list[float | None] = field(default_factory=list)
    share: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    server_ms: list[float] = field(default_factory=list)
    client_ms: list[float] = field(default_factory=list)

    def cells(self) -> list[str]:
        """Return the cells of a table's row."""
        return [
            shown(self.per_s, 1),
            shown(_percent(self.share), 0, "%"),
            shown(self.p50_ms, 1),
            shown(self.p99_ms, 1),
            shown(self.errors),
            shown(self.server_ms, 2),
            shown(self.client_ms, 2),
        ]


def ceiling(place: Workplace) -> Found:
    """Measure direct work and our service in turn, ``repeats`` times."""
    direct = {name: Measured() for name in ("direct, one by one", "direct, threads", "direct, processes")}
    served = {clients: Measured() for clients in CLIENTS}
    same: list[float] = []
    for _ in range(place.lengths.repeats):
        limit = _direct_repeat(place, direct)
        with ours(place.processes, place.model, place.photos, *place.options) as server:
            for clients, column in served.items():
                answers = _asked(column, server, clients, place)
                column.share.append(column.per_s[-1] / limit)
            same.append(_same_share(answers, place))
    return Found(
        title="Throughput and latency",
        about=ABOUT,
        tables=[_table(direct, served)],
        goals=[
            *_goals(direct["direct, one by one"], served),
            Percent(what="answers equal to the predictor's", values=_percent(same), target=100, worst=True),
        ],
        figures={f"{name}": vars(column) for name, column in (*direct.items(), *served.items())},
    )


def _direct_repeat(place: Workplace, direct: dict[str, Measured]) -> float:
    """Measure the three direct ways once and return the ceiling, in pictures per second."""
    rates = []
    for column, (processes, threads) in zip(direct.values(), ((1, 1), (1, place.cores), (place.cores, 1)), strict=True):
        spent, cpu_s = _direct(place, processes, threads)
        column.per_s.append(len(spent) / place.lengths.seconds)
        column.p50_ms.append(float(np.quantile(spent, 0.5)) * 1e3)
        column.p99_ms.append(float(np.quantile(spent, 0.99)) * 1e3)
        column.server_ms.append(cpu_s * 1e3 / len(spent))
        rates.append(column.per_s[-1])
    for column, rate in zip(direct.values(), rates, strict=True):
        column.share.append(rate / max(rates))
    return max(rates)


def _direct(place: Workplace, processes: int, threads: int) -> tuple[list[float], float]:
    """Return the seconds of each picture and those of all cores together, of processes that begin together."""
    files = [str(path) for path in place.photos]
    job = {"model": str(place.model), "files": files, "threads": threads, "seconds": place.lengths.seconds}
    firsts = [len(files) * number // processes for number in range(processes)]
    started = [_started(place, {**job, "first": first}) for first in firsts]
    for process in started:
        process.tell("\n")
    found = [json.loads(process.hear()) for process in started]
    for process in started:
        place.processes.end(process)
    return [seconds for one in found for seconds in one["spent"]], sum(one["cpu_s"] for one in found)


def _started(place: Workplace, job: dict[str, Any]) -> Process:
    command = [sys.executable, str(Path(__file__).parent / "direct.py"), json.dumps(job)]
    process = place.processes.start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, text=True)
    assert process.hear() == "ready\n"
    return process


def _asked(column: Measured, server: Server, clients: int, place: Workplace) -> Answers:
    """Put load on the service, note the figures, and return the answers."""
    warm, cpu_s = place.lengths.warm_up_s, server.process.cpu_s()
    answers = server.answers(clients=clients, seconds=warm + place.lengths.seconds)
    column.server_ms.append((server.process.cpu_s() - cpu_s) * 1e3 / len(answers))
    column.per_s.append(answers.per_s(warm, place.lengths.seconds))
    column.p50_ms.append(answers.quantile_ms(0.5, after_s=warm))
    column.p99_ms.append(answers.quantile_ms(0.99, after_s=warm))
    column.errors.append(len(answers) - answers.count(GOOD))
    column.client_ms.append(answers.cpu_ms)
    return answers


def _same_share(answers: Answers, place: Workplace) -> float:
    """Return the share of photos whose answer over HTTP is the one that the predictor gives directly."""
    predictor = Predictor(place.model, threads=1)
    same = []
    for name, body in answers.bodies.items():
        (prediction,) = predictor.predict(name)
        label, probability = top(body)
        same.append(label == prediction.label and abs(probability - prediction.probability) < 1e-4)
    return sum(same) / len(same)


def _table(direct: dict[str, Measured], served: dict[int, Measured]) -> Table:
    head = ("", "pictures/s", "of the ceiling", "p50 ms", "p99 ms", "errors", "CPU ms a picture", "client's CPU ms")
    rows = [[name, *column.cells()] for name, column in direct.items()]
    rows += [[f"service, {_clients(count)}", *column.cells()] for count, column in served.items()]
    return Table(head, rows)


def _goals(one_by_one: Measured, served: dict[int, Measured]) -> list[Goal]:
    pairs = zip(served[1].p50_ms, one_by_one.p50_ms, strict=True)
    over = [http - alone for http, alone in pairs if http and alone]
    what = "1 client: p50 above direct"
    goals = [Goal(what=what, values=over, target=LATENCY_OVER_DIRECT_MS, unit="ms", digits=1)]
    for count, column in served.items():
        goals += _goals_of(column, count)
    return goals


def _goals_of(column: Measured, count: int) -> list[Goal]:
    name = _clients(count)
    rows = zip(column.p99_ms, column.per_s, strict=True)
    fair = [p99_ms / 1e3 * rate / count for p99_ms, rate in rows if p99_ms]
    speed = Percent(what=f"{name}: throughput by ceiling", values=_percent(column.share), target=SHARE_OF_CEILING)
    return [
        *([speed] if count > 1 else []),  # one client leaves all cores but one idle
        Goal(what=f"{name}: p99 by fair share", values=fair, target=TIMES_FAIR_SHARE, unit="×", digits=2),
        Goal(what=f"{name}: errors", values=column.errors, target=0, worst=True),
    ]


def _percent(shares: list[float]) -> list[float]:
    return [100 * share for share in shares]


def _clients(count: int) -> str:
    return "1 client" if count == 1 else f"{count} clients"
