"""One run with every target that the project brings along: each artifact is verified, and opens in the runtime."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finetune import run
from finetune.builtin.targets import TARGETS
from finetune_export import Predictor
from finetune_export.cli import run as command_line

NAMES = tuple(target.name for target in TARGETS)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Image.Image]) -> Any:
    pictures = tmp_path_factory.mktemp("pictures")
    for kind, label in enumerate(("ants", "bees")):
        (pictures / label).mkdir()
        for i in range(8):
            picture(kind, seed=i).save(pictures / label / f"{i}.png")
    options: dict[str, Any] = {"backbone": "squeezenet1_1", "weights": "none", "image_size": 32, "epochs": 1}
    return run(data=pictures, out=tmp_path_factory.mktemp("runs"), target=NAMES[1:], max_drop=1.0, **options)


def test_each_is_verified_and_has_its_place(exported: Any) -> None:
    verified = json.loads((exported.run / "verification.json").read_text())
    assert [found["target"] for found in verified] == list(NAMES)
    assert all(found["problems"] == [] for found in verified)
    assert {path.name for path in exported.artifacts.values()} == {found["file"] for found in verified}


@pytest.mark.parametrize("name", NAMES)
def test_each_opens_in_the_runtime_and_answers_as_the_network(exported: Any, name: str) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    reference = Predictor(exported.onnx).answers(picture)
    predictor = Predictor(exported.artifacts[name])
    assert predictor.labels == ("ants", "bees")
    assert np.abs(predictor.answers(picture) - reference).max() < (0.1 if name == "int8" else 0.01)


def test_each_passes_the_checks_of_the_command_line(exported: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["check", *map(str, exported.artifacts.values())]) == 0
    assert capsys.readouterr().out.count("passed") == len(NAMES)
