"""What the tests of the training room share: caches and their files, runs of seconds, an apprentice."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from fastai.optimizer import OptimWrapper
from numpy.typing import NDArray
from torch import Tensor

from finetune.builtin.metrics import METRICS
from finetune.config import Strategy
from finetune.errors import DivergedError
from finetune.intent import discover
from finetune.preparation import Job, prepare
from finetune.reporting import SILENT
from finetune.stopping import Stop
from finetune.training.activation_cache import ActivationCache
from finetune.training.history import Epoch
from finetune.training.journal import Journal
from finetune.training.objective import Objective
from finetune.training.strategies import Fit, Phase, Step, plan
from finetune.training.trainer import Trainer

PLENTY = 1 << 30
Opens = Callable[..., ActivationCache]
State = dict[str, Tensor]

SMALL: dict[str, Any] = {"backbone": "shufflenet_v2_x0_5", "weights": "none", "image_size": 32, "batch_size": 4}
"""A network with batch norms everywhere, which is what can go wrong while it is frozen."""


class Reports:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps = 0
        self.figures: dict[str, list[str]] = {}

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, title: str, total: int | None = None, unit: str = "") -> None: ...

    def advance(self, steps: int = 1, detail: str = "") -> None:
        self.steps += steps

    def figure(self, name: str, value: float, shown: str) -> None:
        self.figures.setdefault(name, []).append(shown)

    def end(self) -> None: ...


# ── caches ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "activations.sqlite"


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def cache(path: Path, notes: list[str]) -> Iterator[Opens]:
    """Return what opens caches, with ``notes`` as their user; they are closed in the end."""
    opened: list[ActivationCache] = []

    def opens(capacity_bytes: int = PLENTY) -> ActivationCache:
        opened.append(ActivationCache(path, capacity_bytes, notes.append))
        return opened[-1]

    yield opens
    for one in opened:
        one.close()


def items(numbers: Sequence[int], size: int = 3_000) -> dict[bytes, bytes]:
    """Return values that can be told from their keys."""
    keys = [hashlib.sha256(str(i).encode()).digest() for i in numbers]
    return {key: hashlib.shake_128(key).digest(size) for key in keys}


def keys(numbers: Sequence[int]) -> list[bytes]:
    return list(items(numbers, size=1))


def fill(path: Path, content: dict[bytes, bytes]) -> None:
    with ActivationCache(path, PLENTY, lambda sentence: pytest.fail(sentence)) as writer:
        writer.put(content)


def sql(path: Path, *statements: str) -> list[tuple[int]]:
    """Run statements behind the cache's back and return what the last one finds."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return [connection.execute(statement).fetchall() for statement in statements][-1]
    finally:
        connection.close()


def kept_bytes(path: Path) -> int:
    return int(sql(path, "SELECT coalesce(sum(length(content)), 0) FROM value")[0][0])


def cut(path: Path, size: int) -> None:
    os.truncate(path, size)


# ── jobs ────────────────────────────────────────────────────────────────────────────────────────────


def job_of(pictures: Path, **options: Any) -> Job:
    """Prepare a run that takes seconds: three epochs of the head alone, then two of everything."""
    return prepare(discover({"data": pictures, "freeze_epochs": 3, "epochs": 2, **SMALL, **options}), SILENT)


@pytest.fixture
def job(pictures: Path) -> Job:
    return job_of(pictures)


@pytest.fixture(params=["on activations", "on pictures"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Train above the boundary on what was computed once, or through the frozen part each time."""
    if request.param == "on pictures":
        monkeypatch.setattr("finetune.training.boundary.LARGEST_VIEW_BYTES", 0)
    return cast(str, request.param)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """Write down the learning rates of all parameter groups at every step of the optimizer."""
    rates: list[list[float]] = []

    def noted(self: Any, *args: Any, **options: Any) -> None:
        rates.append([float(hyper["lr"]) for hyper in self.hypers])
        self.opt.step(*args, **options)

    monkeypatch.setattr(OptimWrapper, "step", noted, raising=False)
    return rates


def phases_of(job: Job, strategy: Strategy = "finetune", lr: float = 0.01) -> list[Phase]:
    return cast(list[Phase], list(plan(job.config, job.groups, lr, strategy)))


def state_of(job: Job) -> State:
    return {key: tensor.clone() for key, tensor in job.network.state_dict().items()}


def answers_of(trainer: Trainer, temperature: float = 1.0) -> NDArray[np.float32]:
    """Return what the trainer answers about the validation pictures, float32 (N, K)."""
    return trainer.objective.answers(trainer.outputs()[0], temperature)


def changed(before: State, after: State) -> set[str]:
    return {key for key in before if not torch.equal(before[key], after[key])}


# ── strategies ──────────────────────────────────────────────────────────────────────────────────────

LIKE = {"stem": 0.1, "stage1": 0.3, "stage2": 0.5, "stage3": 1.5}
"""How far apart each stage puts the classes: on pictures like the backbone's own, the last by far."""
UNLIKE = {"stem": 0.1, "stage1": 1.0, "stage2": 0.5, "stage3": 0.3}
LAST_IS_BEST = {"stem": 0.1, "stage1": 0.5, "stage2": 0.5, "stage3": 0.55}
FEW, MANY = 60, 500
LABELS = ("a", "b", "c")
RIGHT = Objective(task="single-label", labels=LABELS, metric=METRICS["accuracy"])
SURE = Objective(task="single-label", labels=LABELS, metric=METRICS["log-loss"])
SEVERAL = Objective(task="multi-label", labels=LABELS, metric=METRICS["mean-average-precision"])


class Apprentice:
    """A trainer whose weights are the name of the phase and epoch that it holds.

    ``reached`` maps a phase to its epochs as (score, loss); a phase that ends with None diverges there.
    """

    def __init__(
        self,
        reached: dict[str, list[Any]],
        depth: dict[str, float] = LIKE,
        pictures: int = FEW,
        objective: Objective = RIGHT,
        journal: Journal | None = None,
    ) -> None:
        self.reached = reached
        self.objective, self.stop, self.journal = objective, Stop(), journal or Journal()
        self.weights = "initial"
        self.taken: list[str] = []
        self.restored: list[str] = []
        self.history = self.journal.history
        self.measured = 0
        self.depth = depth
        self.cost_of_fitting = 1e6
        self.train_targets = np.tile(np.arange(3), pictures).astype(np.int64)

    def train(self, phase: Phase) -> float:
        self.taken.append(phase.name)
        epochs = [line for line in self.reached[phase.name] if line is not None]
        for number, (score, loss) in enumerate(epochs, 1):
            self.history.append(epoch(phase.name, number, score, loss))
        if epochs:
            best = max(range(len(epochs)), key=lambda i: (self.objective.merit(epochs[i][0]), -epochs[i][1]))
            self.weights = f"{phase.name} {best + 1}"
        if None in self.reached[phase.name]:
            raise DivergedError("The loss became nan; try a lower --lr.")
        return cast(float, epochs[best][0])

    def fit(self, step: Fit) -> tuple[float, float]:
        self.taken.append(step.name)
        self.weights = step.name
        return cast(float, self.reached[step.name][0]), 0.25

    def stage_features(self, indices: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        self.measured += 1
        centres = np.random.default_rng(1).normal(size=(3, 8))
        noise = np.random.default_rng(2).normal(size=(len(self.train_targets), 8))
        everything = {name: apart * centres[self.train_targets] + noise for name, apart in self.depth.items()}
        return {name: features[indices].astype(np.float32) for name, features in everything.items()}

    def snapshot(self) -> str:
        return self.weights

    def restore(self, weights: str) -> None:
        self.weights = weights
        self.restored.append(weights)


def epoch(phase: str, number: int, score: float, loss: float) -> Epoch:
    return Epoch(phase=phase, epoch=number, train_loss=0.5, valid_loss=loss, score=score, lr=0.1, seconds=1.0)


def steps_named(*names: str) -> list[Step]:
    phase = partial(Phase, epochs=1, frozen_groups=0, rates=(0.1,), rise=0.3)
    return [Fit(name=name) if name == "logreg" else phase(name=name) for name in names]


def unexpected() -> None:
    pytest.fail("nothing diverged, and something was saved")
