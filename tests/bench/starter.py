"""What the starter's weights, learned from drawings alone, are worth on photos: measured, not promised.

    FINETUNE_REAL_DATA=… python tests/bench/starter.py [--seeds 3] [--epochs 20] [--out DIR] [--backbone starter]
                                                      [--weights FILE]

Ants and bees, and a subset of CIFAR-10, at 64 px: the same network fine-tuned, with a probe, and from scratch, at equal
epochs. The photos' own validation or test part judges the exported file; of the rest, some of each class choose the
epoch, the same in every run, and the seed picks what is trained on.

Runs go side by side, one to a core. Progress goes to stderr, the tables to stdout and, with the single results, into
``--out``. What is there already, told exactly the same, is not run again.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cells import FIRST_SEED, Cell, Found, Planned, weights_sha256
from compared import heading, tables
from photos import pictures
from shares import Classes, Parts, shares
from side_by_side import measure, say
from ways import FEWEST_EPOCHS, WAYS, Start, options

from finetune.errors import FinetuneError
from finetune_export.machine import cores

SEEDS, EPOCHS = 3, 20
RESULTS, TABLES = "starter.jsonl", "starter.md"
WITHOUT_PHOTOS = "Skipped: FINETUNE_REAL_DATA is not set; it has to point at the folder of the real photos."
NO_PHOTO = "imageNotFound.gif"
"""Lies among the ants, and says that the photo is gone."""


@dataclass(frozen=True, kw_only=True)
class PhotoSet:
    """A set of photos in two folders of classes, and how many of each class are used for what."""

    name: str
    learned: str
    judged: str
    train: int
    valid: int

    def parts(self, real: Path, seed: int) -> Parts:
        """Return the parts for a seed, of the photos below ``real``."""
        own = shares(_classes(real / self.learned), train=self.train, valid=self.valid, test=0, seed=seed)
        return {**own, "test": _classes(real / self.judged)}


SETS = (
    PhotoSet(name="ants and bees", learned="hymenoptera/train", judged="hymenoptera/val", train=100, valid=20),
    PhotoSet(name="CIFAR-10", learned="cifar10/train", judged="cifar10/test", train=50, valid=20),
)


def _classes(folder: Path) -> Classes:
    return {
        entry.name: [photo for photo in pictures(entry) if photo.name != NO_PHOTO]
        for entry in sorted(folder.iterdir())
        if entry.is_dir()
    }


def main() -> int:
    """Measure what was asked for and print the tables; return the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which lets the other processes end, too
    asked, started = arguments(), time.monotonic()
    if not (real := os.environ.get("FINETUNE_REAL_DATA")):
        say(WITHOUT_PHOTOS, to=sys.stdout)
        return 0
    asked.out.mkdir(parents=True, exist_ok=True)
    start = Start(backbone=asked.backbone, weights=asked.weights)
    try:
        seeds = range(FIRST_SEED, FIRST_SEED + asked.seeds)
        planned = list(plan(Path(real).resolve(), start, seeds, asked.epochs))
        results = measure(planned, asked.out / RESULTS, asked.jobs)
    except FinetuneError as error:
        say(str(error))
        return error.exit_code
    write(results, asked.out, (time.monotonic() - started) / 60)
    return 0


def arguments() -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"runs of each (default {SEEDS})")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"epochs of each run (default {EPOCHS})")
    parser.add_argument("--backbone", default="starter", help="network to start from (default starter)")
    parser.add_argument("--weights", default="pretrained", help="file of weights, if others than it comes with")
    parser.add_argument("--jobs", type=int, default=cores(), help="runs at a time (default: one to a core)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-starter"), help="folder for tables and results")
    asked = parser.parse_args()
    if min(asked.seeds, asked.jobs) < 1 or asked.epochs < FEWEST_EPOCHS:
        parser.error(f"--seeds and --jobs have to be at least 1, --epochs at least {FEWEST_EPOCHS}")
    return asked


def plan(real: Path, start: Start, seeds: Sequence[int], epochs: int) -> Iterator[Planned]:
    """Yield all runs: with the first seed everything once, then with the next."""
    told = {way: options(way, start, epochs) for way in WAYS}
    hashes = {way: weights_sha256({"data": real, **told[way]}) for way in WAYS}
    for seed in seeds:
        for photos in SETS:
            parts = photos.parts(real, seed)
            for way in WAYS:
                cell = Cell(data=photos.name, way=way, seed=seed, options=told[way], weights_sha256=hashes[way])
                yield Planned(cell=cell, parts=parts)


def write(results: Sequence[Found], out: Path, minutes: float) -> None:
    """Print the tables, and write them."""
    used = [f"{photos.name}: {photos.train} of each class to train on, {photos.valid} to choose by" for photos in SETS]
    said = f"{'; '.join(used)}; the sets' own validation or test part judges the exported file."
    content = "\n\n".join(
        (heading(results, minutes, "python tests/bench/starter.py"), said, *tables(results, "photos"))
    )
    say(content, to=sys.stdout)
    (out / TABLES).write_text(content + "\n", encoding="utf-8")
    say(f"\n{out / TABLES}, {out / RESULTS}")


if __name__ == "__main__":
    sys.exit(main())
