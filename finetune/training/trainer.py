"""Trains the phases of a run: above the freeze boundary on activations, the whole network on pictures."""

from __future__ import annotations

import copy
import re
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from platformdirs import user_cache_path
from torch import Tensor, nn

from finetune.data.pictures import Pictures
from finetune.errors import DivergedError, ResourceError
from finetune.evaluation.metrics import accuracy
from finetune.networks.network import group_names, parameter_groups
from finetune.preparation import Job
from finetune.training.activation_cache import ActivationCache
from finetune.training.batches import Batches
from finetune.training.boundary import Activations, Boundary, Pooled, boundary_of
from finetune.training.classic import fit_logreg, fit_svm
from finetune.training.learner import (
    BestEpoch,
    Epoch,
    PretrainedInEval,
    Progress,
    RateCurve,
    RateSweep,
    StopOnBadLoss,
    learner_over_activations,
    learner_over_pictures,
    rate_curve,
    schedule,
    set_seed,
)
from finetune.training.precision import training_dtype
from finetune.training.strategies import Fit, Phase
from finetune.types import Example, Reporter

CACHE_FILE = "activations.sqlite"
OUT_OF_MEMORY = re.compile(r"can't allocate memory|out of memory")


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Say in one line what torch, running out of memory, says in many."""
    try:
        yield
    except RuntimeError as error:  # torch has no class of its own for it on the CPU
        if not OUT_OF_MEMORY.search(str(error)):
            raise
        raise ResourceError("Out of memory; try a smaller --batch-size or --image-size.") from error


class _Computed(NamedTuple):
    """What leaves the part below so many frozen groups: training (N, V, …) and validation pictures (N, 1, …)."""

    frozen_groups: int
    train: Tensor
    valid: Tensor


class Trainer:
    """The network of a job, its pictures, and fastai's learners around them; seeds every random generator.

    The network is trained in place; after each phase it holds the weights of the phase's best epoch.
    """

    def __init__(self, job: Job, reporter: Reporter) -> None:
        self.history: list[Epoch] = []
        self._job = job
        self._network = job.network
        self._reporter = reporter
        set_seed(job.config.seed, reproducible=True)
        self._dtype = training_dtype(job.config.precision)
        self._train = _pictures(job, job.split.train)
        self._valid = _pictures(job, job.split.valid)
        capacity = round(job.config.cache_gb * 1e9)
        self._cache = ActivationCache(user_cache_path("finetune") / CACHE_FILE, capacity, reporter.note)
        weakref.finalize(self, self._cache.close)
        self._activations = Activations(job.preprocessing, job.backbone_origin, self._cache, reporter)
        self._computed: dict[bytes, _Computed] = {}

    @_plain_errors()
    def find_rate(self, phase: Phase) -> RateCurve:
        """Return the learning-rate curve of a phase (Smith 2017); the weights stay as they were.

        Raises ``DivergedError`` when the curve has no usable part.
        """
        before = self.snapshot()
        learner, rates = self._learner(phase, [])
        self._reporter.begin("Finding the learning rate")
        sweep = RateSweep()
        learner.fit(sweep.num_it // len(learner.dls.train) + 1, rates, cbs=sweep)
        self.restore(before)
        self._reporter.end()
        return rate_curve(learner.recorder.lrs, learner.recorder.losses)

    @_plain_errors()
    def train(self, phase: Phase) -> float:
        """Train one phase, keep its best epoch, and return that epoch's validation accuracy (0..1).

        Raises ``DivergedError`` at the first loss that is not finite or has exploded; the network then holds the best
        epoch before that, where there is one.
        """
        guard, best = StopOnBadLoss(), BestEpoch(self.history)
        learner, rates = self._learner(phase, [guard])
        self._reporter.begin(f"Training, {phase.name}", phase.epochs * len(learner.dls.train))
        progress = Progress(phase.name, self.history, self._reporter)
        learner.fit(phase.epochs, rates, cbs=[schedule(phase, rates, self._job.config), progress, best])
        best.restore_into(learner.model)
        self._network.to(memory_format=torch.contiguous_format)  # as it is exported
        self._reporter.end()
        if guard.cause or best.epoch_kept is None:
            raise DivergedError(f"{guard.cause}; try a lower --lr or --unfrozen-lr ('finetune lr-find' suggests one).")
        return best.epoch_kept.accuracy

    @_plain_errors()
    def fit(self, step: Fit) -> tuple[float, float]:
        """Fit a classic classifier to frozen features, as the head's linear layer.

        Returns its validation accuracy (0..1) and the temperature of its logits. Raises ``DivergedError`` for features
        that are not finite.
        """
        boundary = self._boundary(self._stages)
        train, valid = self._activations_above(boundary, 1)
        classifier = cast(nn.Sequential, self._network.head.get_submodule("classifier")).eval()
        normalised, linear = classifier[0], cast(nn.Linear, classifier[-1])
        classify = {"svm": fit_svm, "logreg": fit_logreg}[step.name]
        self._reporter.begin(f"Fitting, {step.name}")
        seen = [normalised(boundary.seen_above(part[:, 0])) for part in (train, valid)]  # view 0: as deployed
        _refuse_non_finite(seen[0])
        found = classify(seen[0].numpy(), self.train_targets, linear.out_features, self._job.config.seed)
        linear.load_state_dict({"weight": torch.from_numpy(found.weight), "bias": torch.from_numpy(found.bias)})
        self._reporter.end()
        with torch.no_grad():
            logits = linear(seen[1])
        return accuracy(logits.numpy(), self._valid.targets.numpy()), found.temperature

    @_plain_errors()
    def stage_features(self, indices: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """Return the pooled output of each stage for some training pictures as they are: float32 (N, D) by stage.

        Raises ``DivergedError`` for features that are not finite.
        """
        boundary = self._boundary(self._stages)
        found = self._computed.get(self._activations.space(boundary, self._dtype))
        if found:
            features = found.train[indices, 0]
        else:
            chosen = _pictures(self._job, tuple(self._job.split.train[index] for index in indices))
            features = self._activations.compute(boundary, chosen, 1, self._dtype)[:, 0]
        _refuse_non_finite(features)
        by_stage = cast(Pooled, boundary.below).by_stage(features)
        return {name: part.numpy() for name, part in by_stage.items()}

    @property
    def _stages(self) -> int:
        """How many parameter groups there are below the head."""
        return len(group_names(self._network.body)) - 1

    def _boundary(self, frozen_groups: int) -> Boundary:
        return boundary_of(self._network, frozen_groups, self._job.preprocessing.image_size_px)

    def _learner(self, phase: Phase, callbacks: list[Any]) -> tuple[Any, tuple[float, ...]]:
        """Return a learner for a phase, and the rates of its parameter groups."""
        keep_statistics = not self._job.is_random
        callbacks = [PretrainedInEval(self._network.body, keep_statistics), *callbacks]
        groups = parameter_groups(self._network.body, self._network.head)
        for number, group in enumerate(groups):
            for parameter in group:
                parameter.requires_grad_(number >= phase.frozen_groups)
        if phase.frozen_groups:
            boundary, views = self._boundary(phase.frozen_groups), self._job.config.views
            if boundary.is_worth_keeping(len(self._train) * views + len(self._valid)):
                return self._learner_above(boundary, groups, callbacks), phase.rates[phase.frozen_groups :]
        return self._learner_of_all(phase, callbacks), phase.rates

    def _learner_above(self, boundary: Boundary, groups: list[list[nn.Parameter]], callbacks: list[Any]) -> Any:
        train, valid = self._activations_above(boundary, self._job.config.views)
        loaders = self._loaders(partial(_picked, boundary, train), partial(_picked, boundary, valid))
        dtype = torch.float32 if boundary.is_pooled else self._dtype
        trained = groups[boundary.frozen_groups :]
        return learner_over_activations(boundary.above, trained, *loaders, self._job.config, dtype, callbacks)

    def _learner_of_all(self, phase: Phase, callbacks: list[Any]) -> Any:
        loaders = self._loaders(
            lambda indices, epoch: self._train.images([(index, epoch + 1) for index in indices]),
            lambda indices, _: self._valid.images([(index, 0) for index in indices]),
        )
        self._network.to(memory_format=torch.channels_last)  # as the images come
        learner = learner_over_pictures(self._network, *loaders, self._job.config, self._dtype, callbacks)
        learner.freeze_to(phase.frozen_groups)
        return learner

    def _loaders(
        self, train: Callable[[list[int], int], Tensor], valid: Callable[[list[int], int], Tensor]
    ) -> tuple[Batches, Batches]:
        size, epochs = self._job.config.batch_size, len(self.history)  # later phases go on with other views
        shuffled = Batches(train, self._train.targets, size, shuffled=True, first_epoch=epochs)
        return shuffled, Batches(valid, self._valid.targets, size)

    def _activations_above(self, boundary: Boundary, views: int) -> tuple[Tensor, Tensor]:
        """Return what leaves the part below a boundary, computed once.

        Training pictures come in ``views`` or more, (N, V, …), validation pictures in view 0 and float32, (N, 1, …).
        """
        space = self._activations.space(boundary, self._dtype)
        if space not in self._computed or self._computed[space].train.shape[1] < views:
            self._computed.clear()  # gives its memory back
            train = self._activations.compute(boundary, self._train, views, self._dtype)
            valid = self._activations.compute(boundary, self._valid, 1, torch.float32)
            self._computed[space] = _Computed(boundary.frozen_groups, train, valid)
        return self._computed[space].train, self._computed[space].valid

    @_plain_errors()
    def probabilities(self, temperature: float = 1.0) -> NDArray[np.float32]:
        """Return the network's answers to the validation pictures, in their order: float32 (N, K)."""
        count, step = len(self._valid), self._job.config.batch_size
        ask = self._asked_above_boundary() or self._asked_about_pictures()
        with torch.no_grad():
            logits = torch.cat([ask(list(range(count))[start : start + step]) for start in range(0, count, step)])
        return (logits / temperature).softmax(dim=1).numpy()

    def _asked_above_boundary(self) -> Callable[[list[int]], Tensor] | None:
        """Return how to ask with the activations at hand; None where the part below was trained since."""
        for space, computed in self._computed.items():
            boundary = self._boundary(computed.frozen_groups)
            if self._activations.space(boundary, self._dtype) == space:
                above = boundary.above.eval()
                return lambda indices: above(_picked(boundary, computed.valid, indices, 0))
        return None

    def _asked_about_pictures(self) -> Callable[[list[int]], Tensor]:
        network = self._network.eval()
        return lambda indices: network(self._valid.images([(index, 0) for index in indices]))

    @property
    def cost_of_fitting(self) -> int:
        """What a classic classifier takes to fit: training pictures × features × classes."""
        return len(self._train) * sum(parameter.numel() for parameter in self._network.head.parameters())

    @property
    def train_targets(self) -> NDArray[np.int64]:
        """The training pictures' label indices, int64 (N,)."""
        return self._train.targets.numpy()

    def snapshot(self) -> dict[str, Tensor]:
        """Return a copy of all weights."""
        return copy.deepcopy(self._network.state_dict())

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Put back weights that ``snapshot`` copied."""
        self._network.load_state_dict(weights)


def _refuse_non_finite(features: Tensor) -> None:
    if not features.isfinite().all():
        raise DivergedError(
            "The frozen features are no finite numbers; check the pictures, or start from other --weights."
        )


def _pictures(job: Job, examples: tuple[Example, ...]) -> Pictures:
    hashes = {checked.example.path: checked.sha256 for checked in job.audit.checked}
    return Pictures(examples, [hashes[e.path] for e in examples], job.dataset.labels, job.preprocessing)


def _picked(boundary: Boundary, activations: Tensor, indices: list[int], epoch: int) -> Tensor:
    """Return the activations of some pictures, each in a view that changes from epoch to epoch."""
    views = activations.shape[1]
    picked = torch.tensor([(index + epoch) % views for index in indices])
    return boundary.seen_above(activations[torch.tensor(indices), picked])
