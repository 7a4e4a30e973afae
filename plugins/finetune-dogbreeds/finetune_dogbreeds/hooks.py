"""What the plugin offers: the data set ``dogbreeds``. Light: nothing is drawn, read or downloaded here."""

from __future__ import annotations

from collections.abc import Callable

from finetune.config import RunOptions
from finetune.hookspecs import hookimpl
from finetune.types import DatasetSpec, Recipe, Source

FINETUNE_API = "1.0"

SAMPLE = Source(
    name="sample",
    summary="1,200 drawn dogs of 12 breeds, embedded: nothing to download",
    # From the starter's weights, which come with it, so that nothing needs downloading. They know drawn dogs, so that a
    # new head on the frozen body is nearly all there is to learn.
    recipe=RunOptions(
        backbone="starter",
        weights="pretrained",
        image_size=64,
        freeze_epochs=20,
        epochs=5,
        lr=0.01,
        unfrozen_lr=0.001,
        rate_span=10,
        batch_size=16,
    ),
)
STANFORD = Source(
    name="stanford",
    accepts_data=True,
    summary="Stanford Dogs: 20,580 photos of 120 breeds (794 MB download, or your copy with --data)",
    # First a new head on the frozen body, then the last blocks as well, at a very low rate.
    recipe=RunOptions(
        backbone="resnet34",
        weights="pretrained",
        strategy="partial",
        image_size=224,
        freeze_epochs=3,
        epochs=3,
        unfreeze=2,
        unfrozen_lr=1e-4,
    ),
)
KINDS = Source(
    name="kinds",
    summary="128 drawn kinds of dogs that are no breeds, to pretrain on: nothing to download",
    # What it takes to learn from scratch, and not the pictures by heart: 'finetune pretrain' heeds a recipe for that.
    recipe=RunOptions(
        backbone="resnet18_half",
        weights="none",
        strategy="scratch",
        image_size=64,
        epochs=20,
        lr=0.004,
        batch_size=64,
        weight_decay=0.05,
        label_smoothing=0.1,
    ),
)

TWO_STAGE = Recipe(
    name="two-stage",
    summary="The 120 breeds in two stages: a new head on a frozen ResNet-34, then its last two stages at 0.0001",
    options=RunOptions(source=STANFORD.name, **STANFORD.recipe),
)


@hookimpl
def finetune_register_datasets(register: Callable[[DatasetSpec], None]) -> None:
    """Offer ``dogbreeds``."""
    register(
        DatasetSpec(
            name="dogbreeds",
            summary="Dog breeds: an embedded drawn sample, or the real Stanford Dogs; drawn kinds to pretrain on",
            sources=(SAMPLE, STANFORD, KINDS),
            load="finetune_dogbreeds.dataset:load",
            recipes=(TWO_STAGE,),
        )
    )
