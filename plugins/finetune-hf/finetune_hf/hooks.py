"""What the plugin offers: a data set, from the hub or from a folder, and commands for models on the hub.

Light: nothing is read or downloaded here.
"""

from __future__ import annotations

from collections.abc import Callable

from finetune.hookspecs import hookimpl
from finetune.types import Command, DatasetSpec, Source

FINETUNE_API = "1.0"
"""The version of finetune's hooks that this was written for."""

HUB, LOCAL = "hub", "local"

HF = DatasetSpec(
    name="hf",
    summary="Image data sets of the Hugging Face hub, by name or as a copy",
    sources=(
        Source(
            name=HUB,
            summary="The set that --name USER/SET names, downloaded as Parquet",
            accepts_name=True,
            has_columns=True,
        ),
        Source(
            name=LOCAL,
            summary="A save_to_disk folder, or a folder with Parquet files (--data DIR)",
            accepts_data=True,
            has_columns=True,
        ),
    ),
    load="finetune_hf.loading:load",
)


@hookimpl
def finetune_register_datasets(register: Callable[[DatasetSpec], None]) -> None:
    """Offer ``hf``."""
    register(HF)


COMMANDS = (
    Command(
        name="publish",
        summary="Put a finished run's verified model on the Hugging Face hub.",
        run="finetune_hf.commands:publish",
    ),
    Command(
        name="fetch",
        summary="Get a published model from the Hugging Face hub, checked.",
        run="finetune_hf.commands:fetch",
    ),
)


@hookimpl
def finetune_register_commands(register: Callable[[Command], None]) -> None:
    """Offer ``publish`` and ``fetch``."""
    for command in COMMANDS:
        register(command)
