"""Every way of transferring, measured side by side on real photos: plain fastai, a plain PyTorch loop, and ours.

    FINETUNE_REAL_DATA=… python tests/bench/transfer.py [--only NAME[,NAME]] [--seeds 3] [--log FILE] [--out FILE.md]

The photos are those that FINETUNE_REAL_DATA points at; the weights lie in FINETUNE_REAL_WEIGHTS, or in a folder
``weights`` beside the photos. Everything that is measured runs in a process of its own, one after the other, plain and
ours in turn: 224 px, 32 pictures a batch, the same photos, weights and epochs. Ours is the command line that people
type. It is told ``--crop-fraction 0.875``, because the weights at hand were trained for the middle 224 of 256 pixels;
what the backbone says by itself is right for newer weights.

Progress goes to stderr, the tables to stdout and, with the machine and the command, to ``--out``. With ``--log``, what
was measured is kept, and a run that was stopped goes on where it was; what is in the log is not measured again.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from bench import Bench
from cases import SECTIONS, TINY_PICTURES, Case
from children import ChildFailedError
from photos import Photos
from report import tables
from results import Measurement, Section, append, read
from surroundings import heading

FIRST_SEED = 42
WITHOUT_PHOTOS = "Skipped: FINETUNE_REAL_DATA is not set; it has to point at the folder of the real photos."
TINY = " (tiny: figures mean nothing)"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A case of a section, with one seed."""

    section: str
    case: Case
    seed: int


def main() -> int:
    """Measure what was asked for and print the tables; return the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends what is being measured, too
    asked = arguments()
    if not (real := os.environ.get("FINETUNE_REAL_DATA")):
        say(WITHOUT_PHOTOS, to=sys.stdout)
        return 0
    weights = Path(os.environ.get("FINETUNE_REAL_WEIGHTS") or Path(real).resolve().parent / "weights")
    for folder in (Path(real, "hymenoptera"), weights):
        if not folder.is_dir():
            say(f"{folder} is not a folder; check FINETUNE_REAL_DATA and FINETUNE_REAL_WEIGHTS.")
            return 2
    return take(asked, Path(real).resolve(), weights.resolve())


def arguments() -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, of: " + ", ".join(SECTIONS))
    parser.add_argument("--seeds", type=int, default=3, help="runs of what decides a ratio (default 3)")
    parser.add_argument("--out", type=Path, help="Markdown file to write the tables to")
    parser.add_argument("--log", type=Path, help="file of JSON lines to keep measurements in, and to go on from")
    parser.add_argument("--tiny", action="store_true", help="few pictures, one epoch: does everything run?")
    asked = parser.parse_args()
    asked.only = asked.only.split(",")
    if unknown := [name for name in asked.only if name not in SECTIONS]:
        parser.error(f"there is no section {unknown[0]}; there are {', '.join(SECTIONS)}")
    if asked.seeds < 1:
        parser.error("--seeds has to be at least 1")
    return asked


def take(asked: argparse.Namespace, real: Path, weights: Path) -> int:
    """Measure, print the tables, and return 1 where something could not be measured."""
    done = read(asked.log) if asked.log else []
    with tempfile.TemporaryDirectory(prefix="finetune-bench-") as folder:
        work = Path(folder)
        bench = Bench(weights=weights, work=work, seeds=range(FIRST_SEED, FIRST_SEED + asked.seeds))
        photos = Photos(real, work, TINY_PICTURES if asked.tiny else None)
        planned = [item for name in asked.only for item in plan(name, photos, bench.seeds, asked.tiny)]
        failures = measure(bench, planned, done, asked.log)
    names = [name + TINY * asked.tiny for name in asked.only]
    write([Section(name, done) for name in names], asked)
    return 1 if failures else 0


def plan(section: str, photos: Photos, seeds: Sequence[int], tiny: bool) -> Iterator[Planned]:
    """Yield the cases of a section in the order in which they run: all with the first seed, then some with others."""
    cases = list(SECTIONS[section](photos, tiny))
    for seed in seeds:
        for case in cases:
            if case.every_seed or seed == seeds[0]:
                yield Planned(section=section + TINY * tiny, case=case, seed=seed)


def measure(bench: Bench, planned: Sequence[Planned], done: list[Measurement], log: Path | None) -> int:
    """Run what is not done yet, add it to ``done`` and to the log, and return how many failed."""
    failures, warm = 0, False
    for number, item in enumerate(planned, 1):
        if is_done(bench, item, done):
            continue
        if not warm:
            say("Reading libraries and photos once …")
            bench.warm_up(sorted({other.case.data for other in planned}))
            warm = True
        say(f"[{number}/{len(planned)}] {item.section}: {item.case.name}, seed {item.seed} …")
        try:
            for found in bench.runs(item.section, item.case, item.seed):
                done.append(found)
                say(f"    {found.name}: {summary(found)}")
                if log:
                    append(log, found)
        except ChildFailedError as error:
            failures += 1
            say(f"    {item.case.name} {error}")
    return failures


def is_done(bench: Bench, item: Planned, done: Sequence[Measurement]) -> bool:
    """Whether all runs of a case are there; a second run needs the first one's cache, and so both run again."""
    there = {found.key for found in done}
    return all((item.section, name, item.seed) in there for name in bench.names(item.case, item.seed))


def summary(found: Measurement) -> str:
    """Return a measurement in a few words."""
    accuracy = "" if found.accuracy is None else f", accuracy {found.accuracy:.3f}"
    return f"{found.training_s:.1f} s of training, {found.whole_s:.1f} s in all, {found.peak_mb:.0f} MB{accuracy}"


def write(sections: Sequence[Section], asked: argparse.Namespace) -> None:
    """Print the tables, and write them to the file that was asked for."""
    said = [f"--only {','.join(asked.only)}"] if asked.only != list(SECTIONS) else []
    said += [f"--seeds {asked.seeds}", *(["--tiny"] if asked.tiny else [])]
    warning = ["**Few pictures and one epoch: these figures mean nothing.**"] if asked.tiny else []
    content = "\n\n".join([heading(sections, said), *warning, *(tables(section) for section in sections)])
    say(content, to=sys.stdout)
    if asked.out:
        asked.out.write_text(content + "\n", encoding="utf-8")


def say(text: str, to: TextIO | None = None) -> None:
    """Write a line to stderr, or where it is told to."""
    print(text, file=to or sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
