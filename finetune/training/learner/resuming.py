"""A phase that can be stopped at any step and gone on with as if it never had been."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import torch
from fastai.callback.core import Callback, CancelFitException, CancelTrainException
from torch import Tensor, nn

from finetune.errors import ResourceError
from finetune.stopping import Stop
from finetune.training.journal import Journal, Midway, prefixed, under
from finetune.training.learner.averages import Averages
from finetune.training.learner.callbacks import BestEpoch, StopOnBadLoss
from finetune.training.learner.learners import start_at_epoch
from finetune.training.learner.strangers import Strangers
from finetune.training.randomness import random_state, restore_random_state


class Saving(Callback):  # type: ignore[misc]
    """Write checkpoints as often as the journal asks for it, and end training where the run was asked to stop.

    A signal ends it at once, after a checkpoint, and so does a stranger that broke. Where the time is up, the epoch is
    validated first, so that there is something to keep; and so it is where a stranger asks for an end.
    """

    order = 70  # after everything that changes with a step or an epoch

    def __init__(
        self,
        phase: str,
        network: nn.Module,
        journal: Journal,
        stop: Stop,
        guard: StopOnBadLoss,
        best: BestEpoch,
        averages: Averages,
        strangers: Strangers,
    ) -> None:
        self.phase, self.network, self.journal, self.stop = phase, network, journal, stop
        self.guard, self.best, self.averages, self.strangers = guard, best, averages, strangers
        self.first_step = 0
        self.is_stopped = False

    def __call__(self, event_name: str) -> Any:
        """Take part as every callback does; a refusal keeps its one line, before which fastai puts one of its own."""
        try:
            return super().__call__(event_name)
        except ResourceError as error:
            error.args = (str(error).rpartition("\n\t")[2],)
            raise

    def after_batch(self) -> None:
        """Save what there is, and stop, where either is due."""
        if not self.training:
            return
        asked = self._asked  # once: what is asked between here and the end is for the next step
        if asked == "time":
            raise CancelTrainException
        if asked or self.journal.is_due:
            self._save(self.epoch, self.first_step + self.iter + 1, self.pct_train)
        if asked:
            self._stop()
        if self.strangers.ends_training:
            raise CancelTrainException

    def after_train(self) -> None:
        """Count the steps of the next epoch from its beginning."""
        self.first_step, self.strangers.ends_training = 0, False

    def after_epoch(self) -> None:
        """End the phase where the time is up, or a signal came while the epoch was validated."""
        asked = self._asked
        if asked and asked != "time":
            self._save(self.epoch + 1, 0, (self.epoch + 1) / self.n_epoch)
            self._stop()
        if asked or self.strangers.ends_phase:
            raise CancelFitException

    def after_fit(self) -> None:
        """Save a phase that is over, unless by a bad loss, where a stranger broke too late for any step of it."""
        if self.strangers.failure and not self.is_stopped and not self.guard.cause:
            self._save(self.n_epoch, 0, 1.0)

    @property
    def _asked(self) -> str | None:
        return "failure" if self.strangers.failure else self.stop.asked

    def _stop(self) -> NoReturn:
        self.is_stopped = True
        raise CancelFitException

    def _save(self, epoch: int, step: int, share_done: float) -> None:
        self.journal.save(self.network.state_dict(), self._midway(epoch, step, share_done))

    def _midway(self, epoch: int, step: int, share_done: float) -> Midway:
        smooth = self.recorder.smooth_loss
        return Midway(
            phase=self.phase,
            epoch=epoch,
            step=step,
            steps_done=self.train_iter,
            share_done=share_done,
            smooth_loss=(float(smooth.val), smooth.count),
            best=self.best.epoch_kept,
            tensors={
                **prefixed("best", self.best.weights),
                **prefixed("averages", self.averages.state()),
                **prefixed("optimizer", dict(_optimizer_state(self.opt))),
                **prefixed("random", random_state()),
                "rates": torch.tensor([group["lr"] for group in self.opt.hypers], dtype=torch.float64),
            },
        )


class _GoingOn(Callback):  # type: ignore[misc]
    """Put the first epoch back to where it was, once fastai has set it up as a new one."""

    order = 71

    def __init__(self, midway: Midway) -> None:
        self.midway = midway

    def before_train(self) -> None:
        """Restore the position in the schedule, the rates, the smoothed loss and the random generators."""
        if self.epoch != self.midway.epoch:
            return
        self.learn.pct_train, self.learn.train_iter = self.midway.share_done, self.midway.steps_done
        smooth = self.recorder.smooth_loss
        smooth.val, smooth.count = torch.tensor(self.midway.smooth_loss[0]), self.midway.smooth_loss[1]
        self.learn.smooth_loss = smooth.value
        self.opt.set_hypers(lr=self.midway.tensors["rates"].tolist())  # no step may be left that would set them
        restore_random_state(under("random", self.midway.tensors))


def go_on(learner: Any, midway: Midway, saving: Saving) -> None:
    """Prepare a learner, around a network that is restored, so that its next fit goes on in the middle of a phase."""
    learner.create_opt()
    _restore_optimizer(learner.opt, under("optimizer", midway.tensors))
    learner.dls.train.start_at(midway.step)
    start_at_epoch(learner, midway.epoch)
    saving.first_step = midway.step
    saving.best.epoch_kept, saving.best.weights = midway.best, under("best", midway.tensors)
    saving.averages.load(under("averages", midway.tensors))
    learner.add_cb(_GoingOn(midway))


def _parameters(optimizer: Any) -> list[nn.Parameter]:
    return [parameter for group in optimizer.opt.param_groups for parameter in group["params"]]


def _optimizer_state(optimizer: Any) -> Iterator[tuple[str, Tensor]]:
    state = optimizer.opt.state
    for number, parameter in enumerate(_parameters(optimizer)):
        for name, value in state.get(parameter, {}).items():
            if value is not None:  # SGD's momentum before the first step
                yield f"{number}.{name}", value


def _restore_optimizer(optimizer: Any, tensors: dict[str, Tensor]) -> None:
    parameters = _parameters(optimizer)
    for name, tensor in tensors.items():
        number, _, key = name.partition(".")
        parameter = parameters[int(number)]
        # In the memory format of the parameter: convolutions round differently in another.
        like = torch.empty_like(parameter, dtype=tensor.dtype) if tensor.shape == parameter.shape else tensor.clone()
        optimizer.opt.state[parameter][key] = like.detach().copy_(tensor)
