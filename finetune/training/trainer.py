"""Trains the phases of a run: above the freeze boundary on activations, the whole network on pictures."""

from __future__ import annotations

import copy
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from finetune.data.pictures import Pictures
from finetune.data.targets import Targets
from finetune.errors import DivergedError, ResourceError
from finetune.networks.network import group_names, parameter_groups
from finetune.preparation import Job
from finetune.stopping import Stop
from finetune.training.batches import Batches
from finetune.training.boundary import Boundary, Pooled, boundary_of
from finetune.training.classic import fit_logreg, fit_svm
from finetune.training.frozen_outputs import FrozenOutputs, picked
from finetune.training.journal import Journal, Midway
from finetune.training.learner.averages import Averages
from finetune.training.learner.callbacks import BestEpoch, Monitored, PretrainedInEval, Progress, StopOnBadLoss
from finetune.training.learner.learners import learner_over_activations, learner_over_pictures, logits_of, set_seed
from finetune.training.learner.losses import loss_for, sampling_weights
from finetune.training.learner.mixing import is_applicable, mixing
from finetune.training.learner.rates import swept
from finetune.training.learner.resuming import Saving, go_on
from finetune.training.learner.schedules import schedule
from finetune.training.learner.strangers import Strangers
from finetune.training.learner.trackers import Tracking
from finetune.training.objective import objective_of
from finetune.training.precision import training_dtype
from finetune.training.randomness import seed_of
from finetune.training.strategies import PROBES, Fit, Phase, Step
from finetune.types import Example, RateCurve, Reporter

OUT_OF_MEMORY = re.compile(r"can't allocate memory|out of memory|can't start new thread")


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Say in one line what torch, running out of memory, says in many."""
    try:
        yield
    except RuntimeError as error:  # torch has no class of its own for it on the CPU
        if not OUT_OF_MEMORY.search(str(error)):
            raise
        raise ResourceError("Out of memory; try a smaller --batch-size or --image-size.") from error


class Trainer:
    """The network of a job, its pictures, and fastai's learners around them.

    The network is trained in place; after each phase it holds the weights of the phase's best epoch. Every phase seeds
    all random generators, so that it depends on nothing but its name and the network. With a ``journal`` it goes on
    where an earlier attempt was stopped; ``stop`` is asked at every step whether to end, ``trackers`` follow it, and
    ``strangers`` builds the callbacks of plugins that take part in a phase.
    """

    def __init__(
        self,
        job: Job,
        reporter: Reporter,
        journal: Journal | None = None,
        stop: Stop | None = None,
        trackers: Sequence[Tracking] = (),
        strangers: Callable[[str], Strangers] = Strangers,
    ) -> None:
        self.journal = journal or Journal()
        self._trackers, self._strangers = trackers, strangers
        self.history = self.journal.history
        self.stop = stop or Stop()
        self.objective = objective_of(
            job.dataset.task, job.dataset.labels, job.config.monitor, job.split.train, job.intent.metrics
        )
        self._job, self._said = job, set[str]()
        self._network = job.network
        self._reporter = reporter
        precision = self.journal.precision or str(training_dtype(job.config.precision)).removeprefix("torch.")
        self.journal.precision = precision
        self._dtype: torch.dtype = getattr(torch, precision)
        self._train = pictures_of(job, job.split.train)
        self._valid = pictures_of(job, job.split.valid)
        self.train_targets: Targets = self.objective.targets(job.split.train)
        self.valid_targets: Targets = self.objective.targets(job.split.valid)
        self._frozen = FrozenOutputs(job, self._train, self._valid, self._dtype, reporter)
        if self.journal.has_begun:
            self._restore_from_journal()

    def _restore_from_journal(self) -> None:
        try:
            self.restore(self.journal.network)
        except RuntimeError as error:  # torch's word for tensors that are missing, too many, or of other shapes
            raise self.journal.unfit() from error

    @_plain_errors()
    def find_rate(self, phase: Phase) -> RateCurve:
        """Return the learning-rate curve of a phase (Smith 2017); the weights stay as they were.

        Raises ``DivergedError`` when the curve has no usable part.
        """
        set_seed(seed_of(self._job.config.seed, "find"), reproducible=True)
        before = self.snapshot()
        learner, rates = self._learner(phase, [])
        self._reporter.begin("Finding the learning rate")
        try:
            return swept(learner, rates)
        finally:  # also where no curve came of it: who does without one trains on from these weights
            self.restore(before)
            self._reporter.end()

    @_plain_errors()
    def train(self, phase: Phase) -> float:
        """Train one phase, keep its best epoch, and return that epoch's score.

        Raises ``DivergedError`` at the first loss that is not finite or has exploded; the network then holds the best
        epoch before that, where there is one. Where a signal asked the run to stop, what it raises comes after a
        checkpoint, and so does the failure of a stranger; that of a plugin's metric leaves the newest one there is.
        """
        midway = self.journal.midway(phase.name)
        if midway:
            self.restore(self.journal.network)
        strangers = self._strangers(phase.name)  # before the seed: what building them draws changes nothing
        set_seed(seed_of(self._job.config.seed, phase.name), reproducible=True)
        guard, best = StopOnBadLoss(), BestEpoch(self.objective, self.history, self._job.config.patience)
        learner, rates = self._learner(phase, [guard])
        averages = Averages(
            self._job.config.average,
            learner.model,
            phase.epochs * len(learner.dls.train),
            self.objective,
            self.history,
        )
        saving = Saving(phase.name, self._network, self.journal, self.stop, guard, best, averages, strangers)
        progress = Progress(phase.name, self.objective, self.history, self._reporter)
        self._begin(phase, len(learner.dls.train), midway)
        if midway:
            go_on(learner, midway, saving)
        ours = [schedule(phase, rates, self._job.config), progress, best, averages, saving]
        for tracker in self._trackers:
            before = sum(epoch.phase != phase.name for epoch in self.history)
            tracker.steps_before = before * len(learner.dls.train)
        with self.stop.heeded():
            learner.fit(phase.epochs, rates, cbs=[*ours, *self._trackers, *strangers.callbacks])
        if not guard.cause:
            strangers.raise_failure()
            _raise_failure_of(learner.metrics)
        best.restore_into(learner.model)
        reached = math.nan if guard.cause else self._with_averages(phase.name, learner, best, averages)
        self._network.to(memory_format=torch.contiguous_format)  # as it is exported
        self._reporter.end()
        if guard.cause or best.epoch_kept is None:
            raise DivergedError(f"{guard.cause}; try a lower --lr or --unfrozen-lr ('finetune lr-find' suggests one).")
        return reached

    def _with_averages(self, phase: str, learner: Any, best: BestEpoch, averages: Averages) -> float:
        """Put an average of the weights in the place of the best epoch's where it is strictly better."""

        def score(weights: Mapping[str, Tensor]) -> float:
            learner.model.load_state_dict(weights)
            return self.objective.score(logits_of(learner), self.valid_targets)

        if best.epoch_kept is None:
            return math.nan
        reached, kept = best.epoch_kept.score, best.weights
        for average in averages.found(score):
            compared = f"{self.objective.shown(average.score)} against {self.objective.shown(reached)}"
            if self.objective.merit(average.score) > self.objective.merit(reached):
                said = f"{phase}: {average.name} is better than the best epoch ({compared}), and is kept."
                reached, kept = average.score, dict(average.weights)
            else:
                said = f"{phase}: {average.name} is no better than what there is ({compared})."
            self.journal.outcome.reasons += (said,)
        learner.model.load_state_dict(kept)
        return reached

    def _begin(self, phase: Phase, steps: int, midway: Midway | None) -> None:
        """Tell the reporter how many pictures the phase takes, and how many an earlier attempt has taken already."""
        size = min(self._job.config.batch_size, len(self._train))
        count = min(steps * size, len(self._train))  # a last one by itself is left out
        self._reporter.begin(f"Training, {phase.name}", phase.epochs * count, "pictures")
        if midway:
            self._reporter.advance(midway.epoch * count + min(midway.step * size, count))

    @_plain_errors()
    def fit(self, step: Fit) -> tuple[float, float]:
        """Fit a classic classifier to frozen features, as the head's linear layer.

        Returns its score and the temperature of its logits. Raises ``DivergedError`` for features that are not finite.
        """
        set_seed(seed_of(self._job.config.seed, step.name), reproducible=True)
        boundary = self._boundary(self._stages)
        train, valid = self._frozen.of_both(boundary, 1)
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
        return self.objective.score(logits / found.temperature, self.valid_targets), found.temperature

    @_plain_errors()
    def stage_features(self, indices: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """Return the pooled output of each stage for some training pictures as they are: float32 (N, D) by stage.

        Raises ``DivergedError`` for features that are not finite.
        """
        boundary = self._boundary(self._stages)
        features = self._frozen.of_some(boundary, indices.tolist())
        _refuse_non_finite(features)
        by_stage = cast(Pooled, boundary.below).by_stage(features)
        return {name: part.numpy() for name, part in by_stage.items()}

    @property
    def _views(self) -> int:
        """How many views of a picture differ."""
        return 1 if self._job.config.augment == "none" else self._job.config.views

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
            boundary = self._boundary(phase.frozen_groups)
            views = len(self._train) * self._views + len(self._valid)
            # Once decided, it stays: the two ways round differently, and room on the disk comes and goes.
            if self.journal.on_activations.setdefault(phase.name, boundary.is_worth_keeping(views)):
                return self._learner_above(boundary, groups, callbacks), phase.rates[phase.frozen_groups :]
        return self._learner_of_all(phase, callbacks), phase.rates

    def _learner_above(self, boundary: Boundary, groups: list[list[nn.Parameter]], callbacks: list[Any]) -> Any:
        train, valid = self._frozen.of_both(boundary, self._views)
        loaders = self._loaders(partial(picked, boundary, train), partial(picked, boundary, valid))
        dtype = torch.float32 if boundary.is_pooled else self._dtype
        trained = groups[boundary.frozen_groups :]
        callbacks = [*callbacks, *self._mixing(is_spatial=len(boundary.shape) == 3 and not self._network.channels_last)]
        return learner_over_activations(
            boundary.above, trained, *loaders, self._job.config, dtype, *self._aims(), callbacks
        )

    def _learner_of_all(self, phase: Phase, callbacks: list[Any]) -> Any:
        loaders = self._loaders(
            lambda indices, epoch: self._train.images([(index, epoch + 1) for index in indices]),
            lambda indices, _: self._valid.images([(index, 0) for index in indices]),
        )
        callbacks = [*callbacks, *self._mixing(is_spatial=True)]
        self._network.to(memory_format=torch.channels_last)  # as the images come
        learner = learner_over_pictures(
            self._network, *loaders, self._job.config, self._dtype, *self._aims(), callbacks
        )
        learner.freeze_to(phase.frozen_groups)
        return learner

    def _mixing(self, *, is_spatial: bool) -> list[Any]:
        mix = self._job.config.mix
        if not is_applicable(mix, is_spatial=is_spatial) and mix not in self._said:
            self._said.add(mix)  # once, for the sweep and the phase
            self._reporter.note(f"--mix {mix} pastes parts of pictures, which pooled features have none of: not here.")
        blending = mixing(mix, is_spatial=is_spatial)
        return [] if blending is None else [blending]

    def _aims(self) -> tuple[Any, Monitored]:
        """Return the loss that is minimised, and the metric that is watched."""
        targets = torch.from_numpy(self.train_targets)
        config, classes = self._job.config, len(self.objective.labels)
        loss = loss_for(self.objective.task, config.imbalance, targets, classes, config.label_smoothing)
        return loss, Monitored(self.objective, self.valid_targets)

    def _loaders(
        self, train: Callable[[list[int], int], Tensor], valid: Callable[[list[int], int], Tensor]
    ) -> tuple[Batches, Batches]:
        config, learned = self._job.config, self.objective.learned
        targets = torch.from_numpy(self.train_targets)
        weights = sampling_weights(self.objective.task, targets) if config.imbalance == "sampling" else None
        shuffled = Batches(
            train,
            learned(self.train_targets),
            config.batch_size,
            shuffled=True,
            seed=config.seed,
            weights=weights,
            first_epoch=len(self.history),  # later phases go on with other views
        )
        return shuffled, Batches(valid, learned(self.valid_targets), config.batch_size)

    @_plain_errors()
    def outputs(self, embedded: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        """Return what the network says of the validation pictures, and what its classifier sees of some.

        These are logits, float32 (N, K), and embeddings, float32 (M, D), in the pictures' order. Where the body was
        left as it is, what leaves it is at hand. Which way is taken depends on the step that is kept, and not on what
        happens to be in memory: their last digits may differ, and a resumed run is to have the same.
        """
        count, step = len(self._valid), self._job.config.batch_size
        is_kept = torch.zeros(count, dtype=torch.bool)
        is_kept[list(embedded)] = True
        is_probe = self.journal.outcome.kept in PROBES
        embed = self._embedding_above_the_body() if is_probe else self._embedding_pictures()
        logits, embeddings = [], []
        with torch.no_grad():
            for start in range(0, count, step):
                embedding = embed(list(range(count))[start : start + step])
                logits.append(self._network.classify(embedding))
                embeddings.append(embedding[is_kept[start : start + step]])
        return torch.cat(logits), torch.cat(embeddings)

    def _embedding_above_the_body(self) -> Callable[[list[int]], Tensor]:
        boundary = self._boundary(self._stages)
        _, valid = self._frozen.of_both(boundary, 1)
        self._network.eval()
        return lambda indices: picked(boundary, valid, indices, 0)

    def _embedding_pictures(self) -> Callable[[list[int]], Tensor]:
        network = self._network.eval()
        return lambda indices: network.embed(self._valid.images([(index, 0) for index in indices]))

    @_plain_errors()
    def frozen_features(self, step: Step) -> NDArray[np.float32]:
        """Return what leaves the body of all training pictures, then of all validation pictures, as they are: (N, D).

        They are computed in as many views as a first ``step`` that leaves the body as it is needs, and are at hand
        for it then.
        """
        boundary = self._boundary(self._stages)
        both = self._frozen.of_both(boundary, self._views if isinstance(step, Phase) else 1)
        return torch.cat([boundary.seen_above(part[:, 0]) for part in both]).numpy()

    @property
    def cost_of_fitting(self) -> int:
        """What a classic classifier takes to fit: training pictures × features × classes."""
        return len(self._train) * sum(parameter.numel() for parameter in self._network.head.parameters())

    @property
    def training_pictures(self) -> Pictures:
        """What is trained on, in its views."""
        return self._train

    def seconds_per_picture(self) -> float:
        """Return what it takes to ask the network about a validation picture, from its file on, in seconds."""
        started = time.monotonic()
        with torch.no_grad():
            self._network.classify(self._embedding_pictures()([0]))
        return time.monotonic() - started

    def snapshot(self) -> dict[str, Tensor]:
        """Return a copy of all weights."""
        return copy.deepcopy(self._network.state_dict())

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Put back weights that ``snapshot`` copied."""
        self._network.load_state_dict(weights)


def _raise_failure_of(metrics: Sequence[Monitored]) -> None:
    for metric in metrics:
        if metric.failure:
            raise metric.failure


def _refuse_non_finite(features: Tensor) -> None:
    if not features.isfinite().all():
        raise DivergedError(
            "The frozen features are no finite numbers; check the pictures, or start from other --weights."
        )


def pictures_of(job: Job, examples: tuple[Example, ...]) -> Pictures:
    """Return some of a job's pictures as its network sees them, by the content that the audit read."""
    hashes = {checked.example.path: checked.sha256 for checked in job.audit.checked}
    return Pictures(examples, [hashes[e.path] for e in examples], job.preprocessing, job.config.augment)
