"""The main job: photos go in at the top, a verified, self-describing ONNX file comes out at the bottom."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Unpack

from finetune import records, resuming
from finetune.clock import Clock
from finetune.config import RunOptions
from finetune.errors import ConfigError
from finetune.evaluating import evaluate
from finetune.exporting import export_and_verify, score_test_part
from finetune.insights.looking import look
from finetune.intent import Intent, discover
from finetune.preparation import Job, PicturesRead, prepare
from finetune.report import make_report
from finetune.reporting import SILENT
from finetune.run_folder import RunFolder
from finetune.stopping import resumable
from finetune.training.strategies import ready
from finetune.training.trainer import Trainer
from finetune.training_job import finished, train
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
    """Train, evaluate, export, verify and look, from the newest checkpoint where there is one; return the result."""
    records.write_inputs(folder, job)
    trainer, outcome = train(folder, job, clock, reporter, partial(_seconds_after_training, job))
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
    with clock("look"):  # at what the model goes by, for people; it is safe by now, and no failure here costs it
        look(folder, job, trainer, evaluation, reporter)
    result = records.result(folder, job, trainer.objective, outcome, evaluation, exports, tested, clock)
    make_report(folder.path, job.intent.plugins, reporter.note)  # of what is written down by now
    return result


def _seconds_after_training(job: Job, trainer: Trainer) -> float:
    """Return what is to be kept of --max-minutes for the export and its proof, from the pictures that take part."""
    asked = len(job.split.valid) * (2 + len(job.config.target)) + len(job.split.test)
    return EXPORT_S * (1 + len(job.config.target)) + asked * trainer.seconds_per_picture()


class _CallableModule(ModuleType):
    """Makes ``finetune.run(...)`` the job, also for who imported this module of the same name before."""

    def __call__(self, **options: Any) -> RunResult:
        return run(**options)


sys.modules[__name__].__class__ = _CallableModule
