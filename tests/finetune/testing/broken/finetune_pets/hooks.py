"""What the plugin offers."""

from finetune.config import RunOptions
from finetune.hookspecs import hookimpl
from finetune.types import Command, DatasetSpec, Metric, Recipe, Source

FINETUNE_API = "1.0"


@hookimpl
def finetune_register_datasets(register):
    """Offer ``pets``, from three sources."""
    register(
        DatasetSpec(
            name="pets",
            summary="Pets of three kinds",
            sources=(
                Source(name="drawn", summary="Nine drawn pets"),
                Source(name="copy", summary="A copy of yours", accepts_data=True),
                Source(name="web", summary="Pets to download"),
            ),
            load="finetune_pets.data:load",
            recipes=(Recipe(name="quick", summary="One epoch", options=RunOptions(epochs=1, backbone="resnet18")),),
        )
    )


@hookimpl
def finetune_register_metrics(register):
    """Offer ``worst-recall``."""
    register(
        Metric(
            name="worst-recall",
            summary="The recall of the label that is found least often",
            tasks=("single-label",),
            measure="finetune_pets.measuring:worst_recall",
            is_share=True,
        )
    )


@hookimpl
def finetune_register_commands(register):
    """Offer ``count-pets``."""
    register(Command(name="count-pets", summary="Count pets", run="finetune_pets.counting:count_pets"))
