"""The command line: one file per command; nothing heavy is imported before a command needs it.

Results go to stdout, progress and notes to stderr. A failure the user can act on is one line and the exit status
that its error class names; anything else keeps its traceback, because it is ours to mend.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from cyclopts import App, CycloptsError

from finetune import __version__
from finetune.cli.advise import advise
from finetune.cli.audit import audit
from finetune.cli.list import list_registered
from finetune.cli.lr_find import lr_find
from finetune.cli.plugins import plugins
from finetune.cli.process import let_idle_threads_sleep
from finetune.cli.run import run
from finetune.cli.runtime import forwarded
from finetune.cli.verify import verify
from finetune.errors import ConfigError
from finetune_export.cli.ending import exit_with

COMMANDS: dict[str, Callable[..., Any]] = {
    "run": run,
    "advise": advise,
    "audit": audit,
    "lr-find": lr_find,
    "verify": verify,
    "plugins": plugins,
    "list": list_registered,
}

app = App(
    name="finetune",
    version=__version__,
    help="Turn a folder or a table of pictures into a verified, self-describing ONNX model.",
    help_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)


def _examples(command: Callable[..., Any]) -> str:
    """Return the last section of a command's docstring, which cyclopts leaves out of its help."""
    _, title, examples = (command.__doc__ or "").partition("Examples:\n")
    return title + textwrap.indent(textwrap.dedent(examples.rstrip()), "  ")


for _name, _command in COMMANDS.items():
    app.command(_command, name=_name, help_epilogue=_examples(_command))
for _name, _command in forwarded().items():  # which read their words themselves
    app.command(_command, name=_name, help_flags=(), version_flags=(), end_of_options_delimiter="")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status; ``FINETUNE_DEBUG=1`` shows the traceback of every failure."""
    let_idle_threads_sleep()
    exit_with(lambda: _run(arguments), "finetune")


def _run(arguments: Sequence[str] | None) -> object:
    try:
        return app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        message = f"{' '.join(str(error).split())} See 'finetune --help' and 'finetune COMMAND --help'."
        raise ConfigError(message) from error
