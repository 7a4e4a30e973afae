"""Measured in a process of its own: the same trained network, asked as fastai's documentation asks.

``learn.predict`` for each photo, and ``learn.get_preds`` over ``test_dl``; ``Resize(224)`` and ImageNet's statistics,
everything else at its default. Takes a JSON file and ends its output with an object: photos per second of each.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from fastai.vision.all import (
    CategoryBlock,
    CrossEntropyLossFlat,
    DataBlock,
    ImageBlock,
    Learner,
    Normalize,
    Resize,
    imagenet_stats,
    parent_label,
)

from finetune.config import read_file, resolve
from finetune.networks.network import Network, assemble, build_backbone, keep_up_to
from finetune.networks.weights import load_network
from finetune.plugins import load_plugins
from finetune_export import read_contract

WARM_UP = 3


def trained(run: Path) -> Network:
    """Return the network that a run trained."""
    contract, config = read_contract(run / "model.onnx"), resolve(read_file(run / "config.toml"))
    size = contract.preprocessing.image_size_px
    backbone = build_backbone(load_plugins().find_backbone(config.backbone), size)
    network = assemble(keep_up_to(backbone, config.layer), len(contract.labels), size, config.head)
    load_network(network, run / "weights.safetensors")
    return network


def learner(run: Path, files: list[Path]) -> Learner:
    """Return fastai's learner around it; the photos' folders are their labels, as it wants some."""
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_y=parent_label,
        item_tfms=Resize(224),
        batch_tfms=Normalize.from_stats(*imagenet_stats),
    )
    return Learner(block.dataloaders(files), trained(run), loss_func=CrossEntropyLossFlat())


def main() -> None:
    """Measure both ways."""
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    files = [Path(file) for file in job["files"]]
    learn = learner(Path(job["run"]), files)
    with learn.no_bar(), learn.no_logging():
        for file in files[:WARM_UP]:
            learn.predict(file)
        began = time.perf_counter()
        for file in files[: job["one_by_one"]]:
            learn.predict(file)
        alone = min(len(files), job["one_by_one"]) / (time.perf_counter() - began)
        began = time.perf_counter()
        learn.get_preds(dl=learn.dls.test_dl(files))
        batches = len(files) / (time.perf_counter() - began)
    sys.stdout.write("\n" + json.dumps({"predict": alone, "test_dl": batches}) + "\n")


if __name__ == "__main__":
    main()
