"""Takes the measurements of cases, one process after the other."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from csv import DictReader
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cases import AGAIN, LIMIT_S, Case
from children import Finished, measured
from results import Measurement

HERE = Path(__file__).parent
SCRIPTS = {"limit": "limit.py", "fastai": "plain_fastai.py", "torch": "plain_torch.py"}
BATCH_SIZE = 32
CROP_FRACTION = 0.875
"""The weights were trained for 224 of 256 pixels; the backbone's default is that of other, newer weights."""
NOT_TRAINING = ("prepare", "evaluate", "export", "total")
WARM_UP = "import fastai.vision.all, finetune.run, matplotlib.font_manager, onnxruntime, torchvision"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where the weights are, a folder for what is temporary, and the seeds."""

    weights: Path
    work: Path
    seeds: Sequence[int]

    def warm_up(self, folders: Sequence[Path]) -> None:
        """Read libraries and photos once, so that nobody pays for a cold disk."""
        measured([sys.executable, "-c", WARM_UP], self._env(self.work), LIMIT_S)
        for folder in folders:
            for parent, _, names in os.walk(folder, followlinks=True):
                for name in names:
                    Path(parent, name).read_bytes()

    def runs(self, section: str, case: Case, seed: int) -> Iterator[Measurement]:
        """Yield the measurement of a case and, for the first seed, that of its second run."""
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            cache = self.work / "caches" / case.cache if case.cache else Path(folder)
            for name in self.names(case, seed):
                yield self._run(section, case, name, seed, cache)

    def names(self, case: Case, seed: int) -> list[str]:
        """Return the names of a case's runs: one, or two for the first seed of a case that runs again."""
        return [case.name, case.name + AGAIN] if case.again and seed == self.seeds[0] else [case.name]

    def _run(self, section: str, case: Case, name: str, seed: int, cache: Path) -> Measurement:
        with tempfile.TemporaryDirectory(dir=self.work) as out:
            command = self._ours(case, seed, out) if case.kind == "ours" else self._plain(case, seed)
            finished = measured(command, self._env(cache), LIMIT_S)
            found = _ours_found(finished) if case.kind == "ours" else _plain_found(finished)
        return Measurement(
            section=section,
            name=name,
            seed=seed,
            whole_s=finished.seconds,
            peak_mb=finished.peak_mb,
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            **found,
        )

    def _env(self, cache: Path) -> dict[str, str]:
        fonts = str(self.work / "matplotlib")  # found once, and not again with every empty cache
        return {**os.environ, "XDG_CACHE_HOME": str(cache), "MPLCONFIGDIR": fonts}

    def _plain(self, case: Case, seed: int) -> list[str]:
        job = {**self._common(case), "arch": case.arch, "batch_size": BATCH_SIZE, "seed": seed, **case.job}
        return [sys.executable, str(HERE / SCRIPTS[case.kind]), json.dumps(job)]

    def _ours(self, case: Case, seed: int, out: str) -> list[str]:
        common = [part for name, value in self._common(case).items() for part in (f"--{name}", value)]
        alike = f"--image-size 224 --batch-size {BATCH_SIZE} --crop-fraction {CROP_FRACTION} --seed {seed}"
        flags = f"--backbone {case.arch} {alike} {case.flags} --json".split()
        return [sys.executable, "-m", "finetune", "run", *common, "--out", out, *flags]

    def _common(self, case: Case) -> dict[str, str]:
        return {"data": str(case.data), "weights": str(self.weights / f"{case.arch}.safetensors")}


def _plain_found(finished: Finished) -> dict[str, Any]:
    """Return what a plain measurement says in the last line that it writes."""
    found: dict[str, Any] = json.loads(finished.output.strip().splitlines()[-1])
    return found


def _ours_found(finished: Finished) -> dict[str, Any]:
    """Return what ``finetune run --json`` says, and how many epochs its history has; a fit counts as one."""
    result = json.loads(finished.output)
    seconds: dict[str, float] = result["seconds"]
    training_s = sum(spent for stage, spent in seconds.items() if stage not in NOT_TRAINING)
    return {
        "training_s": training_s,
        "passes": result["train_images"] * max(1, _epochs(Path(result["run"]))),
        "accuracy": result["value"],
        "parts": seconds,
    }


def _epochs(run: Path) -> int:
    with (run / "history.csv").open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in DictReader(file))
