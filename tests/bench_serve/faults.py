"""What becomes of requests when processes are killed, told to end, or given other models."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import psutil
from answers import GOOD, NO_ANSWER
from goals import Found, Goal, Table, shown
from servers import Server, asked, ours
from workplace import Workplace

from finetune_export import read_contract

CLIENTS, BURST, SWAPPING_CLIENTS = 8, 64, 16
UNDER_LOAD_S, AFTER_S, SWAP_LIMIT_S = 1.0, 4.0, 30.0
IN_FLIGHT_S = 0.05
"""From the moment at which all requests of a burst were sent to SIGTERM, so that they have arrived."""
BACK_S, GONE_S = 2.0, 2.0
FOREVER_S = 3600.0
ABOUT = """Under load of 8 clients a worker process is killed (SIGKILL): seconds to the first good answer to a \
request that was sent after it, with one worker process, and with two. The parent is killed: seconds until nobody \
listens and no process is left. SIGTERM while 64 requests are in flight: how many are answered. The model file is \
replaced under 16 clients, back and forth between two versions, each time as soon as the new one answers."""


def faults(place: Workplace) -> Found:
    """Do each of them ``repeats`` times, the swaps once."""
    repeats = range(place.lengths.repeats)
    one, two = ([_worker_killed(place, workers) for _ in repeats] for workers in (1, 2))
    gone = [_parent_killed(place) for _ in repeats]
    drained = [_told_to_end(place) for _ in repeats]
    swaps = _swapped(place)
    rows = {
        "worker of one killed: good answers again after, s": shown([back for back, _ in one], 2),
        "requests that had no answer": shown([lost for _, lost in one]),
        "worker of two killed: good answers again after, s": shown([back for back, _ in two], 2),
        "requests that had no answer, with two": shown([lost for _, lost in two]),
        "parent killed: nobody listens and nothing is left after, s": shown(gone, 2),
        "SIGTERM: answered of 64": shown([answered for answered, _ in drained]),
        "SIGTERM: exit status": shown([status for _, status in drained]),
        **{name: f"{value:,}" for name, value in swaps.items()},
    }
    return Found(
        title="Faults",
        about=ABOUT,
        tables=[Table(("", ""), [list(row) for row in rows.items()])],
        goals=[
            Goal(what="worker of one killed", values=_known(one), target=BACK_S, unit="s", digits=2, worst=True),
            Goal(what="worker of two killed", values=_known(two), target=BACK_S, unit="s", digits=2, worst=True),
            Goal(what="parent killed", values=gone, target=GONE_S, unit="s", digits=2, worst=True),
            Goal(what="SIGTERM: answered", values=[n for n, _ in drained], target=BURST, at_least=True, worst=True),
            Goal(what="swaps: failed requests", values=[swaps["failed requests"]], target=0),
            Goal(what="swaps: answers without a known version", values=[swaps["of no known version"]], target=0),
        ],
        figures={"one": one, "two": two, "gone": gone, "drained": drained, "swaps": swaps},
    )


def _worker_killed(place: Workplace, workers: int) -> tuple[float | None, int]:
    """Return the seconds until requests are answered again, and how many requests had no answer."""
    with ours(place.processes, place.model, place.photos, "--workers", str(workers), *place.options) as server:
        load = server.load(clients=CLIENTS, seconds=FOREVER_S)
        time.sleep(UNDER_LOAD_S)
        worker, moment = psutil.Process(server.process.pid).children()[0], time.monotonic()
        worker.kill()
        time.sleep(AFTER_S)
        load.stop()
        answers = load.answers()
        return answers.first_good_after(moment), answers.count(NO_ANSWER)


def _parent_killed(place: Workplace) -> float:
    """Return the seconds until nobody listens and no process of the service is left."""
    with ours(place.processes, place.model, place.photos, "--workers", "2", *place.options) as server:
        load = server.load(clients=CLIENTS, seconds=FOREVER_S)
        time.sleep(UNDER_LOAD_S)
        workers, moment = server.process.tree()[1:], time.monotonic()
        os.kill(server.process.pid, signal.SIGKILL)
        while (server.listens() or any(map(_lives, workers))) and time.monotonic() < moment + SWAP_LIMIT_S:
            time.sleep(0.01)
        seconds = time.monotonic() - moment
        for process in filter(_lives, workers):
            process.kill()
        load.stop()
        load.answers()
        return seconds


def _lives(process: psutil.Process) -> bool:
    """Whether a process is there and has not ended; one that ended stays until somebody asks for its status."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _told_to_end(place: Workplace) -> tuple[int, int]:
    """Return how many requests in flight were answered after SIGTERM, and the exit status."""
    with ours(place.processes, place.model, place.photos, *place.options) as server:
        load = server.load(loop="burst", clients=BURST)
        load.wait_for("sent")
        time.sleep(IN_FLIGHT_S)
        os.kill(server.process.pid, signal.SIGTERM)
        answered = load.answers().count(GOOD)
        return answered, server.process.ended(60)


def _swapped(place: Workplace) -> dict[str, int]:
    """Swap two models under load and return how many answers each version gave."""
    served = place.work / "served.onnx"
    _replace(place.model, served)
    versions = {file: read_contract(file).graph_sha256[:12] for file in (place.model, place.twin)}
    with ours(place.processes, served, place.photos, *place.options) as server:
        load = server.load(clients=SWAPPING_CLIENTS, seconds=FOREVER_S)
        for number in range(place.lengths.swaps):
            file = (place.twin, place.model)[number % 2]
            _replace(file, served)
            _wait_for_version(server, place.photos[0], versions[file])
        load.stop()
        answers = load.answers()
    known = {name: answers.versions.get(name, 0) for name in versions.values()}
    return {
        "swaps": place.lengths.swaps,
        "requests under swaps": len(answers),
        "failed requests": len(answers) - answers.count(GOOD),
        "answers of the first model": known[versions[place.model]],
        "answers of the second model": known[versions[place.twin]],
        "of no known version": answers.count(GOOD) - sum(known.values()),
    }


def _replace(file: Path, served: Path) -> None:
    """Put a model in the place of another as it has to be done: whole, under its final name."""
    beside = served.with_suffix(".new")
    shutil.copyfile(file, beside)
    beside.replace(served)


def _wait_for_version(server: Server, picture: Path, version: str) -> None:
    deadline = time.monotonic() + SWAP_LIMIT_S
    while asked(server, picture)["version"] != version:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the version {version} does not answer after {SWAP_LIMIT_S:g} s")
        time.sleep(0.02)


def _known(found: list[tuple[float | None, int]]) -> list[float]:
    """Return the seconds; where there was no good answer any more, infinity."""
    return [float("inf") if seconds is None else seconds for seconds, _ in found]
