"""What commands promise: that their help can be read, and their words be understood, before they do anything."""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, get_type_hints

from cyclopts import App

from finetune.plugins import load_function
from finetune.testing.plugin import called
from finetune.testing.rules import Broken, Rule
from finetune.types import Command


@dataclass(frozen=True)
class CommandSubject:
    """A command."""

    command: Command

    @property
    def function(self) -> Callable[..., Any]:
        """The command's function."""
        return load_function(self.command.run, f"the {called('command', self.command.name)}")


def _has_a_docstring(subject: CommandSubject) -> None:
    if not (subject.function.__doc__ or "").strip():
        raise Broken("none")


def _has_typed_parameters(subject: CommandSubject) -> None:
    hints = get_type_hints(subject.function)
    untyped = [name for name in inspect.signature(subject.function).parameters if name not in hints]
    if untyped:
        raise Broken(f"{', '.join(untyped)} without a type")


def _shows_its_help(subject: CommandSubject) -> None:
    runs: list[Any] = []

    @wraps(subject.function)  # with its parameters, and nothing behind them
    def noted(*given: Any, **options: Any) -> None:
        runs.append((given, options))

    app = App(name="finetune", help_format="plaintext", result_action="return_value")
    app.command(noted, name=subject.command.name)
    with contextlib.redirect_stdout(io.StringIO()):
        app([subject.command.name, "--help"], exit_on_error=False, print_error=False)
    if runs:
        raise Broken("that the command runs")


_COMMAND = "finetune.types.Command"
_RULES = (
    ("has-a-docstring", "a docstring, which is its help", _has_a_docstring),
    ("has-typed-parameters", "a type for each of its parameters, which are its options", _has_typed_parameters),
    ("shows-its-help", "its help for --help, and nothing done", _shows_its_help),
)
RULES = tuple(
    Rule(name=name, kind="command", expects=expects, read=_COMMAND, hold=hold) for name, expects, hold in _RULES
)
"""What every command is held against."""
