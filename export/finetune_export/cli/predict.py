"""``finetune-export predict``: what is in pictures, be it one or a hundred thousand."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetune_export.errors import ImageError, UsageError

_TOP = "so many of the most probable labels, with their probabilities [1; of several labels, none]"
TABLE, PARQUET = "table", "parquet"
FILE_FORMATS = ("csv", "jsonl", "json", PARQUET)

DESCRIPTION = """Say what an exported model sees in pictures.

A source is a picture, a folder (all pictures below it, hidden ones left out), a quoted pattern such as
'in/**/*.jpg', or - for a list on stdin. Each picture is one row, in the order of the sources: path, what the
model says, and error. A model of single labels says label, probability, abstains (whether the probability is
below the label's threshold; a question mark in the table) and the top labels; one of several labels says those
that reach their thresholds; a regression says its values. A picture that cannot be read is a row with the
reason, and makes the exit status 3.

With --out, the rows so far are in FILE.part: a run that was stopped or killed is continued by the same command,
and ends with the same file."""

EXAMPLES = """examples:
  %(prog)s model.onnx photo.jpg
  %(prog)s model.onnx holiday/ --top 3 --out holiday.csv
  find / -name '*.jpg' -print0 | %(prog)s model.onnx - --null --format jsonl
  %(prog)s model.onnx 'archive/**/*.jpg' --embeddings --out archive.parquet --processes 8"""


def add(subparsers: Any) -> None:
    """Describe the command's options."""
    parser = subparsers.add_parser("predict", description=DESCRIPTION, epilog=EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="the .onnx file, or the folder that an export target wrote")
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help="a picture, a folder, a quoted pattern, or -")
    parser.add_argument("-0", "--null", action="store_true", help="the paths on stdin end with NUL, not with a line")
    _add_output(parser.add_argument_group("what comes out, and where"))
    _add_work(parser.add_argument_group("how it is worked out"))


def _add_output(group: Any) -> None:
    group.add_argument("--top", type=_whole, metavar="K", help=_TOP)
    group.add_argument("--embeddings", action="store_true", help="what the network's head sees, too; not in csv")
    group.add_argument("--out", type=Path, metavar="FILE", help="write a .csv, .jsonl, .json or .parquet file")
    group.add_argument("--format", choices=(TABLE, *FILE_FORMATS), help="[the ending of FILE; without FILE, table]")
    group.add_argument("--overwrite", action="store_true", help="replace FILE, when the new one is whole")
    group.add_argument("--restart", action="store_true", help="throw FILE.part away, as when pictures have changed")
    group.add_argument("--quiet", action="store_true", help="say nothing of progress")


def _add_work(group: Any) -> None:
    most = "[one per processor; 1 for few pictures, other providers, or - without --out]"
    group.add_argument("--processes", type=_whole, metavar="N", help=most)
    group.add_argument("--batch-size", type=_whole, metavar="N", help="pictures in a run of the network [1 on the CPU]")
    group.add_argument(
        "--provider", action="append", default=[], metavar="NAME", help="onnxruntime's, repeatable [CPU]"
    )
    group.add_argument("--no-check", action="store_true", help="leave out the model's golden pairs")
    group.add_argument("--max-file-mb", type=_whole, default=64, metavar="N", help="the largest file, in MiB [64]")
    group.add_argument("--max-megapixels", type=_whole, default=100, metavar="N", help="the largest picture [100]")


def run(arguments: argparse.Namespace) -> int:
    """Ask about the pictures, and return 3 if one of them was refused."""
    kind = _format(arguments)
    from finetune_export.cli.prediction import Work

    work = Work(arguments, kind)
    errors = work.to_file() if arguments.out else work.to_stdout()
    return ImageError.exit_code if errors else 0


def _format(arguments: argparse.Namespace) -> str:
    """Return the format to write, having seen that the options go together; raise ``UsageError`` otherwise."""
    kind = str(arguments.format or _ending(arguments.out))
    if problem := next((text for wrong, text in _problems(arguments, kind) if wrong), None):
        raise UsageError(problem)
    if kind == PARQUET:
        from finetune_export.bulk.parquet import load_pyarrow

        load_pyarrow()  # before the work
    return kind


def _problems(arguments: argparse.Namespace, kind: str) -> Iterator[tuple[bool, str]]:
    out = arguments.out
    yield (
        kind not in (TABLE, *FILE_FORMATS),
        f"--out {out} has to end with .{', .'.join(FILE_FORMATS)}; or give --format",
    )
    yield out is not None and kind == TABLE, "--format table is for the screen; give another one with --out"
    yield out is None and kind == PARQUET, "--format parquet is not for the screen; give --out FILE"
    flat = kind in (TABLE, "csv")
    yield (
        arguments.embeddings and flat,
        f"--embeddings do not fit into --format {kind}; allowed are jsonl, json, parquet",
    )
    yield out is None and arguments.restart, "--restart needs --out FILE"
    yield out is None and arguments.overwrite, "--overwrite needs --out FILE"
    yield out is not None and out.is_dir(), f"--out {out} is a folder; give a file"
    exists = out is not None and out.exists() and not arguments.overwrite
    yield exists, f"{out} exists already; replace it with --overwrite, or give another --out"


def _ending(out: Path | None) -> str:
    return out.suffix.lower().removeprefix(".") if out else TABLE


def _whole(text: str) -> int:
    """Return an option's value, a whole number of at least 1."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text} is not allowed; give a whole number of at least 1")
    return int(text)
