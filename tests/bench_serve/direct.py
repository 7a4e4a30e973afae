"""Measured in a process of its own: from a picture's bytes to its prediction without any HTTP, in ``threads`` threads.

Takes a JSON object as its argument, writes ``ready``, begins when a line comes, and ends with a line of JSON: the
seconds of every picture, and of the processor altogether. Each run of the network takes one thread, as in the service.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from finetune_export import Predictor

WARM_UP = 5


def answered(predictor: Predictor, picture: bytes) -> float:
    """Return the seconds from a picture's bytes to its prediction."""
    began = time.monotonic()
    probabilities, _ = predictor.run(predictor.pixels(picture)[None])
    predictor.prediction("picture", probabilities[0])
    return time.monotonic() - began


def loop(predictor: Predictor, pictures: list[bytes], first: int, seconds: float) -> list[float]:
    """Return the seconds of every picture, one after the other from the one numbered ``first``, round and round."""
    deadline, spent = time.monotonic() + seconds, []
    for picture in islice(cycle(pictures), first, None):
        spent.append(answered(predictor, picture))
        if time.monotonic() >= deadline:
            break
    return spent


def main() -> None:
    """Measure what the argument says."""
    job: dict[str, Any] = json.loads(sys.argv[1])
    pictures = [Path(file).read_bytes() for file in job["files"]]
    predictor = Predictor(job["model"], threads=1)
    for picture in pictures[:WARM_UP]:
        answered(predictor, picture)
    print("ready", file=sys.stdout, flush=True)  # noqa: T201 - the line is what the caller waits for
    sys.stdin.readline()
    began = time.process_time()
    with ThreadPoolExecutor(job["threads"]) as pool:
        firsts = [job["first"] + len(pictures) * number // job["threads"] for number in range(job["threads"])]
        runs = list(pool.map(lambda first: loop(predictor, pictures, first, job["seconds"]), firsts))
    found = {"spent": [spent for run in runs for spent in run], "cpu_s": time.process_time() - began}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
