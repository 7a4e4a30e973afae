"""The runtime's own commands under this program's name: the same options, the same code, and no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from cyclopts import Parameter

from finetune_export import cli as runtime

Words = Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]


def forwarded() -> dict[str, Callable[..., int]]:
    """Return the runtime's commands by their names."""
    return {name: _forwarded(name, summary) for name, summary in runtime.COMMANDS.items()}


def _forwarded(name: str, summary: str) -> Callable[..., int]:
    def command(*words: Words) -> int:
        return runtime.run([name, *words], program="finetune")

    command.__doc__ = summary
    return command
