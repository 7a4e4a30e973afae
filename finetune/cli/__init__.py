"""The command line: one file per command; nothing heavy is imported before a command needs it.

Results go to stdout, progress and notes to stderr. A failure the user can act on is one line and the exit status
that its error class names; anything else keeps its traceback, because it is ours to mend.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from cyclopts import App

from finetune import __version__
from finetune.cli.advise import advise
from finetune.cli.audit import audit
from finetune.cli.commands import add, run_words
from finetune.cli.explain import explain
from finetune.cli.list import list_registered
from finetune.cli.lr_find import lr_find
from finetune.cli.plugins import plugins
from finetune.cli.plugins_check import check
from finetune.cli.plugins_new import new
from finetune.cli.pretrain import pretrain
from finetune.cli.process import let_idle_threads_sleep
from finetune.cli.report import report
from finetune.cli.run import run
from finetune.cli.runs import runs
from finetune.cli.runs_clean import clean
from finetune.cli.runtime import forwarded
from finetune.cli.verify import verify
from finetune_export.cli.ending import exit_with

COMMANDS: dict[str, Callable[..., Any]] = {
    "run": run,
    "pretrain": pretrain,
    "advise": advise,
    "audit": audit,
    "lr-find": lr_find,
    "verify": verify,
    "report": report,
    "explain": explain,
    "runs": runs,
    "plugins": plugins,
    "list": list_registered,
}

OF_PLUGINS: dict[str, Callable[..., Any]] = {"check": check, "new": new}
"""The commands of the group ``finetune plugins``."""
OF_RUNS: dict[str, Callable[..., Any]] = {"clean": clean}
"""The commands of the group ``finetune runs``."""


def make_app() -> App:
    """Return the command line with finetune's own commands."""
    made = App(
        name="finetune",
        version=__version__,
        help="Turn a folder or a table of pictures into a verified, self-describing ONNX model.",
        help_format="plaintext",
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for name, command in COMMANDS.items():
        add(made, name, command)
    for name, command in OF_PLUGINS.items():
        add(made["plugins"], name, command)
    for name, command in OF_RUNS.items():
        add(made["runs"], name, command)
    for name, command in forwarded().items():  # which read their words themselves
        made.command(command, name=name, help_flags=(), version_flags=(), end_of_options_delimiter="")
    return made


app = make_app()
OWN_WORDS = {*COMMANDS, *forwarded(), "--version"}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status; ``FINETUNE_DEBUG=1`` shows the traceback of every failure."""
    let_idle_threads_sleep()
    exit_with(lambda: _run(arguments), "finetune")


def _run(arguments: Sequence[str] | None) -> object:
    words = tuple(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in OWN_WORDS:  # first, so that plugins are loaded for nothing but their own commands
        return run_words(app, words)
    from finetune.cli.plugin_commands import run_with_plugins

    return run_with_plugins(make_app(), words)
