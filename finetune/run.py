"""The main job: photos go in at the top, a verified, self-describing ONNX file comes out at the bottom."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Unpack

from finetune import records, resuming
from finetune.clock import Clock
from finetune.config import RunOptions
from finetune.errors import ConfigError, ResourceError
from finetune.evaluating import evaluate
from finetune.exporting import export_and_verify, score_test_part
from finetune.intent import Intent, discover
from finetune.preparation import Job, PicturesRead, prepare
from finetune.report import make_report
from finetune.reporting import SILENT
from finetune.run_folder import RunFolder
from finetune.stopping import Stop, resumable
from finetune.training.checkpoints import Checkpoints
from finetune.training.journal import Journal, Outcome
from finetune.training.learner.strangers import Strangers, builders, strangers
from finetune.training.learner.trackers import Tracking, trackers
from finetune.training.strategies import Phase, phase_to_measure, plan, ready
from finetune.training.trainer import Trainer
from finetune.training.transfer import climb, follow, verdict
from finetune.types import Reporter, RunResult

EXPORT_S = 20.0
"""What writing one artifact takes at most on a slow laptop, before it is asked about any picture; in seconds."""


def run(
    *,
    config_file: Path | None = None,
    resume: Path | None = None,
    reporter: Reporter = SILENT,
    **options: Unpack[RunOptions],
) -> RunResult:
    """Fine-tune a network on labelled pictures, export it, prove that the file answers alike; return the result.

    The options are those of ``finetune run``; a ``config_file`` (TOML) lies below them. ``resume`` is the folder of a
    run that was stopped: it goes on, and ends with the weights that it would have ended with. Raises a
    ``FinetuneError`` that says what to do; the run folder, where it came that far, says what happened.
    """
    clock = Clock()
    if resume is not None:
        folder = RunFolder.reopen(Path(resume))
        with finished(folder), resumable(folder.path, reporter.note):
            return go_on(folder, clock, reporter, options)
    with clock("prepare"):
        job = _prepared(options, config_file, reporter)
    folder = RunFolder.create(job.config.out, job.name)
    with finished(folder), resumable(folder.path, reporter.note):
        return carry_out(folder, job, clock, reporter)


@contextmanager
def finished(folder: RunFolder) -> Iterator[None]:
    """Record a run while it lasts, and let go of its checkpoints once it is written down that it is done."""
    with folder.recorded():
        yield
    with suppress(ResourceError):  # the run is done, and what is left of them does no harm
        Checkpoints(folder / records.CHECKPOINTS).remove()


def _prepared(options: RunOptions, config_file: Path | None, reporter: Reporter) -> Job:
    intent = discover(options, config_file)  # plugins, data set, backbone, targets; flags over file over recipe
    _refuse_all_folds(intent)
    return ready(intent, reporter)  # pictures audited and split, network built, weights loaded, steps possible


def _refuse_all_folds(intent: Intent) -> None:
    if intent.config.folds is not None and intent.config.fold is None:
        raise ConfigError("One run trains one of the --folds; name it with --fold, or call finetune.cross_validate.")


def go_on(
    folder: RunFolder, clock: Clock, reporter: Reporter, options: RunOptions, read: PicturesRead | None = None
) -> RunResult:
    """Carry out what is left of a run that was reopened; its pictures are read again, unless they were ``read``."""
    with clock("prepare"):
        intent = resuming.intent_of(folder, options)
        _refuse_all_folds(intent)
        job = prepare(intent, reporter, read)
        for note in resuming.check_same(folder, job):
            reporter.note(note)
    return carry_out(folder, job, clock, reporter)


def carry_out(folder: RunFolder, job: Job, clock: Clock, reporter: Reporter) -> RunResult:
    """Train, evaluate, export and verify, from the newest checkpoint where there is one; return what it came to."""
    records.write_inputs(folder, job)
    journal = Journal(Checkpoints(folder / records.CHECKPOINTS), job.config.checkpoint_seconds, folder.run_id)
    if journal.note:
        reporter.note(journal.note)
    stop = Stop(job.config.max_minutes, clock.started, folder.path)
    with followed(folder, job, reporter) as trackers:
        trainer = Trainer(job, reporter, journal, stop, trackers, _strangers(folder, job, reporter))
        stop.reserve_s = _seconds_after_training(job, trainer)
        records.write_views(folder, trainer)
        outcome = _trained(folder, job, trainer, clock, reporter)
    with clock("evaluate"):  # calibrated on the validation pictures
        evaluation = evaluate(trainer, job.config, outcome.temperature)
        for note in evaluation.notes:
            reporter.note(note)
        records.write_answers(folder, evaluation)
        contract = records.contract(folder, job, trainer.objective, evaluation)
    with clock("export"):  # and verify: the file's answers against the network's, from picture file to label
        exports = export_and_verify(folder, job, contract, evaluation.answers, reporter)
    with clock("test"):  # once, by the file that is deployed
        tested = score_test_part(exports["onnx"], job, trainer.objective, contract, reporter)
    result = records.result(folder, job, trainer.objective, outcome, evaluation, exports, tested, clock)
    make_report(folder.path, job.intent.plugins, reporter.note)  # of what is written down by now
    return result


def _trained(folder: RunFolder, job: Job, trainer: Trainer, clock: Clock, reporter: Reporter) -> Outcome:
    """Take the steps of the strategy: the head alone, then stages below it; the best is kept and saved."""
    lr = learning_rate(job, trainer, reporter)
    folder.record(lr=lr)
    steps = plan(job.config, job.groups, lr, job.strategy, job.dataset.task)
    if job.config.callback and not any(isinstance(step, Phase) for step in steps):
        reporter.note(f"--callback is not used: {', '.join(step.name for step in steps)} has no epochs.")
    save = partial(records.write_training, folder, job, trainer)
    transfer = partial(climb, seed=job.config.seed) if job.strategy == "auto" else follow
    outcome = transfer(steps, trainer, clock, save)
    if trainer.stop.asked == "time":
        outcome.reasons += (
            f"Training was ended for the time that export and proof take (--max-minutes {job.config.max_minutes:g}).",
        )
        reporter.note(outcome.reasons[-1])
    reporter.note(verdict(outcome, trainer.objective))
    save()
    return outcome


def _seconds_after_training(job: Job, trainer: Trainer) -> float:
    """Return what is to be kept of --max-minutes for the export and its proof, from the pictures that take part."""
    if job.config.max_minutes is None:
        return 0.0
    asked = len(job.split.valid) * (2 + len(job.config.target)) + len(job.split.test)
    return EXPORT_S * (1 + len(job.config.target)) + asked * trainer.seconds_per_picture()


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


def learning_rate(job: Job, trainer: Trainer, reporter: Reporter) -> float:
    """Return the rate that was asked for, or with ``lr="find"`` the one that is, or once was, measured for it."""
    journal = trainer.journal
    if job.config.lr != "find":
        journal.lr = job.config.lr
    elif journal.lr is None:
        journal.lr = trainer.find_rate(phase_to_measure(job.config, job.groups, job.strategy)).suggestion
        reporter.note(f"The learning rate that was found: {journal.lr:.2g}")
    return journal.lr


class _CallableModule(ModuleType):
    """Makes ``finetune.run(...)`` the job, also for who imported this module of the same name before."""

    def __call__(self, **options: Any) -> RunResult:
        return run(**options)


sys.modules[__name__].__class__ = _CallableModule
