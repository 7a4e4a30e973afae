"""The service under load, measured: speed against the same work without HTTP, overload, soak, faults, and rivals.

    FINETUNE_REAL_DATA=… python tests/bench_serve [--only NAME[,NAME]] [--repeats 3] [--out FOLDER]

A model is fine-tuned on the ants and bees of FINETUNE_REAL_DATA (weights: FINETUNE_REAL_WEIGHTS, or the folder
``weights`` beside it), unless ``--model`` names a run's folder or a model file; ``--photos`` names other pictures.
Clients, servers and everything else that is measured are processes of their own, on loopback, and end with this one.

Tables go to stdout and, with what was measured as JSON, into ``--out``, after every section: a run that was stopped
keeps what it has.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bulk import bulk
from ceiling import ceiling
from faults import faults
from goals import Found
from overload import overload
from processes import Processes
from provenance import Record
from rivals import rivals
from runtime import runtime
from soak import soak
from workplace import TINY, WEIGHTS, Lengths, Workplace, photos_in, trained

SECTIONS: dict[str, Callable[[Workplace], Found]] = {
    "ceiling": ceiling,
    "overload": overload,
    "faults": faults,
    "runtime": runtime,
    "bulk": bulk,
    "rivals": rivals,
    "soak": soak,
}
WITHOUT_PHOTOS = "Skipped: FINETUNE_REAL_DATA is not set; it has to point at the folder of the real photos."
INTERRUPTED = 130
LITSERVE = Path(tempfile.gettempdir()) / "finetune-bench-litserve"


def main() -> int:
    """Measure what was asked for; return 1 if a goal was missed or a section failed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends what is being measured, too
    asked = arguments()
    real = os.environ.get("FINETUNE_REAL_DATA")
    if not real and not (asked.model and asked.photos):
        sys.stdout.write(WITHOUT_PHOTOS + "\n")
        return 0
    try:
        with tempfile.TemporaryDirectory(prefix="finetune-bench-serve-") as folder, Processes(Path(folder)) as started:
            return take(asked, prepared(asked, started, Path(real).resolve() if real else Path()))
    except KeyboardInterrupt:
        say("Interrupted; nothing that was started is left.")
        return INTERRUPTED


def arguments() -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, of: " + ", ".join(SECTIONS))
    parser.add_argument("--model", type=Path, help="a run's folder or a model file, instead of fine-tuning one")
    parser.add_argument("--photos", type=Path, help="folder of pictures (default: validation photos of ants and bees)")
    parser.add_argument("--out", type=Path, help="folder to write bench-serve.md and bench-serve.json to")
    parser.add_argument("--repeats", type=int, help="how often to measure what has a spread (default 3)")
    parser.add_argument("--seconds", type=float, help="of each load (default 20)")
    parser.add_argument("--requests", type=int, help="of the soak (default 100,000)")
    parser.add_argument("--serve", default="", metavar="OPTIONS", help="options of finetune-export serve")
    parser.add_argument("--litserve", type=Path, default=LITSERVE, help=f"environment of LitServe (default {LITSERVE})")
    parser.add_argument("--tiny", action="store_true", help="everything short: does everything run?")
    asked = parser.parse_args()
    asked.only = asked.only.split(",")
    if unknown := [name for name in asked.only if name not in SECTIONS]:
        parser.error(f"there is no section {unknown[0]}; there are {', '.join(SECTIONS)}")
    return asked


def prepared(asked: argparse.Namespace, processes: Processes, real: Path) -> Workplace:
    """Return the workplace, with a model that was made for it unless there is one."""
    given = {name: getattr(asked, name) for name in ("repeats", "seconds", "requests")}
    lengths = replace(TINY if asked.tiny else Lengths(), **{name: value for name, value in given.items() if value})
    weights = Path(os.environ.get("FINETUNE_REAL_WEIGHTS") or real.parent / "weights")
    if not asked.model:
        say(f"Fine-tuning on {real / 'hymenoptera'} with {WEIGHTS} …")
    run = asked.model or trained(real, weights, processes.work / "runs")
    photos = photos_in(asked.photos or real / "hymenoptera" / "val")
    return Workplace(processes, run, photos, lengths, asked.serve.split(), asked.litserve)


def take(asked: argparse.Namespace, place: Workplace) -> int:
    """Take one section after the other, and write after each of them."""
    record, failed = Record(sys.argv[1:], place.lengths, asked.tiny), False
    for name in asked.only:
        say(f"{name} …")
        began = time.monotonic()
        try:
            found = SECTIONS[name](place)
        except Exception as error:  # the other sections can still be measured
            found, failed = Found(name, f"**Failed**: {type(error).__name__}: {error}"), True
        say(f"{name}: {time.monotonic() - began:.0f} s")
        record.add(name, found)
        sys.stdout.write(found.markdown() + "\n\n")
        sys.stdout.flush()
        if asked.out:
            record.write(asked.out)
    return 1 if failed or record.missed() else 0


def say(text: str) -> None:
    """Write a line of progress."""
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
