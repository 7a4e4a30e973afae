"""The only door to fastai: learners around our networks and batches, schedules, and callbacks.

Nothing outside this module sees an ``L``, a ``DataLoaders`` or a ``Callback``; ``Trainer`` holds learners and calls
their methods.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from fastai.callback.core import Callback, CancelFitException, TrainEvalCallback
from fastai.callback.progress import ProgressCallback
from fastai.callback.schedule import LRFinder, ParamScheduler, SchedCos, combined_cos, valley
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.optimizer import OptimWrapper
from fastai.torch_core import set_seed
from fastai.vision.learner import model_meta, vision_learner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from finetune.config import RunConfig
from finetune.errors import DivergedError
from finetune.networks.network import Network, parameter_groups
from finetune.training.batches import Batches
from finetune.training.precision import autocast
from finetune.training.strategies import Phase
from finetune.types import Reporter

__all__ = [
    "BestEpoch",
    "Epoch",
    "PretrainedInEval",
    "Progress",
    "RateCurve",
    "RateSweep",
    "StopOnBadLoss",
    "learner_over_activations",
    "learner_over_pictures",
    "rate_curve",
    "schedule",
    "set_seed",
]

CURVE_ENDS = slice(10, -5)
"""What is left of a rate curve: its first and last steps say nothing, as in fastai's ``lr_find``."""
SAID_EVERY_S = 2.0
"""Epochs that are shorter than this are not all said; the history has every one."""
HIGHEST_LOSS = 1e4
"""A mean cross-entropy above this has exploded: chance is at the logarithm of the number of classes."""
CYCLED_MOMENTUM = (0.95, 0.85, 0.95)
"""How one-cycle moves the momentum against the rate, as in fastai."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One line of a run's history; losses are mean cross-entropies, ``lr`` the head's rate at the epoch's end."""

    phase: str
    epoch: int
    train_loss: float
    valid_loss: float
    accuracy: float
    lr: float
    seconds: float


# ── learners ────────────────────────────────────────────────────────────────────────────────────────


def learner_over_pictures(
    network: Network,
    train: Batches,
    valid: Batches,
    config: RunConfig,
    dtype: torch.dtype,
    callbacks: Sequence[Callback],
) -> Any:
    """Return fastai's ``vision_learner`` around a network and batches of normalised images.

    Its parameter groups are ``parameter_groups(body, head)``; the model shares all tensors with the network.
    """

    def architecture(pretrained: bool) -> nn.Module:  # noqa: ARG001 - fastai's signature; our weights are in already
        return network.body

    groups = parameter_groups(network.body, network.head)
    # fastai looks up how to cut and group an architecture in this table; its guesses for unknown ones are wrong.
    model_meta[architecture] = {"cut": lambda model: model, "split": lambda _: groups}
    try:
        learner = vision_learner(
            DataLoaders(train, valid),
            architecture,
            normalize=False,  # the batches are, with the backbone's own statistics
            n_out=1,  # unused beside a head of our own
            custom_head=network.head,
            init=None,  # the head is as it should start
            **_common(config, callbacks),
        )
    finally:
        del model_meta[architecture]
    return _finished(learner, dtype)


def learner_over_activations(
    model: nn.Module,
    groups: list[list[nn.Parameter]],
    train: Batches,
    valid: Batches,
    config: RunConfig,
    dtype: torch.dtype,
    callbacks: Sequence[Callback],
) -> Any:
    """Return a fastai ``Learner`` around the layers above a boundary and batches of what leaves the ones below."""
    loaders = DataLoaders(train, valid)
    return _finished(Learner(loaders, model, splitter=lambda _: groups, **_common(config, callbacks)), dtype)


def _common(config: RunConfig, callbacks: Sequence[Callback]) -> dict[str, Any]:
    return {
        "loss_func": CrossEntropyLossFlat(),
        "metrics": accuracy,
        "opt_func": _optimizer(config),
        "train_bn": False,  # frozen means frozen, batch norms included
        "cbs": callbacks,
    }


def _finished(learner: Any, dtype: torch.dtype) -> Any:
    _compute_in(dtype, learner.model)
    learner.remove_cb(ProgressCallback)  # progress goes to the reporter,
    learner.logger = lambda _: None  # and figures to the history; stdout is for results
    return learner


def _compute_in(dtype: torch.dtype, model: nn.Module) -> None:
    """Let the model compute its training steps in ``dtype``, and everything else in float32."""
    forward = model.forward

    def mixed(inputs: Tensor) -> Tensor:
        with autocast(dtype if model.training else torch.float32):
            logits: Tensor = forward(inputs)
        return logits.float()

    model.forward = mixed


def _optimizer(config: RunConfig) -> Any:
    """Return torch's optimizer of that name for fastai, fused into one pass over the weights where torch can."""
    options: dict[str, Any] = {"weight_decay": config.weight_decay}
    if config.optimizer in ("SGD", "RMSprop"):
        options["momentum"] = config.momentum
    if config.optimizer in ("Adam", "AdamW"):
        options["betas"] = (config.momentum, 0.999)
    if config.optimizer != "RMSprop":
        options["fused"] = True
    return partial(OptimWrapper, opt=getattr(torch.optim, config.optimizer), **options)


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


# ── callbacks ───────────────────────────────────────────────────────────────────────────────────────


class PretrainedInEval(Callback):  # type: ignore[misc]
    """Keep frozen stages in eval mode, so that what leaves them depends on the picture alone.

    With ``keep_statistics``, batch norms of stages that learn stay in eval mode, too: a few small batches say less
    about the statistics than the pretraining did, and cost more accuracy than unfreezing gains (BENCHMARKS.md).
    """

    run_after = TrainEvalCallback

    def __init__(self, body: nn.Sequential, keep_statistics: bool) -> None:
        self.body, self.keep_statistics = body, keep_statistics

    def before_train(self) -> None:
        """Undo ``model.train()`` where it would change what was learned before."""
        for stage in self.body:
            if not any(parameter.requires_grad for parameter in stage.parameters()):
                stage.eval()
        for module in self.body.modules():
            if self.keep_statistics and isinstance(module, _BatchNorm):
                module.eval()


class StopOnBadLoss(Callback):  # type: ignore[misc]
    """End training at the first loss that is not a finite number or has exploded; ``cause`` says where.

    In training that is before it reaches the weights, in validation before they are taken for good ones.
    """

    cause = ""

    def after_loss(self) -> None:
        """Cancel the fit: an error of our own would leave fastai with its words put around it."""
        loss = float(self.loss_grad.detach())
        if not loss < HIGHEST_LOSS:
            which = "loss" if self.training else "validation loss"
            self.cause = f"The {which} became {loss:g} in epoch {self.epoch + 1}, step {self.iter + 1}"
            raise CancelFitException


class RateSweep(LRFinder):  # type: ignore[misc]
    """fastai's sweep over growing rates, without the weights' detour through a file: ``Trainer`` keeps them."""

    def before_fit(self) -> None:
        """Start the sweep."""
        ParamScheduler.before_fit(self)
        self.best_loss = math.inf

    def after_fit(self) -> None:
        """Leave the weights to the trainer."""


class Progress(Callback):  # type: ignore[misc]
    """Tell the reporter about every batch, and the history about every epoch."""

    order = 60  # after fastai's Recorder, which gathers the figures

    def __init__(self, phase: str, history: list[Epoch], reporter: Reporter) -> None:
        self.phase, self.history, self.reporter = phase, history, reporter
        self.unsaid_s = 0.0

    def before_epoch(self) -> None:
        """Start the clock of the epoch."""
        self.started = time.perf_counter()

    def after_batch(self) -> None:
        """Advance the bar with the smoothed loss."""
        if self.training:
            self.reporter.advance(detail=f"epoch {self.epoch + 1}/{self.n_epoch}  loss {float(self.smooth_loss):.3f}")

    def after_epoch(self) -> None:
        """Add a line to the history, and say it."""
        train_loss, valid_loss, score = map(float, self.recorder.values[-1])
        epoch = Epoch(
            phase=self.phase,
            epoch=self.epoch + 1,
            train_loss=train_loss,
            valid_loss=valid_loss,
            accuracy=score,
            lr=float(self.opt.hypers[-1]["lr"]),
            seconds=round(time.perf_counter() - self.started, 3),
        )
        self.history.append(epoch)
        self.unsaid_s += epoch.seconds
        if self.unsaid_s >= SAID_EVERY_S or epoch.epoch == self.n_epoch:
            self._say(epoch)

    def _say(self, epoch: Epoch) -> None:
        self.unsaid_s = 0.0
        losses = f"loss {epoch.train_loss:.3f} in training, {epoch.valid_loss:.3f} in validation"
        self.reporter.note(f"{self.phase} {epoch.epoch}/{self.n_epoch}: {losses}, accuracy {epoch.accuracy:.1%}")


class BestEpoch(Callback):  # type: ignore[misc]
    """Remember the weights of the epoch with the highest validation accuracy, of equals the one with the lower loss."""

    order = 61  # after Progress, which adds to the history

    def __init__(self, history: list[Epoch]) -> None:
        self.history = history
        self.epoch_kept: Epoch | None = None

    def after_epoch(self) -> None:
        """Copy the weights when they are better than any before."""
        latest, kept = self.history[-1], self.epoch_kept
        if kept is None or (latest.accuracy, -latest.valid_loss) > (kept.accuracy, -kept.valid_loss):
            self.epoch_kept, self._weights = latest, copy.deepcopy(self.model.state_dict())

    def restore_into(self, model: nn.Module) -> None:
        """Put the kept epoch's weights, where there is one, back into the model that was trained."""
        if self.epoch_kept:
            model.load_state_dict(self._weights)


# ── the learning rate ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class RateCurve:
    """The loss while the learning rate grows, and the rate fastai's ``valley`` rule suggests."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float


def rate_curve(rates: Iterable[float], losses: Iterable[Tensor]) -> RateCurve:
    """Return the curve up to where the loss is no number any more, and the rate it suggests.

    Raises ``DivergedError`` when nothing usable is left.
    """
    pairs = ((float(rate), float(loss)) for rate, loss in zip(rates, losses, strict=True))
    finite = list(takewhile(lambda pair: math.isfinite(pair[1]), pairs))[CURVE_ENDS]
    if not finite:
        raise DivergedError(
            "No learning rate keeps the loss finite; check the pictures, or start from other --weights."
        )
    kept_rates, kept_losses = zip(*finite, strict=True)
    suggestion, _ = valley(kept_rates, kept_losses, len(finite))
    return RateCurve(rates=kept_rates, losses=kept_losses, suggestion=suggestion)
