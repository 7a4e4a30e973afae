"""Small networks with verified files, for the targets that start from such a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from finetune.networks.network import Network, assemble, build_backbone
from finetune.plugins import load_plugins
from finetune.targets.to_onnx import to_onnx
from finetune.types import Artifact, ExportRequest, Task, Verification
from finetune.verification import verify
from finetune_export import Predictor
from finetune_export.contract import (
    BackboneOrigin,
    Calibration,
    Contract,
    DatasetOrigin,
    Preprocessing,
    Scaling,
)

SIZE = 32
LABELS = ("ant", "Käfer 甲", "wasp")
SCALING = Scaling(offset=(50.0, 0.01, -3e4), scale=(10.0, 0.002, 1e4))

Files = Callable[[str, Task], tuple[Path, Network, Contract]]


@dataclass
class Verified:
    """A verified float32 file, pictures, and all that a target asked about it: what was judged, what was noted."""

    onnx: Path
    network: Network
    contract: Contract
    folder: Path
    pictures: tuple[Path, ...]
    max_drop: float = 0.0
    refuse_first: int = 0
    judged: list[Verification] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def request(self, training_images: tuple[Path, ...] | None = None) -> ExportRequest:
        return ExportRequest(
            network=self.network,
            contract=self.contract,
            folder=self.folder,
            onnx=self.onnx,
            training_images=training_images or self.pictures,
            judge=self.judge,
            note=self.notes.append,
        )

    def judge(self, artifact: Artifact) -> Verification:
        """Compare with the float32 file, whose answers count as right; be too strict for the first few."""
        expected = Predictor(self.onnx).answers(self.pictures)
        target = load_plugins().find_target("int8")
        strict = len(self.judged) < self.refuse_first
        max_drop = -1 if strict else self.max_drop
        shown = shown_by(expected, self.contract.task)
        found = verify(artifact, target, self.pictures, shown, expected, self.contract, max_drop)
        self.judged.append(found)
        return found


def shown_by(answers: NDArray[np.float32], task: Task) -> NDArray[Any]:
    """Return the targets that these answers hit exactly."""
    if task == "single-label":
        return answers.argmax(axis=1)
    return answers if task == "regression" else (answers >= 0.5).astype(np.float32)


@pytest.fixture(scope="session")
def verified_files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Export a network once, as if it were trained: norms with statistics, and a head that has opinions."""
    made: dict[tuple[str, Task], tuple[Path, Network, Contract]] = {}

    def file_of(name: str, task: Task) -> tuple[Path, Network, Contract]:
        if (name, task) not in made:
            torch.manual_seed(0)
            network = assemble(build_backbone(load_plugins().find_backbone(name), SIZE), len(LABELS), SIZE).eval()
            _have_opinions(network)
            contract = of_task(contract_of(name), task)
            path = tmp_path_factory.mktemp(name) / "model.onnx"
            path.write_bytes(to_onnx(network, contract))
            made[name, task] = path, network, contract
        return made[name, task]

    return file_of


def _have_opinions(network: Network) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1  # the statistics of what it sees next: signals stay as large as in a trained network
    with torch.no_grad():
        network.train()(4 * torch.rand(64, 3, SIZE, SIZE) - 2)
        weight = next(p for p in network.head.parameters() if p.ndim == 2)  # (K, D)
        weight.normal_(std=weight.shape[1] ** -0.5)
    network.eval()


def contract_of(name: str) -> Contract:
    return Contract(
        labels=LABELS,
        preprocessing=Preprocessing(
            image_size_px=SIZE, crop_fraction=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
        ),
        backbone=BackboneOrigin(name=name, weights="none", licence=""),
        dataset=DatasetOrigin(
            name="insects", source="drawn", licence="CC0-1.0", fingerprint="0" * 64, train_images=12, valid_images=12
        ),
        run_id="2024-01-02-a",
        metrics={"accuracy": 0.5},
        versions={"finetune": "1"},
    )


def of_task(contract: Contract, task: Task) -> Contract:
    """Return the contract of a model for a task: labels are calibrated and have a threshold, values their scaling."""
    if task == "multi-label":
        calibration = Calibration(method="temperature", temperature=2.0)
        return replace(contract, task=task, calibration=calibration, thresholds={LABELS[1]: 0.3})
    return replace(contract, task=task, scaling=SCALING) if task == "regression" else contract


@pytest.fixture
def verified(tmp_path: Path, picture: Callable[..., Image.Image], verified_files: Files) -> Callable[..., Verified]:
    """Return a verified file of the network of this name, with twelve pictures and an empty folder to write into."""

    def made(name: str = "squeezenet1_1", task: Task = "single-label", **judging: Any) -> Verified:
        path, network, contract = verified_files(name, task)
        folder = tmp_path / "unverified"
        folder.mkdir(exist_ok=True)
        pictures = tuple(tmp_path / f"{i}.png" for i in range(12))
        for i, file in enumerate(pictures):
            picture(i % 4, seed=i, size=(48, 40)).save(file)
        return Verified(path, network, contract, folder, pictures, **judging)

    return made
