"""Small models that targets are tried on: trained on drawn colours, one for each task, once in a process."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from finetune import run
from finetune.config import RunOptions
from finetune.data.targets import Targets
from finetune.networks.network import Network, assemble, build_backbone
from finetune.networks.weights import load_network
from finetune.plugins import Plugins
from finetune.run_folder import WEIGHTS
from finetune.targets.to_onnx import Deployed
from finetune.testing.folders import new_folder
from finetune.testing.watching import sheltered
from finetune.types import Task
from finetune_export import Contract, read_contract
from finetune_export.image import read_pixels

BACKBONE = "squeezenet1_1"
"""A backbone of finetune's own that is small, has no batch norms and is quick to export."""
SIZE_PX = 32
OPTIONS: RunOptions = {
    "backbone": BACKBONE,
    "weights": "none",
    "strategy": "probe",
    "image_size": SIZE_PX,
    "batch_size": 8,
    "freeze_epochs": 12,
    "cache_gb": 0,
}
COLOURS = {"blue": (40, 60, 220), "green": (40, 190, 60), "red": (220, 40, 40), "violet": (200, 50, 210)}
COLUMNS: Mapping[Task, tuple[str, ...]] = {
    "single-label": ("label",),
    "multi-label": ("blue", "green", "red"),
    "regression": ("redness", "blueness"),
}
PER_COLOUR = {"train": 6, "valid": 5}
"""Pictures of each colour; those to validate on fill one batch of 16 and begin another."""


@dataclass(frozen=True)
class Trained:
    """A finished run, and its pictures: ``train`` and ``valid`` are their files, ``targets`` what the latter show."""

    contract: Contract
    onnx: Path
    weights: Path
    train: tuple[Path, ...]
    valid: tuple[Path, ...]
    targets: Targets

    def network(self, plugins: Plugins) -> Network:
        """Return the trained network, new, in eval mode."""
        with torch.random.fork_rng(devices=[]):
            backbone = plugins.find_backbone(BACKBONE)
            network = assemble(build_backbone(backbone, SIZE_PX), len(self.contract.labels), SIZE_PX)
        load_network(network, self.weights)
        return network.eval()

    def reference(self, network: Network) -> NDArray[np.float32]:
        """Return the network's own answers to the validation pictures: float32 (N, K)."""
        pixels = np.stack([read_pixels(path, self.contract.preprocessing) for path in self.valid])
        with torch.inference_mode():
            answers: NDArray[np.float32] = Deployed(network, self.contract)(torch.from_numpy(pixels))[0].numpy()
        return answers


@cache
def trained(task: Task) -> Trained:
    """Return the model of a task; it is trained when it is first asked for, and goes when the process ends."""
    root = new_folder()
    parts = {part: tuple(_drawn(root, part, count)) for part, count in PER_COLOUR.items()}
    options: RunOptions = {**OPTIONS, "task": task, "label_col": COLUMNS[task], "out": root / "runs"}
    options["data"] = _table(root, task, parts)
    with sheltered():
        result = run(**options)
    contract = read_contract(result.onnx)
    return Trained(
        contract=contract,
        onnx=result.onnx,
        weights=result.run / WEIGHTS,
        train=parts["train"],
        valid=parts["valid"],
        targets=_targets(task, parts["valid"], contract.labels),
    )


def _targets(task: Task, pictures: Sequence[Path], labels: Sequence[str]) -> Targets:
    rows = [shows(task, path.stem.partition(" ")[0]) for path in pictures]
    if task == "single-label":
        return np.array([labels.index(str(label)) for (label,) in rows], np.int64)
    return np.array(rows, np.float32)


def shows(task: Task, colour: str) -> tuple[str | float, ...]:
    """Return what a picture of a colour shows, as the columns of the task have it."""
    if task == "single-label":
        return (colour,)
    if task == "multi-label":
        return tuple(int(column == colour or (colour == "violet" and column != "green")) for column in COLUMNS[task])
    red, _, blue = COLOURS[colour]
    return (red / 255, blue / 255)


def _drawn(root: Path, part: str, count: int) -> Iterator[Path]:
    """Draw pictures of every colour, in several shapes, each with noise of its own."""
    (root / part).mkdir()
    for colour, rgb in COLOURS.items():
        for number in range(count):
            noise = np.random.default_rng([*rgb, len(part), number]).integers(-30, 31, (40 + 4 * number, 52, 3))
            path = root / part / f"{colour} {number}.png"
            Image.fromarray((np.array(rgb) + noise).clip(0, 255).astype(np.uint8)).save(path)
            yield path


def _table(root: Path, task: Task, parts: Mapping[str, Sequence[Path]]) -> Path:
    """Write the table of the pictures, as a task has it."""
    table = root / "colours.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "split", *COLUMNS[task]))
        for part, paths in parts.items():
            writer.writerows((path, part, *shows(task, path.stem.partition(" ")[0])) for path in paths)
    return table
