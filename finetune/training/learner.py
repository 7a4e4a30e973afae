"""The only door to fastai: builds a ``vision_learner`` from our parts, trains its phases, and answers in our types.

Nothing outside this module sees a ``Learner``, an ``L`` or a ``DataLoaders``.
"""

from __future__ import annotations

import copy
import math
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from fastai.callback.core import Callback, CancelFitException, TrainEvalCallback
from fastai.callback.progress import ProgressCallback
from fastai.callback.schedule import LRFinder, ParamScheduler, valley  # gives Learner its fit_one_cycle, too
from fastai.data.core import DataLoaders
from fastai.data.transforms import IntToFloatTensor, Normalize
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.torch_core import TensorCategory, TensorImage, set_seed
from fastai.vision.augment import aug_transforms
from fastai.vision.learner import model_meta, vision_learner
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from finetune.data.pictures import TrainingPictures, ValidationPictures
from finetune.errors import DataError, DivergedError, ImageError, ResourceError
from finetune.networks.network import Network, parameter_groups
from finetune.preparation import Job
from finetune.training.strategies import Phase
from finetune.types import Reporter

CURVE_ENDS = slice(10, -5)
"""What is left of a rate curve: its first and last steps say nothing, as in fastai's ``lr_find``."""
OUT_OF_MEMORY = re.compile(r"can't allocate memory|out of memory|shared memory|DataLoader worker .* (killed|exited)")
PARALLEL_DECODERS = min(4, os.cpu_count() or 1)


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


@dataclass(frozen=True, kw_only=True)
class RateCurve:
    """The loss while the learning rate grows, and the rate fastai's ``valley`` rule suggests."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float


class FrozenInEval(Callback):  # type: ignore[misc]
    """Keep frozen stages in eval mode, so that what leaves them depends on the picture alone.

    Otherwise frozen batch norms would still move their statistics, and frozen dropout would still drop.
    """

    run_after = TrainEvalCallback

    def before_train(self) -> None:
        """Undo ``model.train()`` for every stage without a parameter to learn."""
        for stage in self.model[0]:
            if not any(parameter.requires_grad for parameter in stage.parameters()):
                stage.eval()


class StopOnNonFiniteLoss(Callback):  # type: ignore[misc]
    """End training at the first loss that is not a finite number; ``cause`` says where.

    In training that is before it reaches the weights, in validation before they are taken for good ones.
    """

    cause = ""

    def after_loss(self) -> None:
        """Cancel the fit: an error of our own would leave fastai with its words put around it."""
        if not torch.isfinite(self.loss_grad.detach()).all():
            which = "loss" if self.training else "validation loss"
            self.cause = f"The {which} became {self.loss.item()} in epoch {self.epoch + 1}, step {self.iter + 1}"
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
        losses = f"loss {train_loss:.3f} in training, {valid_loss:.3f} in validation"
        self.reporter.note(f"{self.phase} {epoch.epoch}/{self.n_epoch}: {losses}, accuracy {score:.1%}")


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Say in one line what a decoding process, or torch running out of memory, says in many."""
    try:
        yield
    except DataError as error:
        raise DataError(str(error).strip().rpartition("DataError: ")[2]) from error
    except RuntimeError as error:  # torch has no class of its own for these on the CPU
        if not OUT_OF_MEMORY.search(str(error)):
            raise
        raise ResourceError("Out of memory; try a smaller --batch-size or --image-size.") from error


class Trainer:
    """The network of a job, its pictures, and fastai's learner around them; seeds every random generator.

    The network is trained in place.
    """

    def __init__(self, job: Job, reporter: Reporter) -> None:
        self.history: list[Epoch] = []
        self._network = job.network
        self._reporter = reporter
        set_seed(job.config.seed, reproducible=True)
        train = TrainingPictures(job.split.train, job.dataset.labels, job.preprocessing)
        valid = ValidationPictures(job.split.valid, job.dataset.labels, job.preprocessing)
        loaders = _loaders(train, valid, job.config.batch_size)
        self._guard = StopOnNonFiniteLoss()
        self._learner = _vision_learner(job.network, loaders, [FrozenInEval(), self._guard])

    @_plain_errors()
    def find_rate(self, phase: Phase) -> RateCurve:
        """Return the learning-rate curve of a phase (Smith 2017); the weights stay as they were.

        Raises ``DivergedError`` when the curve has no usable part.
        """
        learner = self._learner
        learner.freeze_to(phase.frozen_groups)
        self._reporter.begin("Finding the learning rate")
        before = self.snapshot()
        sweep = RateSweep()
        with learner.removed_cbs(self._guard):
            learner.fit(sweep.num_it // len(learner.dls.train) + 1, cbs=sweep, reset_opt=True)
        self.restore(before)
        self._reporter.end()
        return _rate_curve(learner.recorder.lrs, learner.recorder.losses)

    @_plain_errors()
    def train(self, phase: Phase) -> float:
        """Train one phase and return the validation accuracy (0..1) at its end.

        Raises ``DivergedError`` at the first loss that is not finite.
        """
        learner = self._learner
        learner.freeze_to(phase.frozen_groups)
        self._reporter.begin(f"Training, {phase.name}", phase.epochs * len(learner.dls.train))
        learner.fit_one_cycle(
            phase.epochs,
            phase.rates,
            pct_start=phase.rise,
            div=phase.start_divisor,
            reset_opt=True,
            cbs=Progress(phase.name, self.history, self._reporter),
        )
        self._reporter.end()
        if self._guard.cause:
            raise DivergedError(
                f"{self._guard.cause}; try a lower --lr or --unfrozen-lr ('finetune lr-find' suggests one)."
            )
        return self.history[-1].accuracy

    @_plain_errors()
    def probabilities(self) -> NDArray[np.float32]:
        """Return the network's answers to the validation pictures, in their order: float32 (N, K)."""
        predictions, _ = self._learner.get_preds(ds_idx=1)
        return predictions.numpy()  # type: ignore[no-any-return]

    def snapshot(self) -> dict[str, Tensor]:
        """Return a copy of all weights."""
        return copy.deepcopy(self._network.state_dict())

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Put back weights that ``snapshot`` copied."""
        self._network.load_state_dict(weights)


def _rate_curve(rates: Iterable[float], losses: Iterable[Tensor]) -> RateCurve:
    """Return the curve up to where the loss is no number any more, and the rate it suggests."""
    pairs = ((float(rate), float(loss)) for rate, loss in zip(rates, losses, strict=True))
    finite = list(takewhile(lambda pair: math.isfinite(pair[1]), pairs))[CURVE_ENDS]
    if not finite:
        raise DivergedError(
            "No learning rate keeps the loss finite; check the pictures, or start from other --weights."
        )
    kept_rates, kept_losses = zip(*finite, strict=True)
    suggestion, _ = valley(kept_rates, kept_losses, len(finite))
    return RateCurve(rates=kept_rates, losses=kept_losses, suggestion=suggestion)


def _vision_learner(network: Network, loaders: Any, callbacks: list[Callback]) -> Any:
    def architecture(pretrained: bool) -> nn.Module:  # noqa: ARG001 - fastai's signature; our weights are in already
        return network.body

    groups = parameter_groups(network.body, network.head)
    # fastai looks up how to cut and group an architecture in this table; its guesses for unknown ones are wrong.
    model_meta[architecture] = {"cut": lambda model: model, "split": lambda _: groups}
    try:
        learner = vision_learner(
            loaders,
            architecture,
            normalize=False,  # the loaders do, with the backbone's own statistics
            n_out=len(loaders.vocab),
            loss_func=CrossEntropyLossFlat(),
            metrics=accuracy,
            custom_head=network.head,
            init=None,  # the head is as it should start
            train_bn=False,  # frozen means frozen, batch norms included
            cbs=callbacks,
        )
    finally:
        del model_meta[architecture]
    learner.remove_cb(ProgressCallback)  # progress goes to the reporter,
    learner.logger = lambda _: None  # and figures to the history; stdout is for results
    return learner


def _loaders(train: TrainingPictures, valid: ValidationPictures, batch_size: int) -> Any:
    size = min(batch_size, len(train))
    mean, std = valid.preprocessing.mean, valid.preprocessing.std
    loaders = DataLoaders.from_dsets(
        Typed(train, split_idx=0),
        Typed(valid, split_idx=1),
        bs=size,
        drop_last=(len(train) % size == 1, False),  # batch norm cannot learn from a batch of one
        num_workers=_workers(len(train)),
        device="cpu",
        after_batch=[
            IntToFloatTensor(),
            # Light only: pictures come cut and mirrored, and turning and warping cost accuracy in so few epochs.
            *aug_transforms(do_flip=False, max_rotate=0, max_zoom=1, max_warp=0),
            Normalize.from_stats(mean, std),
        ],
    )
    loaders.vocab = valid.labels
    return loaders


def _workers(pictures: int) -> int:
    return 0 if pictures < 64 else PARALLEL_DECODERS  # starting processes costs more than a few pictures


class Typed(Dataset[tuple[Any, Any]]):
    """Pictures in the tensor classes by which fastai chooses what a transform does to them.

    ``split_idx`` is how fastai tells training (0) from validation (1); without it, it augments both.
    """

    def __init__(self, pictures: ValidationPictures, split_idx: int) -> None:
        self.pictures = pictures
        self.split_idx = split_idx

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        try:
            image, target = self.pictures[index]
        except ImageError as error:  # which is more than a text, and so would not survive the way from a process
            raise DataError(f"{error}. It was readable before; leave the pictures alone while training.") from error
        return TensorImage(image), TensorCategory(target)
