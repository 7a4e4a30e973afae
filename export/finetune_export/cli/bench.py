"""``finetune-export bench``: how fast, how large and how good models are on this machine, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune_export.cli.output import print_json, print_note, print_table
from finetune_export.errors import UsageError

if TYPE_CHECKING:
    from finetune_export.bench.measurement import Row
    from finetune_export.bench.score import Labelled, Score

REFUSED, UNAVAILABLE = 4, 6
MOST = 1024
"""Threads or pictures of a run; more would only fill the memory."""
ONLY_SINGLE = "accuracy is measured of single labels only, so leave --data out"
FLOOR_HELP = """0 to 1, needs --data: status 4 if a model is below, 6 if one has no accuracy on a provider;
pictures that cannot be read count as wrong"""
EXAMPLES = """examples:
  %(prog)s model.onnx
  %(prog)s onnx/model.onnx int8/model.onnx --threads 1,2 --batch 1,8 --provider all
  %(prog)s model.onnx --data pictures/valid --min-accuracy 0.95"""


def add(subparsers: Any) -> None:
    """Describe the command's options."""
    description = """Measure models on this machine, side by side: latency, throughput, memory, size and, on pictures
with known labels, accuracy. Every round of every row is a process of its own."""
    parser = subparsers.add_parser("bench", description=description, epilog=EXAMPLES)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="an .onnx file, or a folder that a target wrote")
    parser.add_argument("--data", type=Path, help="folder with a folder of pictures for each label; single labels only")
    parser.add_argument("--min-accuracy", type=_share, help=FLOOR_HELP)
    parser.add_argument(
        "--provider", action="extend", type=_names, help="onnxruntime's: CPU or CPU,CUDA …, or all (default CPU)"
    )
    parser.add_argument("--threads", type=_counts, default=[1], help="threads of a run: 1 or 1,2 … (default 1)")
    parser.add_argument("--batch", type=_counts, default=[1], help="pictures of a run: 1 or 1,8 … (default 1)")
    parser.add_argument("--seconds", type=_seconds, default=3.0, help="measured for each row (default 3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and return the exit status."""
    if arguments.min_accuracy is not None and arguments.data is None:
        raise UsageError("--min-accuracy needs pictures; name their folder with --data")
    from finetune_export.bench.configuration import configurations
    from finetune_export.bench.rounds import Plan
    from finetune_export.bench.table import as_json, cells

    pictures = _checked(arguments.models, arguments.data)
    compared = configurations(arguments.models, arguments.provider or ["CPU"], arguments.threads, arguments.batch)
    rows = Plan(configurations=compared, seconds=arguments.seconds, pictures=pictures).rows()
    print_json(as_json(rows)) if arguments.json else print_table(cells(rows))
    for line in (*_failures(rows), *_below(rows, arguments.min_accuracy), *_unscored(rows, arguments.min_accuracy)):
        print_note(arguments, line)
    return _status(rows, arguments.min_accuracy)


def _checked(models: Sequence[str], data: Path | None) -> list[Labelled]:
    """Open every model with all its checks, and return the pictures, whose labels each model has to have."""
    from finetune_export.bench.score import labelled_pictures
    from finetune_export.predictor import Predictor

    pictures: list[Labelled] = []
    for model in models:
        predictor = Predictor(model, threads=1)
        if data and predictor.task != "single-label":
            raise UsageError(f"--data {data}: {model} is a {predictor.task} model; {ONLY_SINGLE}")
        pictures = labelled_pictures(data, predictor.labels) if data else []
    return pictures


def _failures(rows: Sequence[Row]) -> list[str]:
    """Return why models have no figures, once for each model and provider."""
    return list(dict.fromkeys(f"{row.name}: {row.failure.text}" for row in rows if row.failure))


def _below(rows: Sequence[Row], floor: float | None) -> list[str]:
    """Return a line for each model and provider whose accuracy, with refused pictures as wrong, is below the floor."""
    lines = [
        f"{row.name}: accuracy {row.score.share_right:.4f} on {_pictures(row.score)} is below --min-accuracy "
        f"{floor:g}; do not deploy it, or lower the floor"
        for row in rows
        if row.score and floor is not None and row.score.share_right < floor
    ]
    return list(dict.fromkeys(lines))


def _pictures(score: Score) -> str:
    refused = f", {score.refused} of them refused and counted as wrong," if score.refused else ""
    return f"{score.total} pictures{refused}"


def _unscored(rows: Sequence[Row], floor: float | None) -> list[str]:
    """Return a line for each model and provider that has no accuracy to hold against the floor."""
    names = dict.fromkeys(row.name for row in rows if floor is not None and row.score is None)
    return [f"{name}: no accuracy, which --min-accuracy asks for; mend that, or leave it out" for name in names]


def _status(rows: Sequence[Row], floor: float | None) -> int:
    """Return 4 for a model that was refused or is below the floor, 6 for figures that are missing, or else 0."""
    if _below(rows, floor) or any(row.failure and row.failure.status == REFUSED for row in rows):
        return REFUSED
    if _unscored(rows, floor):
        return UNAVAILABLE
    measured = {row.configuration.model for row in rows if not row.failure}
    return 0 if all(row.configuration.model in measured for row in rows) else UNAVAILABLE


def _names(text: str) -> list[str]:
    names = [part.strip() for part in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give names such as CPU,CUDA")
    return names


def _counts(text: str) -> list[int]:
    values = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    if not all(1 <= value <= MOST for value in values):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give numbers from 1 to {MOST}, such as 1,8")
    return values


def _between(low: float, high: float, allowed: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; it has to be {allowed}")
        return value

    return read


_share = _between(0.0, 1.0, "from 0 to 1")
_seconds = _between(0.01, 3600.0, "0.01 to 3600 seconds")
