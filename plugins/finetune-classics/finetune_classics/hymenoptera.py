"""Ants and bees: 397 photos in train and val, of the PyTorch tutorial "Transfer Learning for Computer Vision".

https://pytorch.org/tutorials/beginner/transfer_learning_tutorial.html by Sasank Chilamkurthy.
"""

from __future__ import annotations

from dataclasses import replace

from finetune.download import Archive
from finetune.types import Dataset, DatasetRequest
from finetune_classics.published import Published, read_folders, root_of

PUBLISHED = Published(
    name="hymenoptera",
    title="Hymenoptera",
    url="https://download.pytorch.org/tutorial",
    variable="FINETUNE_HYMENOPTERA_URL",
    archive=Archive(
        "hymenoptera_data.zip",
        # No publisher states the size; logs of downloads do, and another project's loader beside the same SHA-256.
        size=47_286_322,
        # As the tutorial's own build checks it: github.com/pytorch/tutorials, .jenkins/download_data.py.
        sha256="fbc41b31d544714d18dd1230b1e2b455e1557766e13e67f9f5a7a23af7c02209",
    ),
    inner="hymenoptera_data",
    labels={"ants": "ants", "bees": "bees"},
    layout="train/ants, train/bees, val/ants and val/bees",
    licence="none stated by its authors; photos from ImageNet, for non-commercial research and education",
)

PLACEHOLDER = "imageNotFound.gif"
"""Lies among the ants and shows a notice instead of one. torchvision's ImageFolder passes over every .gif."""


def load(request: DatasetRequest) -> Dataset:
    """Return the photos with their official split: train to train on, val to validate on.

    Raises ``DataError`` for a copy that is none, ``ResourceError`` where network or disk fail.
    """
    found = read_folders(request, root_of(request, PUBLISHED), PUBLISHED)
    photos = tuple(example for example in found.examples if example.path.name != PLACEHOLDER)
    if len(photos) == len(found.examples):
        return found
    left_out = tuple(example.path for example in found.examples if example.path.name == PLACEHOLDER)
    note = (
        f"{PLACEHOLDER} lies among the {found.labels[0]} and shows none: left out, as torchvision's ImageFolder does."
    )
    return replace(found, examples=photos, ignored=(*found.ignored, *left_out), notes=(*found.notes, note))
