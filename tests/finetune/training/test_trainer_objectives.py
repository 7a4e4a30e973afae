"""What ends a phase, what is kept of it, and training towards other things than single labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from finetune.data.audit import audit
from finetune.intent import discover
from finetune.preparation import Job, PicturesRead, prepare
from finetune.reporting import SILENT
from finetune.training.trainer import Trainer
from finetune.types import Dataset, Example, Task

from .conftest import phases_of

LIGHT: dict[str, Any] = {"backbone": "squeezenet1_1", "weights": "none", "image_size": 32, "augment": "none"}
LABELS = ("red", "green", "blue")


def drawn(shown: np.ndarray[Any, Any], number: int) -> Image.Image:
    """Return a picture whose channels are as bright as is said, from 0 to 1."""
    noise = np.random.default_rng(number).normal(0, 12, (40, 40, 3))
    return Image.fromarray((40 + 170 * shown + noise).clip(0, 255).astype(np.uint8))


def example(task: Task, path: Path, shown: np.ndarray[Any, Any]) -> Example:
    part: Any = path.parent.name
    if task == "regression":
        return Example(path=path, values=tuple((1000 * shown - 200).tolist()), part=part)
    return Example(path=path, labels=tuple(np.array(LABELS)[shown > 0].tolist()), part=part)


@pytest.fixture
def job_for(tmp_path: Path) -> Callable[..., Job]:
    """Prepare runs on 32 training and 16 validation pictures that show colours: which there are, or how much of each."""

    def prepared(task: Task, **options: Any) -> Job:
        chance, examples = np.random.default_rng(3), []
        for number in range(48):
            shown = chance.random(3) if task == "regression" else chance.integers(0, 2, 3)
            path = tmp_path / ("train" if number < 32 else "valid") / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            drawn(shown, number).save(path)
            examples.append(example(task, path, shown))
        facts: Any = {"name": "colours", "source": "drawn", "licence": "none"}
        dataset = Dataset(task=task, examples=tuple(examples), labels=LABELS, **facts)
        read = PicturesRead(dataset=dataset, audit=audit(dataset, 0.0, SILENT))
        return prepare(discover({"data": tmp_path, "batch_size": 8, "epochs": 12, **LIGHT, **options}), SILENT, read)

    return prepared


# ── other tasks ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("task", "monitor", "options"),
    [
        ("multi-label", "mean-average-precision", {"imbalance": "weights"}),
        ("multi-label", "mean-auroc", {"imbalance": "focal", "mix": "mixup"}),
        ("multi-label", "log-loss", {"imbalance": "sampling"}),
        ("regression", "r2", {"mix": "mixup"}),
        ("regression", "mae", {}),
    ],
)
def test_other_tasks_are_learned(
    job_for: Callable[..., Job], task: Task, monitor: str, options: dict[str, Any]
) -> None:
    job = job_for(task, monitor=monitor, **options)
    trainer = Trainer(job, SILENT)
    chance = trainer.objective.score(torch.zeros(16, 3), trainer.valid_targets)
    (phase,) = phases_of(job, "scratch", lr=0.001)

    reached = trainer.train(phase)
    print(task, monitor, chance, reached)
    assert reached == trainer.objective.score(trainer.logits(), trainer.valid_targets)
    assert trainer.objective.merit(reached) > trainer.objective.merit(chance)
