"""What the plugin offers: one data set, from the hub or from a folder. Light: nothing is read or downloaded here."""

from __future__ import annotations

from collections.abc import Callable

from finetune.hookspecs import hookimpl
from finetune.types import DatasetSpec, Source

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
