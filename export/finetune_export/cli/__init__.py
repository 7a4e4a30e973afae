"""The command line ``finetune-export``: one file per command; the module of a command is loaded when it is called.

Each has ``add(subparsers)``, which describes its options and imports nothing heavy, and ``run(arguments)``, which
returns the exit status. ``arguments.program`` is what the command line is called: ``finetune`` has the same commands.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

from finetune_export import __version__
from finetune_export.cli.ending import exit_with
from finetune_export.errors import UsageError

PROGRAM = "finetune-export"
COMMANDS = {
    "predict": "Classify pictures, a single one or a hundred thousand.",
    "serve": "Answer over HTTP.",
    "bench": "Measure how fast a model answers on this machine.",
    "inspect": "Show what a model expects, answers and comes from.",
    "check": "Check model files: damage, safety, and their golden answers.",
}


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` whose refusals are one line; options are written out, and examples keep their lines."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        """Raise ``UsageError``."""
        raise UsageError(f"{message}; see '{self.prog} --help'")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End with what was printed sent off, so that a reader that went away is noticed here."""
        sys.stdout.flush()
        super().exit(status, message)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status; ``FINETUNE_DEBUG=1`` shows the traceback of every failure."""
    exit_with(lambda: run(arguments), PROGRAM)


def run(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run one command and return its exit status; raise what ends it early."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser(program, arguments)
    parsed = parser.parse_args(arguments, argparse.Namespace(program=program))
    if parsed.command is None:
        parser.print_help()
        return 0
    status: int = _module(parsed.command).run(parsed)
    return status


def _parser(program: str, arguments: Sequence[str]) -> Parser:
    """Return the parser with the options of the command that was called; of the others it knows the names."""
    parser = Parser(prog=program, description="Run a model that finetune exported: pictures in, labels out.")
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, summary in COMMANDS.items():
        if name in arguments[:1]:
            _module(name).add(subparsers)
        else:
            subparsers.add_parser(name, help=summary)
    return parser


def _module(command: str) -> ModuleType:
    return import_module(f"{__name__}.{command}")
