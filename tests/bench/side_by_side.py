"""Many runs, one to a core, each kept as soon as it is done."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TextIO

from cells import Found, Planned, append, measured, of_these, read

from finetune_export.machine import cores


def measure(planned: Sequence[Planned], log: Path, jobs: int) -> list[Found]:
    """Run what is not in the log yet, so many at a time, and return what all came to, in their order.

    Raises the ``FinetuneError`` of a run that failed; what was done before it is in the log.
    """
    known = read(log)
    left = [item for item in planned if not of_these([item.cell], known)]
    say(f"{len(planned)} runs, of these {len(planned) - len(left)} done before.")
    for number, found in enumerate(_results(left, jobs), 1):
        append(log, found)
        known.append(found)
        say(f"[{number}/{len(left)}] {summary(found)}")
    return of_these([item.cell for item in planned], known)


def _results(planned: Sequence[Planned], jobs: int) -> Iterator[Found]:
    """Yield the results as they come; of one job, without another process."""
    if jobs == 1:
        yield from map(measured, planned)
        return
    # What the new processes start with: together they have the cores that this one may use.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // jobs)))
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as processes:
        try:
            for finished in as_completed([processes.submit(measured, item) for item in planned]):
                yield finished.result()
        finally:
            processes.shutdown(cancel_futures=True)


def summary(found: Found) -> str:
    """Return a result in a few words."""
    what = f"{found.cell.data}, {found.cell.way}, seed {found.cell.seed}"
    return f"{what}: {found.accuracy:.1%}, {found.training_s:.0f} s of training, {found.whole_s:.0f} s in all"


def say(text: str, to: TextIO | None = None) -> None:
    """Write a line to stderr, or where it is told to."""
    print(text, file=to or sys.stderr, flush=True)
