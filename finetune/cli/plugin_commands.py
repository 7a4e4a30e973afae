"""Plugins' commands under this program's name: listed by their facts, imported when they are typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetune.cli.commands import add, run_words
from finetune.errors import ConfigError
from finetune.plugins import blaming_command, load_function, load_plugins
from finetune_export.cli.output import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import App

    from finetune.types import Command


def run_with_plugins(app: App, words: Sequence[str]) -> object:
    """Run the words, whose first is none of finetune's own commands, on ``app`` with the plugins' commands added.

    Raises ``PluginError`` naming the plugin when its command cannot be loaded or fails, or when the word is the name of
    a plugin that was set aside.
    """
    plugins, word = load_plugins(), words[0] if words else ""
    for name, command in plugins.commands.items():
        if name != word:
            app.command(_only_listed, name=name, help=visible(command.summary))
    if word in plugins.commands:
        return _run_strange(app, words, plugins.commands[word], plugins.origin("command", word))
    plugins.refuse_broken(word)
    try:
        return run_words(app, words)
    except ConfigError as error:
        raise ConfigError(f"{error}{plugins.aside()}") from error


def _run_strange(app: App, words: Sequence[str], command: Command, origin: str) -> object:
    what = f"The command '{command.name}' of {origin}"
    function = load_function(command.run, what)
    with blaming_command(what):  # reading its parameters as well, which may be of types that are none
        add(app, command.name, function, visible(command.summary))
        return run_words(app, words)


def _only_listed() -> None:
    """Stand for a command that was not typed."""
