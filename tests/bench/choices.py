"""What calibration, averages and help against imbalance are worth, on a test part that nothing was chosen by.

    FINETUNE_REAL_DATA=… python tests/bench/choices.py [--seeds 3] [--out FILE.md]

Every row is the command line that people type, run once per seed, in turn; figures are those of the exported file on
the test part: mean and standard deviation over the seeds. The uneven set has a tenth of the pictures of every other
breed. Frozen layers only, so that what is compared is the head; weights as in ``transfer.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from surroundings import machine

COMMON = ("--strategy", "probe", "--test-share", "0.3", "--crop-fraction", "0.875")
SHOWN = ("accuracy", "balanced-accuracy", "macro-f1", "log-loss", "ece")
KEPT_OF_EVERY_OTHER = 0.1
UNEVEN = "uneven dogs"


@dataclass(frozen=True)
class Row:
    """One line of the table: a set of photos and what is asked for beside the common options."""

    photos: str
    options: tuple[str, ...]


ROWS = [
    *(Row(photos, options) for photos in ("dogs", "catsdogs") for options in ((), ("--calibration", "none"))),
    *(Row("dogs", ("--average", kind)) for kind in ("ema", "soup", "both")),
    *(Row(UNEVEN, ("--imbalance", kind)) for kind in ("none", "weights", "sampling", "focal")),
]


def main() -> int:
    """Measure every row and print the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if not (real := os.environ.get("FINETUNE_REAL_DATA")):
        sys.stdout.write("Skipped: FINETUNE_REAL_DATA is not set; it has to point at the folder of the real photos.\n")
        return 0
    weights = Path(os.environ.get("FINETUNE_REAL_WEIGHTS") or Path(real).resolve().parent / "weights")
    with tempfile.TemporaryDirectory() as scratch:
        text = "\n".join(table(Path(real), weights / "mobilenet_v2.safetensors", asked.seeds, Path(scratch))) + "\n"
    sys.stdout.write(text)
    if asked.out:
        asked.out.write_text(f"{asked.seeds} seeds. {machine()}\n\n{text}", encoding="utf-8")
    return 0


def table(real: Path, weights: Path, seeds: int, scratch: Path) -> Iterator[str]:
    """Yield the lines of the table as they are measured."""
    yield f"| photos | options | {' | '.join(SHOWN)} |"
    yield f"|---|---|{'---|' * len(SHOWN)}"
    for row in ROWS:
        data = uneven(real / "dogs", scratch) if row.photos == UNEVEN else real / row.photos
        found = [scores(data, weights, row.options, seed, scratch) for seed in range(42, 42 + seeds)]
        cells = [spread([each[name] for each in found]) for name in SHOWN]
        line = f"| {row.photos} | {' '.join(row.options) or 'defaults'} | {' | '.join(cells)} |"
        sys.stderr.write(line + "\n")
        yield line


def scores(data: Path, weights: Path, options: tuple[str, ...], seed: int, scratch: Path) -> dict[str, float]:
    """Return the test part's scores of one run."""
    command = [str(Path(sys.executable).with_name("finetune")), "run", "--json", "--data", str(data), *COMMON, *options]
    command += ["--weights", str(weights), "--seed", str(seed), "--out", str(scratch / "runs")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(finished.stderr)
    found: dict[str, float] = json.loads(finished.stdout)["test_scores"]
    return found


def spread(values: list[float]) -> str:
    """Return mean and standard deviation."""
    return f"{statistics.fmean(values):.3f} ± {statistics.stdev(values) if len(values) > 1 else 0:.3f}"


def uneven(dogs: Path, scratch: Path) -> Path:
    """Return a folder of the dogs in which every other breed has a tenth of its pictures."""
    folder = scratch / UNEVEN
    for number, breed in enumerate(sorted(each for each in dogs.iterdir() if each.is_dir())):
        pictures = sorted(breed.iterdir())
        kept = pictures[: round(KEPT_OF_EVERY_OTHER * len(pictures))] if number % 2 else pictures
        (folder / breed.name).mkdir(parents=True, exist_ok=True)
        for picture in kept:
            shutil.copyfile(picture, folder / breed.name / picture.name)
    return folder


if __name__ == "__main__":
    sys.exit(main())
