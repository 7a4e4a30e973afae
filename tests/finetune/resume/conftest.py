"""Runs that are stopped in every way there is, and what they leave behind."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from PIL import Image

NURSERY = Path(__file__).with_name("nursery.py")

OPTIONS = (
    *("--backbone", "squeezenet1_1", "--weights", "none", "--image-size", "32", "--batch-size", "4"),
    *("--strategy", "finetune", "--freeze-epochs", "3", "--epochs", "2", "--views", "4"),
    *("--checkpoint-seconds", "0", "--cache-gb", "0"),
)
"""Two phases with a checkpoint at every step."""


@dataclass(frozen=True)
class Ending:
    """How a run ended: its exit status, negative for a signal, and what it said."""

    status: int
    said: str


@dataclass(frozen=True)
class Trace:
    """What has to be the same, stop or no stop."""

    weights: str
    history: str
    metrics: str


def trace_of(run: Path) -> Trace:
    rows = [line.split(",") for line in (run / "history.csv").read_text().splitlines()]
    assert rows[0][-1] == "seconds"
    return Trace(
        weights=hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest(),
        history="\n".join(",".join(row[:-1]) for row in rows),
        metrics=(run / "metrics.json").read_text(),
    )


class Nursery:
    """Starts runs, and signals them when it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(
        self,
        *arguments: object,
        marker: str = "",
        watched: object = "",
        after_s: float | None = None,
        signals: Sequence[str] = ("SIGKILL",),
        limits: Mapping[str, int] = MappingProxyType({}),
    ) -> Ending:
        """Run ``finetune``; see the nursery's own description of what it can do to a run.

        With ``after_s``, the run is signalled so long after it said a line that begins with ``marker``, or after it
        wrote a file of the pattern ``watched`` that holds it.
        """
        request = {
            "arguments": list(map(str, arguments)),
            "marker": marker,
            "watched": str(watched),
            "after_s": after_s,
            "signals": list(signals),
            "limits": dict(limits),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return Ending(**json.loads(self._process.stdout.readline()))


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    import os

    cache = tmp_path_factory.mktemp("cache")
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(NURSERY)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env=environment) as process:
        yield Nursery(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=60)


@pytest.fixture(scope="session")
def insects(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Image.Image]) -> Path:
    """Two classes with sixteen pictures each."""
    root = tmp_path_factory.mktemp("data") / "insects"
    for kind, label in enumerate(("ant", "bee")):
        (root / label).mkdir(parents=True)
        for i in range(16):
            picture(kind, seed=100 * kind + i).save(root / label / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def uninterrupted(nursery: Nursery, insects: Path, tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """What a run with these options comes to when nothing happens to it."""
    out = tmp_path_factory.mktemp("uninterrupted")
    ending = nursery.run("run", "--data", insects, *OPTIONS, "--out", out)
    assert ending.status == 0, ending.said
    return trace_of(next(out.iterdir()))
