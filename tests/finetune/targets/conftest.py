"""Small networks with verified files, for the targets that start from such a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from finetune.networks.network import Network, assemble, build_backbone
from finetune.plugins import load_plugins
from finetune.targets.to_onnx import to_onnx
from finetune.types import Artifact, ExportRequest, Verification
from finetune.verification import verify
from finetune_export import Predictor
from finetune_export.contract import BackboneOrigin, Contract, DatasetOrigin, Preprocessing

SIZE = 32
LABELS = ("ant", "Käfer 甲", "wasp")


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
        expected = Predictor(self.onnx).probabilities(self.pictures)
        target = load_plugins().find_target("int8")
        strict = len(self.judged) < self.refuse_first
        found = verify(
            artifact, target, self.pictures, expected.argmax(axis=1), expected, -1 if strict else self.max_drop
        )
        self.judged.append(found)
        return found


@pytest.fixture(scope="session")
def verified_files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Network, Contract]]:
    """Export a network once, as if it were trained: norms with statistics, and a head that has opinions."""
    made: dict[str, tuple[Path, Network, Contract]] = {}

    def file_of(name: str) -> tuple[Path, Network, Contract]:
        if name not in made:
            torch.manual_seed(0)
            network = assemble(build_backbone(load_plugins().find_backbone(name), SIZE), len(LABELS), SIZE).eval()
            _have_opinions(network)
            contract = contract_of(name)
            path = tmp_path_factory.mktemp(name) / "model.onnx"
            path.write_bytes(to_onnx(network, contract))
            made[name] = path, network, contract
        return made[name]

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


@pytest.fixture
def verified(
    tmp_path: Path,
    picture: Callable[..., Image.Image],
    verified_files: Callable[[str], tuple[Path, Network, Contract]],
) -> Callable[..., Verified]:
    """Return a verified file of the network of this name, with twelve pictures and an empty folder to write into."""

    def made(name: str = "squeezenet1_1", **judging: Any) -> Verified:
        path, network, contract = verified_files(name)
        folder = tmp_path / "unverified"
        folder.mkdir(exist_ok=True)
        pictures = tuple(tmp_path / f"{i}.png" for i in range(12))
        for i, file in enumerate(pictures):
            picture(i % 4, seed=i, size=(48, 40)).save(file)
        return Verified(path, network, contract, folder, pictures, **judging)

    return made
