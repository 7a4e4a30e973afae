"""A run that was stopped goes on from the weights that it was begun with, or not at all."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import finetune
from finetune.errors import ModelError
from finetune.networks.network import assemble, build_backbone
from finetune.networks.weight_files import record_bytes
from finetune.plugins import load_plugins

from .recording import RECORD
from .test_resuming import EndAt, EndedError


def write_record(path: Path, seed: int, image_size_px: int = 32) -> None:
    torch.manual_seed(seed)
    network = assemble(build_backbone(load_plugins().find_backbone("resnet18_half"), 32), len(RECORD.labels), 32)
    path.write_bytes(record_bytes(network, replace(RECORD, image_size_px=image_size_px)))


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Image.Image]) -> Path:
    """Return the folder of a run that was ended when its training began; the record lies beside it."""
    root = tmp_path_factory.mktemp("from a record")
    for kind, label in enumerate(("cat", "dog")):
        (root / "pictures" / label).mkdir(parents=True)
        for i in range(8):
            picture(kind, seed=i).save(root / "pictures" / label / f"{i}.png")
    write_record(root / "dogs.safetensors", seed=7)
    with pytest.raises(EndedError):
        go_on(None, data=root / "pictures", weights=root / "dogs.safetensors", out=root / "runs", strategy="probe")
    return next((root / "runs").iterdir())


def go_on(run: Path | None, **options: object) -> None:
    finetune.run(resume=run, reporter=EndAt("Training"), **options)  # type: ignore[arg-type]


@pytest.fixture
def record(begun: Path, tmp_path: Path) -> Iterator[Path]:
    """Return the record, which is put back after the test."""
    found = begun.parent.parent / "dogs.safetensors"
    kept = shutil.copy(found, tmp_path)
    yield found
    shutil.copy(kept, found)


def test_weights_that_are_the_same_are_gone_on_from(begun: Path) -> None:
    with pytest.raises(EndedError):
        go_on(begun)


@pytest.mark.parametrize(("seed", "image_size_px"), [(8, 32), (7, 64)], ids=["tensors", "preprocessing"])
def test_other_weights_in_the_place_of_a_runs_own_are_refused(
    begun: Path, record: Path, seed: int, image_size_px: int
) -> None:
    write_record(record, seed, image_size_px)

    with pytest.raises(ModelError) as caught:
        go_on(begun)

    assert str(caught.value) == (
        f"The weights are not those that the run was begun with: --weights {record} has another SHA-256. Put them "
        "back, or start a new run."
    )


def test_pictures_that_would_be_seen_otherwise_are_refused(begun: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(begun, tmp_path / begun.name))
    data = json.loads((run / "data.json").read_text())
    data["preprocessing"]["mean"][0] = 0.25
    (run / "data.json").write_text(json.dumps(data))

    with pytest.raises(ModelError, match=re.escape("sees pictures otherwise than when the run was begun: size, crop")):
        go_on(run)
