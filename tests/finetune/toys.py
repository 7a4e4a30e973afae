"""A weight record of toys: a real network's, with random weights, made in a moment."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from finetune.networks.network import Network, assemble, build_backbone
from finetune.networks.weight_files import record_bytes
from finetune.plugins import load_plugins

from . import recording

RECORD = replace(
    recording.RECORD,
    name="toys",
    image_size_px=32,
    crop_fraction=1.0,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    labels=("ball", "doll", "kite"),
    dataset="toys",
    source="drawn",
    train_images=24,
    valid_images=6,
    metrics={"accuracy": 0.8333333, "f1": 0.8},
    command="finetune pretrain --data toys --backbone resnet18_half --image-size 32",
    seed=7,
    versions={"finetune": "0.1.0", "torch": "2.11.0"},
    sha256="",
)


@cache
def network() -> Network:
    """Return the network that the record is of."""
    model = build_backbone(load_plugins().find_backbone(RECORD.architecture), RECORD.image_size_px)
    return assemble(model, len(RECORD.labels), RECORD.image_size_px)


def toys(**facts: Any) -> bytes:
    """Return a file of weights with the record, with other facts in it where they are given."""
    return record_bytes(network(), replace(RECORD, **facts))
