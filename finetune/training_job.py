"""Training inside a run's folder: journaled, followed and stoppable; what a run and a pretraining have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from finetune import records, run_folder
from finetune.clock import Clock
from finetune.errors import ResourceError
from finetune.insights.looking import look_before_training
from finetune.preparation import Job
from finetune.run_folder import RunFolder
from finetune.stopping import Stop
from finetune.training.checkpoints import Checkpoints
from finetune.training.journal import Journal, Outcome
from finetune.training.learner.strangers import Strangers, builders, strangers
from finetune.training.learner.trackers import Tracking, trackers
from finetune.training.strategies import Phase, phase_to_measure, plan
from finetune.training.trainer import Trainer
from finetune.training.transfer import climb, follow, verdict
from finetune.types import Reporter


@contextmanager
def finished(folder: RunFolder) -> Iterator[None]:
    """Record a run while it lasts, and let go of its checkpoints once it is written down that it is done."""
    with folder.recorded():
        yield
    with suppress(ResourceError):  # the run is done, and what is left of them does no harm
        Checkpoints(folder / records.CHECKPOINTS).remove()


def train(
    folder: RunFolder, job: Job, clock: Clock, reporter: Reporter, seconds_after: Callable[[Trainer], float]
) -> tuple[Trainer, Outcome]:
    """Take the steps of the strategy, from the newest checkpoint where there is one; the best is kept and saved.

    ``seconds_after`` says what is to be kept of --max-minutes for what comes after training. Returns the trainer, which
    holds the network, and what its steps came to.
    """
    journal = Journal(Checkpoints(folder / records.CHECKPOINTS), job.config.checkpoint_seconds, folder.run_id)
    if journal.note:
        reporter.note(journal.note)
    stop = Stop(job.config.max_minutes, clock.started, folder.path)
    with followed(folder, job, reporter) as trackers:
        trainer = Trainer(job, reporter, journal, stop, trackers, _strangers(folder, job, reporter))
        stop.reserve_s = 0.0 if job.config.max_minutes is None else seconds_after(trainer)
        records.write_views(folder, trainer)
        return trainer, _trained(folder, job, trainer, clock, reporter)


def _trained(folder: RunFolder, job: Job, trainer: Trainer, clock: Clock, reporter: Reporter) -> Outcome:
    """Take the steps of the strategy: the head alone, then stages below it; the best is kept and saved."""
    lr = learning_rate(folder, job, trainer, reporter)
    folder.record(lr=lr)
    steps = plan(job.config, job.groups, lr, job.strategy, job.dataset.task)
    if folder.job != "pretrain":  # which has no report
        look_before_training(folder, job, trainer, steps[0], clock, reporter)
    if job.config.callback and not any(isinstance(step, Phase) for step in steps):
        reporter.note(f"--callback is not used: {', '.join(step.name for step in steps)} has no epochs.")
    save = partial(records.write_training, folder, job, trainer)
    transfer = partial(climb, seed=job.config.seed) if job.strategy == "auto" else follow
    outcome = transfer(steps, trainer, clock, save)
    if trainer.stop.asked == "time":
        outcome.reasons += (
            f"Training was ended for what comes after training (--max-minutes {job.config.max_minutes:g}).",
        )
        reporter.note(outcome.reasons[-1])
    if folder.job != "pretrain":  # it has no probe to beat
        reporter.note(verdict(outcome, trainer.objective))
    save()
    return outcome


def learning_rate(folder: RunFolder, job: Job, trainer: Trainer, reporter: Reporter) -> float:
    """Return the rate that was asked for, or with ``lr="find"`` the one that is, or once was, measured for it.

    What was measured is written down.
    """
    journal = trainer.journal
    if job.config.lr != "find":
        journal.lr = job.config.lr
    elif journal.lr is None:
        curve = trainer.find_rate(phase_to_measure(job.config, job.groups, job.strategy))
        folder.write_json(run_folder.RATE_CURVE, curve)
        journal.lr = curve.suggestion
        reporter.note(f"The learning rate that was found: {journal.lr:.2g}")
    return journal.lr


def _strangers(folder: RunFolder, job: Job, reporter: Reporter) -> Callable[[str], Strangers]:
    """Return what builds the callbacks of plugins that were asked for, for a phase."""
    named = [job.intent.plugins.find_callback(name) for name in job.config.callback]
    return partial(strangers, builders(named), folder.path, reporter.note)


@contextmanager
def followed(folder: RunFolder, job: Job, reporter: Reporter) -> Iterator[Sequence[Tracking]]:
    """Follow the training of a run in the trackers that were asked for."""
    facts = {name: value for name, value in vars(job.config).items() if isinstance(value, str | int | float)}
    following = trackers(job.config.track, folder.path, folder.run_id, facts, reporter.note)
    succeeded = False
    try:
        yield following
        succeeded = True
    finally:
        for tracker in following:
            tracker.finish(succeeded=succeeded)
