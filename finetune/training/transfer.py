"""Follows a strategy, keeps the best of its steps, and says whether going on beat the probe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from finetune.clock import Clock
from finetune.errors import DivergedError
from finetune.training.scenario import Advice, advise, pictures_to_measure
from finetune.training.strategies import Fit, Step
from finetune.training.trainer import Trainer

PROBE = "frozen"
"""The phase in which the head learns alone: what fine-tuning has to beat."""
PROBES = (PROBE, "logreg", "svm")
"""All steps that leave the body as it is."""
MOST_FITTED = 4e8
"""Pictures × features × classes up to which 'auto' fits a logistic regression, too: about ten seconds' worth."""
GOOD_ENOUGH = 0.995
"""Where the probe is right this often, 'auto' does not go on."""


@dataclass(kw_only=True)
class Outcome:
    """What each step reached in validation accuracy (0..1), and the one whose weights are in the network.

    ``temperature`` divides its logits. ``reasons`` say why 'auto' went on or stopped.
    """

    accuracies: dict[str, float] = field(default_factory=dict)
    kept: str = ""
    temperature: float = 1.0
    reasons: tuple[str, ...] = ()
    weights: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def verdict(self) -> str:
        """One sentence: did fine-tuning beat the probe, and what was kept."""
        probes = {name: value for name, value in self.accuracies.items() if name in PROBES}
        later = {name: value for name, value in self.accuracies.items() if name not in PROBES}
        if not probes:
            return f"{self.kept}: there was no probe to beat."
        probe = self._best(probes)
        if not later:
            return f"The probe is kept ({probe} {probes[probe]:.1%}); fine-tuning was not tried."
        best = self._best(later)
        compared = f"{best} {later[best]:.1%}, {probe} {probes[probe]:.1%}"
        if self.kept == probe:
            return f"Fine-tuning did not beat the probe ({compared}); {probe} is kept."
        word = "beat" if later[best] > probes[probe] else "equalled"
        return f"Fine-tuning {word} the probe ({compared}); {self.kept} is kept."

    def _best(self, some: Mapping[str, float]) -> str:
        return self.kept if self.kept in some else max(some, key=some.__getitem__)


def follow(steps: Sequence[Step], trainer: Trainer, clock: Clock, save: Callable[[], None]) -> Outcome:
    """Take all steps in turn and keep the weights of the best; of equals, the later.

    Unfreezing can cost accuracy on few pictures; then the frozen phase's network is the one to deploy. When a step
    diverges, the best so far is put back and handed to ``save``; then ``DivergedError`` is raised.
    """
    outcome = Outcome()
    for step in steps:
        _take(step, trainer, clock, save, outcome)
    return _settled(outcome, trainer)


def climb(steps: Sequence[Step], trainer: Trainer, clock: Clock, save: Callable[[], None], seed: int) -> Outcome:
    """Take the steps of 'auto': the probes, then what the ``Advice`` names, as long as each one wins.

    Raises as ``follow`` does.
    """
    if steps[0].name != PROBE:  # --freeze-epochs 0 leaves the choice to the user
        return follow(steps, trainer, clock, save)
    outcome = Outcome()
    for step in steps:
        if step.name == PROBE or (isinstance(step, Fit) and trainer.cost_of_fitting <= MOST_FITTED):
            _take(step, trainer, clock, save, outcome)
    with clock("measure"):
        advice = measure(trainer, seed)
    outcome.reasons = advice.reasons[:-1]
    for step in _worth_trying([step for step in steps if step.name not in PROBES], advice, outcome):
        before = outcome.accuracies[outcome.kept]
        trainer.restore(outcome.weights)  # each step goes on from the best so far (Kumar et al. 2022)
        _take(step, trainer, clock, save, outcome)
        if outcome.accuracies[step.name] <= before:
            outcome.reasons += (f"{step.name} brought nothing, so nothing more was tried.",)
            break
    return _settled(outcome, trainer)


def measure(trainer: Trainer, seed: int) -> Advice:
    """Return what the pictures and the frozen network say about which strategy suits them."""
    stages, targets = sampled_features(trainer, seed)
    return advise(stages, targets, np.bincount(trainer.train_targets).tolist(), seed)


def sampled_features(trainer: Trainer, seed: int) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
    """Return the pooled output of each stage, (N, D), and the targets, (N,), of enough training pictures to measure."""
    chosen = pictures_to_measure(trainer.train_targets, seed)
    return trainer.stage_features(chosen), trainer.train_targets[chosen]


def _worth_trying(later: Sequence[Step], advice: Advice, outcome: Outcome) -> Iterator[Step]:
    reached = outcome.accuracies[outcome.kept]
    if reached >= GOOD_ENOUGH:
        outcome.reasons += (f"The probe is right on {reached:.1%}; there is nothing left to gain.",)
    elif advice.strategy == "probe":
        outcome.reasons += advice.reasons[-1:]
    else:
        tried = later[:1] if advice.size == "small" else later
        outcome.reasons += (f"Worth trying beyond the probe: {', then '.join(step.name for step in tried)}.",)
        yield from tried


def _take(step: Step, trainer: Trainer, clock: Clock, save: Callable[[], None], outcome: Outcome) -> None:
    temperature = 1.0
    try:
        with clock(step.name):
            if isinstance(step, Fit):
                reached, temperature = trainer.fit(step)
            else:
                reached = trainer.train(step)
    except DivergedError as error:
        _keep_what_there_is(step, trainer, save, outcome, error)
        raise
    outcome.accuracies[step.name] = reached
    if not outcome.kept or reached >= outcome.accuracies[outcome.kept]:
        outcome.kept, outcome.temperature, outcome.weights = step.name, temperature, trainer.snapshot()


def _settled(outcome: Outcome, trainer: Trainer) -> Outcome:
    if outcome.kept != next(reversed(outcome.accuracies)):
        trainer.restore(outcome.weights)
    return outcome


def _keep_what_there_is(
    step: Step, trainer: Trainer, save: Callable[[], None], outcome: Outcome, error: DivergedError
) -> None:
    """Save the best so far, where there is any, and raise what says so instead."""
    tried = [epoch for epoch in trainer.history if epoch.phase == step.name]
    best = max(tried, key=lambda epoch: (epoch.accuracy, -epoch.valid_loss), default=None)
    before = outcome.accuracies.get(outcome.kept, -1.0)
    if best and best.accuracy > before:  # which the trainer has put back
        which = f"{step.name}, epoch {best.epoch}, {best.accuracy:.1%}"
    elif outcome.kept:
        trainer.restore(outcome.weights)
        which = f"{outcome.kept}, {before:.1%}"
    else:
        return
    save()
    raise DivergedError(f"{error} The best so far ({which}) is in weights.safetensors.") from error
