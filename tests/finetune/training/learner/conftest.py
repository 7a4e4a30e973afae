"""Learners around a network of two small layers, and what follows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from fastai.callback.core import Callback
from torch import Tensor, nn

from finetune.builtin.metrics import METRICS
from finetune.config import RunConfig, RunOptions, resolve
from finetune.networks.network import Network, make_head
from finetune.training.batches import Batches
from finetune.training.history import Epoch
from finetune.training.learner.callbacks import Monitored
from finetune.training.learner.learners import learner_over_activations, learner_over_pictures
from finetune.training.learner.losses import loss_for
from finetune.training.objective import Objective

RATES = (0.001, 0.01)
"""Of the two groups of ``model``."""
RIGHT = Objective(task="single-label", labels=("no", "yes"), metric=METRICS["accuracy"])
"""What is to be right as often as can be."""
SURE = Objective(task="single-label", labels=("no", "yes"), metric=METRICS["log-loss"])
"""What is to be as sure of it as can be: less is better."""


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


def epoch(score: float, valid_loss: float = 0.5, number: int = 1) -> Epoch:
    return Epoch(phase="some", epoch=number, train_loss=0.1, valid_loss=valid_loss, score=score, lr=0.1, seconds=1.0)


def config_of(**said: Any) -> RunConfig:
    return resolve(cast(RunOptions, said))


def model() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))


def batches(count: int = 12, size: int = 4, inputs: Tensor | None = None) -> Batches:
    """Return batches of noise, or of inputs, whose targets are 0 and 1 in turn."""
    torch.manual_seed(4)
    made = torch.randn(count, 4) if inputs is None else inputs
    return Batches(lambda indices, _: made[indices], torch.arange(len(made)) % 2, size)


def learner_of(
    net: nn.Sequential,
    config: RunConfig | None = None,
    callbacks: Sequence[Callback] = (),
    *,
    train: Batches | None = None,
    valid: Batches | None = None,
    dtype: torch.dtype = torch.float32,
    objective: Objective = RIGHT,
) -> Any:
    """Return a learner around ``model``, with 12 validation pictures."""
    groups = [list(net[0].parameters()), list(net[2].parameters())]
    aims = loss_for("single-label", "none", torch.arange(12) % 2, 2), Monitored(objective, np.arange(12) % 2)
    loaders = (train or batches(), valid or batches())
    return learner_over_activations(net, groups, *loaders, config or config_of(), dtype, *aims, callbacks)


def network() -> Network:
    """Return a body of two stages with batch norms, and a head."""
    body = nn.Sequential()
    for name, channels in (("low", 3), ("high", 6)):
        body.add_module(name, nn.Sequential(nn.Conv2d(channels, 6, 3), nn.BatchNorm2d(6), nn.ReLU()))
    return Network(body, make_head(6, 2), {})


def over_pictures(net: Network, callbacks: Sequence[Callback] = (), frozen: int = 0) -> Any:
    images, targets = torch.randn(8, 3, 8, 8), torch.arange(8) % 2
    loaders = [Batches(lambda indices, _: images[indices], targets, 4) for _ in range(2)]
    aims = loss_for("single-label", "none", targets, 2), Monitored(RIGHT, targets.numpy())
    learner = learner_over_pictures(net, *loaders, config_of(), torch.float32, *aims, callbacks)
    learner.freeze_to(frozen)
    return learner
