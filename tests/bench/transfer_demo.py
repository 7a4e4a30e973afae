"""What transferring is worth: accuracy by pictures per breed, from scratch, with a probe, and fine-tuned.

    python tests/bench/transfer_demo.py [--seeds 5] [--sizes 5,10,20,40] [--epochs 20] [--out DIR] [--plot FILE.png]
                                        [--backbone starter] [--weights FILE]

On the drawn sample of ``dogbreeds``: the same network, the same pictures, the same number of epochs and the same
augmentation for all three, and learning rates that suit each. 40 pictures of every breed judge the exported file, and
nothing is trained or chosen on them; ten others choose the epoch. Both are the same in every run. The seed picks the
training pictures from the other 50, and the random numbers of the training.

Runs go side by side, one to a core. Progress goes to stderr, the tables to stdout and, with plot and single results,
into ``--out``. What is there already, told exactly the same, is not run again.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from cells import FIRST_SEED, Cell, Found, Planned, weights_sha256
from compared import accuracies, heading, tables
from shares import Classes, by_class, shares
from side_by_side import measure, say
from transfer_plot import plot
from ways import FEWEST_EPOCHS, WAYS, Start, options

from finetune.errors import FinetuneError
from finetune.intent import discover
from finetune.loading import load_dataset
from finetune.reporting import SILENT
from finetune_export.machine import cores

SAMPLE = {"plugin": "dogbreeds", "source": "sample"}
SIZES, SEEDS, EPOCHS = (5, 10, 20, 40), 5, 20
HELD_OUT, CHOOSING, MOST = 40, 10, 50
"""Pictures of each breed that judge, that choose the epoch, and that may be trained on."""
RESULTS, TABLES, PLOT = "transfer.jsonl", "transfer.md", "transfer.png"


def main() -> int:
    """Measure what was asked for, print the tables and draw the plot; return the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which lets the other processes end, too
    asked, started = arguments(), time.monotonic()
    asked.out.mkdir(parents=True, exist_ok=True)
    start = Start(backbone=asked.backbone, weights=asked.weights)
    try:
        seeds = range(FIRST_SEED, FIRST_SEED + asked.seeds)
        planned = plan(sample(start), start, asked.sizes, seeds, asked.epochs)
        results = measure(planned, asked.out / RESULTS, asked.jobs)
    except FinetuneError as error:
        say(str(error))
        return error.exit_code
    write(results, asked, (time.monotonic() - started) / 60)
    return 0


def arguments() -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"runs of each (default {SEEDS})")
    parser.add_argument("--sizes", type=sizes, default=SIZES, help=f"pictures per breed, 1 to {MOST}, as in 5,10")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"epochs of each run (default {EPOCHS})")
    parser.add_argument("--backbone", default="starter", help="network to start from (default starter)")
    parser.add_argument("--weights", default="pretrained", help="file of weights, if others than it comes with")
    parser.add_argument("--jobs", type=int, default=cores(), help="runs at a time (default: one to a core)")
    parser.add_argument("--out", type=Path, default=Path("runs/transfer-demo"), help="folder for tables and results")
    parser.add_argument("--plot", type=Path, help=f"PNG to draw (default: {PLOT} in --out)")
    asked = parser.parse_args()
    if min(asked.seeds, asked.jobs) < 1 or asked.epochs < FEWEST_EPOCHS:
        parser.error(f"--seeds and --jobs have to be at least 1, --epochs at least {FEWEST_EPOCHS}")
    return asked


def sizes(text: str) -> tuple[int, ...]:
    """Return the sizes in a list like '5,10', the smallest first; raises ``ValueError`` for what cannot be had."""
    found = tuple(sorted({int(word) for word in text.split(",")}))
    if not 1 <= found[0] <= found[-1] <= MOST:
        raise ValueError(text)
    return found


def sample(start: Start) -> Classes:
    """Return the pictures of the drawn sample by breed; they are drawn unless they are in the cache."""
    intent = discover({**SAMPLE, "backbone": start.backbone, "weights": start.weights})
    return by_class(load_dataset(intent, SILENT).examples)


def plan(classes: Classes, start: Start, sizes: Sequence[int], seeds: Sequence[int], epochs: int) -> list[Planned]:
    """Return all runs: with the first seed everything once, then with the next."""
    told = {way: options(way, start, epochs) for way in WAYS}
    hashes = {way: weights_sha256({**SAMPLE, **told[way]}) for way in WAYS}
    return [
        Planned(
            cell=Cell(data=named(size), way=way, seed=seed, options=told[way], weights_sha256=hashes[way]),
            parts=shares(classes, train=size, valid=CHOOSING, test=HELD_OUT, seed=seed),
        )
        for seed in seeds
        for size in sizes
        for way in WAYS
    ]


def named(size: int) -> str:
    """Return what the row of a size is called."""
    return f"{size} pictures"


def write(results: Sequence[Found], asked: argparse.Namespace, minutes: float) -> None:
    """Print the tables, and write them and the plot."""
    said = (
        f"Of each breed, {HELD_OUT} held-out pictures judge the exported file and {CHOOSING} others choose the epoch, "
        "the same in every run; the seed picks what is trained on."
    )
    content = "\n\n".join(
        (
            heading(results, minutes, "python tests/bench/transfer_demo.py"),
            said,
            *tables(results, "trained on, per breed"),
        )
    )
    say(content, to=sys.stdout)
    (asked.out / TABLES).write_text(content + "\n", encoding="utf-8")
    figure = asked.plot or asked.out / PLOT
    figure.write_bytes(plot({way: by_size(results, way, asked.sizes) for way in WAYS}))
    say(f"\n{asked.out / TABLES}, {asked.out / RESULTS}, {figure}")


def by_size(results: Sequence[Found], way: str, sizes: Sequence[int]) -> dict[int, list[float]]:
    """Return the accuracies (0..1) of a way by pictures per breed."""
    return {size: [*accuracies(results, named(size), way).values()] for size in sizes}


if __name__ == "__main__":
    sys.exit(main())
