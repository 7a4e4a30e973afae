"""The main job: photos go in at the top, a verified, self-describing ONNX file comes out at the bottom."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Unpack

from finetune import records
from finetune.clock import Clock
from finetune.config import RunOptions
from finetune.evaluation.metrics import accuracy
from finetune.exporting import export_and_verify
from finetune.intent import discover
from finetune.preparation import Job, prepare
from finetune.reporting import SILENT
from finetune.run_folder import RunFolder
from finetune.training.strategies import phase_to_measure, plan
from finetune.training.trainer import Trainer
from finetune.training.transfer import climb, follow
from finetune.types import Reporter, RunResult


def run(*, config_file: Path | None = None, reporter: Reporter = SILENT, **options: Unpack[RunOptions]) -> RunResult:
    """Fine-tune a network on labelled pictures, export it, prove that the file answers alike; return the result.

    The options are those of ``finetune run``; a ``config_file`` (TOML) lies below them. Raises a ``FinetuneError``
    that says what to do; the run folder, where it came that far, says what happened.
    """
    clock = Clock()
    with clock("prepare"):
        intent = discover(options, config_file)  # plugins, data set, backbone, targets; flags over file over recipe
        job = prepare(intent, reporter)  # pictures audited and split, network built, weights loaded
        trainer = Trainer(job, reporter)
        lr = learning_rate(job, trainer, reporter)
        steps = plan(job.config, job.groups, lr, job.strategy)
    with RunFolder.create(job.config.out, job.name).recorded() as folder:
        records.write_inputs(folder, job)
        folder.record(lr=lr)
        save = partial(records.write_training, folder, job, trainer.history)
        transfer = partial(climb, seed=job.config.seed) if job.strategy == "auto" else follow
        outcome = transfer(steps, trainer, clock, save)  # the head alone, then stages below it; the best is kept
        reporter.note(outcome.verdict)
        save()
        with clock("evaluate"):
            reference = trainer.probabilities(outcome.temperature)
            contract = records.contract(folder, job, accuracy(reference, job.valid_targets), outcome.temperature)
        with clock("export"):  # and verify: the file's answers against the network's, from picture file to label
            exports = export_and_verify(folder, job, contract, reference, reporter)
        return records.result(folder, job, outcome, exports, clock)


def learning_rate(job: Job, trainer: Trainer, reporter: Reporter) -> float:
    """Return the rate that was asked for, or with ``lr="find"`` the one that is measured for it."""
    if job.config.lr != "find":
        return job.config.lr
    found = trainer.find_rate(phase_to_measure(job.config, job.groups, job.strategy)).suggestion
    reporter.note(f"The learning rate that was found: {found:.2g}")
    return found


class _CallableModule(ModuleType):
    """Makes ``finetune.run(...)`` the job, also for who imported this module of the same name before."""

    def __call__(self, **options: Any) -> RunResult:
        return run(**options)


sys.modules[__name__].__class__ = _CallableModule
