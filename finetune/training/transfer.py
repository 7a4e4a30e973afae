"""Follows a strategy, keeps the best of its steps, and says whether going on beat the probe."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from finetune.clock import Clock
from finetune.errors import DivergedError
from finetune.training.journal import Outcome
from finetune.training.objective import Objective
from finetune.training.scenario import Advice, advise, pictures_to_measure
from finetune.training.strategies import PROBE, PROBES, Fit, Step
from finetune.training.trainer import Trainer

MOST_FITTED = 4e8
"""Pictures × features × classes up to which 'auto' fits a logistic regression, too: about ten seconds' worth."""
GOOD_ENOUGH = 0.995
"""Where the probe is right this often, 'auto' does not go on."""


def verdict(outcome: Outcome, objective: Objective) -> str:
    """Return one sentence: did fine-tuning beat the probe, and what was kept."""
    scores, shown = outcome.scores, objective.shown
    probes = {name: value for name, value in scores.items() if name in PROBES}
    later = {name: value for name, value in scores.items() if name not in PROBES}
    if not probes:
        return f"{outcome.kept}: there was no probe to beat."
    probe = _best(probes, outcome, objective)
    if not later:
        return f"The probe is kept ({probe} {shown(probes[probe])}); fine-tuning was not tried."
    best = _best(later, outcome, objective)
    compared = f"{best} {shown(later[best])}, {probe} {shown(probes[probe])}"
    if outcome.kept == probe:
        return f"Fine-tuning did not beat the probe ({compared}); {probe} is kept."
    word = "beat" if objective.merit(later[best]) > objective.merit(probes[probe]) else "equalled"
    return f"Fine-tuning {word} the probe ({compared}); {outcome.kept} is kept."


def _best(some: Mapping[str, float], outcome: Outcome, objective: Objective) -> str:
    return outcome.kept if outcome.kept in some else max(some, key=lambda name: objective.merit(some[name]))


def follow(steps: Sequence[Step], trainer: Trainer, clock: Clock, save: Callable[[], None]) -> Outcome:
    """Take all steps in turn and keep the weights of the best; of equals, the later.

    Unfreezing can cost accuracy on few pictures; then the frozen phase's network is the one to deploy. When a step
    diverges, the best so far is put back and handed to ``save``; then ``DivergedError`` is raised. Steps that an
    earlier attempt at the run has finished are not taken again; none is begun once the time is up.
    """
    for step in steps:
        _take(step, trainer, clock, save)
    return _settled(trainer)


def climb(steps: Sequence[Step], trainer: Trainer, clock: Clock, save: Callable[[], None], seed: int) -> Outcome:
    """Take the steps of 'auto': the probes, then what the ``Advice`` names, as long as each one wins.

    Raises as ``follow`` does.
    """
    if steps[0].name != PROBE:  # --freeze-epochs 0 leaves the choice to the user
        return follow(steps, trainer, clock, save)
    outcome = trainer.journal.outcome
    for step in steps:
        if step.name == PROBE or (isinstance(step, Fit) and trainer.cost_of_fitting <= MOST_FITTED):
            _take(step, trainer, clock, save)
    later = [step for step in steps if step.name not in PROBES]
    if outcome.plan is None:
        with clock("measure"):
            outcome.plan = tuple(step.name for step in _worth_trying(later, trainer, seed))
    for step in later:
        if step.name in outcome.plan and not _wins(step, trainer, clock, save):
            break
    return _settled(trainer)


def _wins(step: Step, trainer: Trainer, clock: Clock, save: Callable[[], None]) -> bool:
    """Take one more step from the best so far (Kumar et al. 2022), and say whether it beat that."""
    outcome, merit = trainer.journal.outcome, trainer.objective.merit
    if step.name not in outcome.scores:
        trainer.restore(outcome.weights)
    _take(step, trainer, clock, save)
    if step.name not in outcome.scores:
        return False  # the time is up
    before = takewhile(lambda name: name != step.name, outcome.scores)
    if merit(outcome.scores[step.name]) > max(merit(outcome.scores[name]) for name in before):
        return True
    outcome.reasons += (f"{step.name} brought nothing, so nothing more was tried.",)
    return False


def measure(trainer: Trainer, seed: int) -> Advice:
    """Return what the pictures and the frozen network say about which strategy suits them."""
    stages, targets = sampled_features(trainer, seed)
    return advise(stages, targets, np.bincount(trainer.train_targets).tolist(), seed)


def sampled_features(trainer: Trainer, seed: int) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.int64]]:
    """Return the pooled output of each stage, (N, D), and the targets, (N,), of enough training pictures to measure."""
    chosen = pictures_to_measure(trainer.train_targets, seed)
    return trainer.stage_features(chosen), trainer.train_targets[chosen]


def _worth_trying(later: Sequence[Step], trainer: Trainer, seed: int) -> Sequence[Step]:
    """Return which of the later steps to try, and add the reasons to the outcome."""
    outcome, objective = trainer.journal.outcome, trainer.objective
    if objective.task != "single-label":  # the advice is about classes
        return later
    advice = measure(trainer, seed)
    outcome.reasons += advice.reasons[:-1]
    reached = outcome.scores[outcome.kept]
    if objective.monitor == "accuracy" and reached >= GOOD_ENOUGH:
        outcome.reasons += (f"The probe is right on {reached:.1%}; there is nothing left to gain.",)
        return ()
    if advice.strategy == "probe":
        outcome.reasons += advice.reasons[-1:]
        return ()
    tried = later[:1] if advice.size == "small" else later
    if not tried:
        return ()
    outcome.reasons += (f"Worth trying beyond the probe: {', then '.join(step.name for step in tried)}.",)
    return tried


def _take(step: Step, trainer: Trainer, clock: Clock, save: Callable[[], None]) -> None:
    outcome, temperature = trainer.journal.outcome, 1.0
    is_late = outcome.scores and trainer.stop.asked and not trainer.journal.is_midway(step.name)
    if step.name in outcome.scores or is_late:
        return
    try:
        with clock(step.name):
            if isinstance(step, Fit):
                reached, temperature = trainer.fit(step)
            else:
                reached = trainer.train(step)
    except DivergedError as error:
        _keep_what_there_is(step, trainer, save, error)
        raise
    outcome.scores[step.name] = reached
    merit = trainer.objective.merit
    if not outcome.kept or merit(reached) >= merit(outcome.scores[outcome.kept]):
        outcome.kept, outcome.temperature, outcome.weights = step.name, temperature, trainer.snapshot()
    if trainer.journal.is_due:
        trainer.journal.save(trainer.snapshot())


def _settled(trainer: Trainer) -> Outcome:
    outcome = trainer.journal.outcome
    trainer.restore(outcome.weights)
    return outcome


def _keep_what_there_is(step: Step, trainer: Trainer, save: Callable[[], None], error: DivergedError) -> None:
    """Save the best so far, where there is any, and raise what says so instead."""
    outcome, objective = trainer.journal.outcome, trainer.objective
    merit, shown = objective.merit, objective.shown
    tried = [epoch for epoch in trainer.history if epoch.phase == step.name]
    best = max(tried, key=lambda epoch: (merit(epoch.score), -epoch.valid_loss), default=None)
    before = outcome.scores.get(outcome.kept, math.nan)
    if best and merit(best.score) > merit(before):  # which the trainer has put back
        which = f"{step.name}, epoch {best.epoch}, {shown(best.score)}"
    elif outcome.kept:
        trainer.restore(outcome.weights)
        which = f"{outcome.kept}, {shown(before)}"
    else:
        return
    save()
    raise DivergedError(f"{error} The best so far ({which}) is in weights.safetensors.") from error
