"""Answers to pictures of classes that have an order, and pictures of grades."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finetune.types import Answered

GRADES = ("0-none", "1-mild", "2-severe")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("FINETUNE_PLUGINS", "ordinal")


def given(right: Sequence[int], answers: Sequence[int], labels: Sequence[str] = GRADES) -> Answered:
    """Return what a model answered that is sure of each of its answers, beside the ranks that are right."""
    probabilities = np.eye(len(labels), dtype=np.float32)[list(answers)]
    return Answered(
        task="single-label", labels=tuple(labels), answers=probabilities, targets=np.array(right, dtype=np.int64)
    )


@pytest.fixture
def grades(tmp_path: Path) -> Path:
    """Write a folder of pictures that get redder from grade to grade, with as much noise as one grade makes."""
    chance = np.random.default_rng(5)
    for rank, grade in enumerate(GRADES):
        folder = tmp_path / "grades" / grade
        folder.mkdir(parents=True)
        for number in range(16):
            red = 60 + 60 * rank + chance.normal(0, 40)
            pixels: Any = np.array([red, 90, 90]) + chance.integers(-30, 31, (40, 40, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "grades"
