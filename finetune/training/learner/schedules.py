"""Courses of learning rate and momentum over a phase, under torch's names for them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from fastai.callback.core import Callback
from fastai.callback.schedule import ParamScheduler, SchedCos, combined_cos

from finetune.config import RunConfig
from finetune.training.strategies import Phase

CYCLED_MOMENTUM = (0.95, 0.85, 0.95)
"""How one-cycle moves the momentum against the rate, as in fastai."""


def schedule(phase: Phase, rates: Sequence[float], config: RunConfig) -> Callback:
    """Return the course of the rates over a phase, from the highest of each group, under torch's name for it."""
    highest = np.array(rates)
    if config.schedule == "OneCycleLR":
        course = {"lr": combined_cos(phase.rise, highest / phase.start_divisor, highest, highest / 1e5)}
        if config.optimizer != "Adagrad":  # which has no momentum
            course["mom"] = combined_cos(phase.rise, *CYCLED_MOMENTUM)
        return ParamScheduler(course)
    if config.schedule == "CosineAnnealingLR":
        return ParamScheduler({"lr": SchedCos(highest, 0 * highest)})
    return ParamScheduler({"lr": partial(_stepped, highest, phase.epochs, config)})


def _stepped(highest: Any, epochs: int, config: RunConfig, share_done: float) -> Any:
    epoch = int(share_done * epochs + 1e-6)
    return highest * config.gamma ** (epoch // config.step_epochs)
