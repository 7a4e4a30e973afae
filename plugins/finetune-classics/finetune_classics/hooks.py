"""What the plugin offers: three data sets and their recipes. Light: nothing is read or downloaded here."""

from __future__ import annotations

from collections.abc import Callable

from finetune.config import RunOptions
from finetune.hookspecs import hookimpl
from finetune.types import DatasetSpec, Source
from finetune_classics.recipes import RESNET18_A, RESNET18_B, RESNET18_CIFAR10, RESNET18_FROZEN, RESNET50

FINETUNE_API = "1.0"

HYMENOPTERA = DatasetSpec(
    name="hymenoptera",
    summary="Ants and bees of the PyTorch transfer-learning tutorial",
    sources=(
        Source(
            name="pytorch",
            summary="397 photos with an official split (47 MB download, or your copy with --data)",
            accepts_data=True,
        ),
    ),
    load="finetune_classics.hymenoptera:load",
    recipes=(RESNET18_FROZEN, RESNET18_A, RESNET18_B),
)

CATS_DOGS = DatasetSpec(
    name="cats-dogs",
    summary="Kaggle's cats and dogs, as published by Microsoft",
    sources=(
        Source(
            name="microsoft",
            summary="25,000 photos, some of them damaged (825 MB download, or your copy with --data)",
            accepts_data=True,
            # TensorFlow Datasets (image_classification/cats_vs_dogs.py) drops 1,738 of the 25,000 as corrupt, 7 %.
            # Most of those can be read; were none of them readable, the run would still start.
            recipe=RunOptions(max_unreadable=0.08),
        ),
    ),
    load="finetune_classics.cats_dogs:load",
    recipes=(RESNET50, RESNET18_A, RESNET18_B),
)

CIFAR10 = DatasetSpec(
    name="cifar10",
    summary="CIFAR-10: small pictures of ten classes, with a test part",
    sources=(
        Source(
            name="toronto",
            summary="50,000 + 10,000 pictures of 32 px (170 MB download, or your copy with --data)",
            accepts_data=True,
            # The pictures are cut to their object already, so nothing is cropped; 5,000 of 50,000 validate.
            recipe=RunOptions(crop_fraction=1.0, valid_share=0.1),
        ),
    ),
    load="finetune_classics.cifar10:load",
    recipes=(RESNET18_CIFAR10,),
)


@hookimpl
def finetune_register_datasets(register: Callable[[DatasetSpec], None]) -> None:
    """Offer ``hymenoptera``, ``cats-dogs`` and ``cifar10``."""
    for spec in (HYMENOPTERA, CATS_DOGS, CIFAR10):
        register(spec)
