"""A weight record, and files that hold one, made by hand: no torch, and nothing that would refuse to write them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune.types import WeightRecord
from finetune.weight_record import METADATA_KEY, record_sha256, to_text

RECORD = WeightRecord(
    name="dogs-resnet18_half",
    architecture="resnet18_half",
    offered_by="finetune",
    family="resnet",
    parameters=2_795_040,
    image_size_px=48,
    min_image_size_px=16,
    image_size_multiple_px=1,
    crop_fraction=0.9,
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.25, 0.3),
    task="single-label",
    labels=("collie", "pug", "Käfer 甲"),
    head="linear",
    dataset="dogs",
    source="kinds",
    dataset_licence="CC0-1.0",
    fingerprint="0" * 64,
    train_images=1200,
    valid_images=300,
    licence="CC-BY-4.0",
    metrics={"accuracy": 0.931, "f1": 0.9},
    command="finetune pretrain --plugin dogs",
    seed=42,
    versions={"finetune": "0.1.0"},
    sha256="0" * 64,
)
TENSORS = {
    "conv.weight": ("F16", (4, 3)),
    "head.classifier.2.bias": ("F16", (3,)),
    "head.classifier.2.weight": ("F16", (3, 4)),
}
"""Type and shape of what the files hold, as small as a body with a head can be."""


def content(metadata: dict[str, Any] | None = None, tensors: dict[str, tuple[str, tuple[int, ...]]] = TENSORS) -> bytes:
    """Return a ``.safetensors`` file of tensors in half precision, whose bytes count up."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    end = 0
    for name, (dtype, shape) in tensors.items():
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(number % 100 for number in range(end))


def whole(**facts: Any) -> WeightRecord:
    """Return the record, with other facts and the hash of them and of the tensors, as it would be written."""
    return hashed(replace(RECORD, **facts)) if "sha256" not in facts else replace(RECORD, **facts)


def hashed(record: WeightRecord, tensors: bytes | None = None) -> WeightRecord:
    """Return a record with the hash that is right of it and a file's content, by default that of ``content()``."""
    return replace(record, sha256=record_sha256(content() if tensors is None else tensors, record))


def write(path: Path, text: str | None = None, **facts: Any) -> Path:
    """Write a file with a record of these facts, or with this text in its place, and return its path."""
    path.write_bytes(content({"format": "pt", METADATA_KEY: to_text(whole(**facts)) if text is None else text}))
    return path
