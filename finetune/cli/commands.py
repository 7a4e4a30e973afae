"""Commands on the command line: functions, as cyclopts reads them, and what is said about words that do not fit."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from cyclopts import App, CycloptsError

from finetune.errors import ConfigError


def add(app: App, name: str, command: Callable[..., Any], summary: str = "") -> None:
    """Add a function as a command, its help made of its docstring, or of ``summary`` where it has none."""
    about = {} if command.__doc__ else {"help": summary}
    app.command(command, name=name, help_epilogue=_examples(command), **about)


def run_words(app: App, words: Sequence[str]) -> object:
    """Run what the words ask for and return its result; ``ConfigError`` where they ask for nothing there is."""
    try:
        return app(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        message = f"{' '.join(str(error).split())} See 'finetune --help' and 'finetune COMMAND --help'."
        raise ConfigError(message) from error


def _examples(command: Callable[..., Any]) -> str:
    """Return the last section of a command's docstring, which cyclopts leaves out of its help."""
    _, title, examples = (command.__doc__ or "").partition("Examples:\n")
    return title + textwrap.indent(textwrap.dedent(examples.rstrip()), "  ")
