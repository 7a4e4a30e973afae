"""Measures one thing in a process of its own: reads a job as JSON from stdin, writes what was found to stdout.

What one configuration leaves behind in memory, threads or caches of a provider cannot touch the next one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import cycle, islice
from typing import Any

import numpy as np

from finetune_export.bench.measurement import Round
from finetune_export.bench.memory import peak_bytes
from finetune_export.bench.score import score
from finetune_export.errors import FinetuneError, ImageError
from finetune_export.golden_pictures import pictures as generated
from finetune_export.image import Pixels, Source
from finetune_export.predictor import Prediction, Predictor

WARM_UP_RUNS = 3
MIN_RUNS = 5


def speed(model: str, provider: str, threads: int, batch: int, seconds: float, files: Sequence[str]) -> dict[str, Any]:
    """Return a ``Round`` as a dictionary: about ``seconds`` of runs, half of them from file where there are files."""
    began = time.perf_counter()
    predictor = Predictor(model, providers=[provider], threads=threads)
    load_s = time.perf_counter() - began
    pixels = _batch(predictor, files or list(generated().values()), batch)
    run_s = timed(lambda: predictor.run(pixels), seconds / 2 if files else seconds)
    found = Round(
        run_s=run_s,
        from_file_per_s=_from_file_per_s(predictor, files, batch, seconds / 2) if files else None,
        load_s=load_s,
        peak_bytes=peak_bytes(),
        file_bytes=predictor.path.stat().st_size,
    )
    return asdict(found)


def accuracy(model: str, provider: str, pictures: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return a ``Score`` as a dictionary."""
    return asdict(score(Predictor(model, providers=[provider]), pictures))


def _batch(predictor: Predictor, sources: Sequence[Source], size: int) -> Pixels:
    """Return pixels, uint8 (size, H, W, 3), of the sources that can be read, repeated where they are few."""
    decoded, refused = [], None
    for source in sources:
        try:
            decoded.append(predictor.pixels(source))
        except ImageError as exc:
            refused = exc
        if len(decoded) == size:
            break
    if not decoded and refused:
        raise refused
    return np.stack(list(islice(cycle(decoded), size)))


def timed(run: Callable[[], object], seconds: float) -> list[float]:
    """Return the seconds of each run, after some that do not count."""
    for _ in range(WARM_UP_RUNS):
        run()
    spent: list[float] = []
    total = 0.0
    while len(spent) < MIN_RUNS or total < seconds:
        began = time.perf_counter()
        run()
        spent.append(time.perf_counter() - began)
        total += spent[-1]
    return spent


def _from_file_per_s(predictor: Predictor, files: Sequence[str], batch: int, seconds: float) -> float:
    began = time.perf_counter()
    answers = predictor.stream(_until(began + seconds, files), batch_size=batch)
    judged = sum(isinstance(answer, Prediction) for answer in answers)
    return judged / (time.perf_counter() - began)


def _until(deadline: float, files: Sequence[str]) -> Iterator[str]:
    """Yield the files over and over until the deadline, each at least once: of them, one at least can be read."""
    for count, file in enumerate(cycle(files)):
        if count >= len(files) and time.perf_counter() >= deadline:
            return
        yield file


TASKS: dict[str, Callable[..., dict[str, Any]]] = {"speed": speed, "accuracy": accuracy}


def main() -> None:
    """Do the job and write what was found, or an error a user can act on, as one line of JSON."""
    job = json.load(sys.stdin)
    answer: dict[str, Any]
    try:
        answer = {"found": TASKS[job.pop("task")](**job)}
    except FinetuneError as exc:
        answer = {"error": str(exc), "status": exc.exit_code}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")


if __name__ == "__main__":
    main()
