"""What happens between fastai's steps and epochs: frozen stages, losses that blow up, history, the best epoch."""

from __future__ import annotations

import copy
import time
from typing import Any

import torch
from fastai.callback.core import Callback, CancelFitException, TrainEvalCallback
from fastai.learner import Metric
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from finetune.data.targets import Targets
from finetune.errors import FinetuneError
from finetune.training.history import Epoch
from finetune.training.objective import Objective
from finetune.types import Reporter

SAID_EVERY_S = 2.0
"""Epochs that are shorter than this are not all said; the history has every one."""
HIGHEST_LOSS = 1e4
"""A mean loss above this has exploded: chance is at the logarithm of the number of classes, scaled values near one."""


class Monitored(Metric):  # type: ignore[misc]
    """The monitored metric over all validation pictures, from their logits in their order.

    One of a plugin's that breaks ends the fit; ``failure`` says how.
    """

    failure: FinetuneError | None = None

    def __init__(self, objective: Objective, targets: Targets) -> None:
        self._objective, self._targets = objective, targets
        self._logits: list[Tensor] = []

    @property
    def name(self) -> str:
        """The metric's name."""
        return self._objective.monitor

    def reset(self) -> None:
        """Forget the epoch before."""
        self._logits = []

    def accumulate(self, learn: Any) -> None:
        """Take one more batch."""
        self._logits.append(learn.pred.detach())

    @property
    def value(self) -> float | None:
        """The metric of what was seen, None before anything was."""
        try:
            return self._objective.score(torch.cat(self._logits), self._targets) if self._logits else None
        except FinetuneError as error:  # fastai would put words of its own around it
            self.failure = error
            raise CancelFitException from error


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


class Progress(Callback):  # type: ignore[misc]
    """Tell the reporter about every batch, and the history about every epoch."""

    order = 60  # after fastai's Recorder, which gathers the figures

    def __init__(self, phase: str, objective: Objective, history: list[Epoch], reporter: Reporter) -> None:
        self.phase, self.objective, self.history, self.reporter = phase, objective, history, reporter
        self.unsaid_s = 0.0

    def before_epoch(self) -> None:
        """Start the clock of the epoch."""
        self.started = time.perf_counter()

    def after_batch(self) -> None:
        """Count the pictures of a training batch, and tell the smoothed loss."""
        if self.training:
            loss = float(self.smooth_loss)
            self.reporter.figure("loss", loss, f"{loss:.3f}")
            self.reporter.advance(len(self.xb[0]), f"epoch {self.epoch + 1}/{self.n_epoch}")

    def after_epoch(self) -> None:
        """Add a line to the history, and say it."""
        *_, valid_loss, score = map(float, self.recorder.values[-1])  # without the first where training was cut short
        epoch = Epoch(
            phase=self.phase,
            epoch=self.epoch + 1,
            train_loss=float(self.smooth_loss),
            valid_loss=valid_loss,
            score=score,
            lr=float(self.opt.hypers[-1]["lr"]),
            seconds=round(time.perf_counter() - self.started, 3),
        )
        self.history.append(epoch)
        self.reporter.figure(self.objective.monitor, score, self.objective.shown(score))
        self.unsaid_s += epoch.seconds
        if self.unsaid_s >= SAID_EVERY_S or epoch.epoch == self.n_epoch:
            self._say(epoch)

    def _say(self, epoch: Epoch) -> None:
        self.unsaid_s = 0.0
        losses = f"loss {epoch.train_loss:.3f} in training, {epoch.valid_loss:.3f} in validation"
        score = f"{self.objective.monitor} {self.objective.shown(epoch.score)}"
        self.reporter.note(f"{self.phase} {epoch.epoch}/{self.n_epoch}: {losses}, {score}")


class BestEpoch(Callback):  # type: ignore[misc]
    """Remember the weights of the epoch with the best score, of equals the one with the lower loss.

    With ``patience``, end the phase after so many epochs without a better score; a lower loss alone is none.
    """

    order = 61  # after Progress, which adds to the history

    def __init__(self, objective: Objective, history: list[Epoch], patience: int | None = None) -> None:
        self.objective, self.history, self.patience = objective, history, patience
        self.epoch_kept: Epoch | None = None
        self.weights: dict[str, Tensor] = {}

    def after_epoch(self) -> None:
        """Copy the weights when they are better than any before."""
        latest, kept = self.history[-1], self.epoch_kept
        if kept is None or self._merit(latest) > self._merit(kept):
            self.epoch_kept, self.weights = latest, copy.deepcopy(self.model.state_dict())
        if self.patience is not None and latest.epoch - self._first_of_the_best() >= self.patience:
            raise CancelFitException

    def _first_of_the_best(self) -> int:
        """Return the first epoch of the phase with the best score so far."""
        phase = [epoch for epoch in self.history if epoch.phase == self.history[-1].phase]
        return max(phase, key=lambda epoch: (self.objective.merit(epoch.score), -epoch.epoch)).epoch

    def _merit(self, epoch: Epoch) -> tuple[float, float]:
        return self.objective.merit(epoch.score), -epoch.valid_loss

    def restore_into(self, model: nn.Module) -> None:
        """Put the kept epoch's weights, where there is one, back into the model that was trained."""
        if self.epoch_kept:
            model.load_state_dict(self.weights)
