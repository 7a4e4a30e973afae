"""From pictures to a file that is held against the network: a run with timm's backbones, end to end."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

import finetune
from finetune_export import Predictor, read_contract


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Write twelve red and twelve blue pictures, each a little different."""
    for label, colour in {"red": (200, 30, 30), "blue": (30, 30, 200)}.items():
        folder = tmp_path / "pictures" / label
        folder.mkdir(parents=True)
        for number in range(12):
            tint = tuple(value + 2 * number for value in colour)
            Image.new("RGB", (40, 36), tint).save(folder / f"{number}.png")  # type: ignore[arg-type]
    return tmp_path / "pictures"


@pytest.mark.parametrize("name", ["timm:test_vit.r160_in1k", "timm:mobileone_s0.apple_in1k"])
def test_a_run_ends_with_a_verified_file(name: str, pictures: Path, tmp_path: Path) -> None:
    result = finetune.run(
        data=pictures,
        backbone=name,
        weights="none",
        image_size=32,
        batch_size=8,
        epochs=1,
        freeze_epochs=1,
        out=tmp_path / "runs",
    )

    contract = read_contract(result.onnx)
    assert contract.backbone.name == name
    (prediction,) = Predictor(result.onnx).predict(pictures / "red" / "0.png")
    assert prediction.label in ("red", "blue")
    state = load_file(result.run / "weights.safetensors")
    branches = [key for key in state if "conv_kxk.1" in key]
    assert bool(branches) == ("mobileone" in name)
