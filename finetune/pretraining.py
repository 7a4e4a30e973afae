"""The job that makes weights: a network trained from scratch, and its weight record for others to start from."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from finetune import records, resuming, run_folder
from finetune.clock import Clock
from finetune.config import FROM_SCRATCH, PretrainOptions, RunConfig, read_file
from finetune.evaluating import Evaluation, Scores
from finetune.intent import Intent, discover_pretraining
from finetune.preparation import Job, prepare
from finetune.record_writing import command_of, record_of, rounded, score_test_part, write_record
from finetune.reporting import SILENT
from finetune.run_folder import RunFolder
from finetune.scaffold.licences import refuse_unstated
from finetune.scaffold.recorded import check_package, write_package
from finetune.stopping import resumable
from finetune.training.history import Epoch
from finetune.training.journal import Outcome
from finetune.training.strategies import ready
from finetune.training.trainer import Trainer
from finetune.training_job import finished, train
from finetune.types import Pretrained, Reporter
from finetune.weight_record import read_record

RECORD_S = 5.0
"""What writing a record takes at most on a slow laptop, before it is asked about any picture; in seconds."""
FEW_PICTURES = 5_000
FEW_PER_CLASS = 50
"""Fewer training pictures than these, on an average of the classes, are few to learn from scratch from."""


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """What becomes of a record: its licence, the command in it, and the package that is made of it, if any."""

    licence: str
    command: str
    package: Path | None


def pretrain(
    *,
    config_file: Path | None = None,
    resume: Path | None = None,
    package: Path | None = None,
    licence: str | None = None,
    reporter: Reporter = SILENT,
    **options: Unpack[PretrainOptions],
) -> Pretrained:
    """Train a network from scratch, and write it as a weight record that ``--weights`` and ``--backbone`` take.

    The options are those of ``finetune pretrain``; a ``config_file`` (TOML) lies below them. ``package`` is the folder
    of a plugin to be written that carries the record, ``licence`` that of the weights: the data set's, unless it is
    given. ``resume`` is the folder of a pretraining that was stopped: it goes on, and ends with the same bytes. Raises
    a ``FinetuneError`` that says what to do, before anything is trained where that can be known.
    """
    clock = Clock()
    package = Path(package).absolute() if package else None
    if resume is not None:
        folder = RunFolder.reopen(Path(resume), "pretrain")
        with finished(folder), resumable(folder.path, reporter.note):
            return _go_on(folder, clock, reporter, options, package, licence)
    if package:
        check_package(package)
    with clock("prepare"):
        job = _prepared(options, config_file, reporter)
        licence_said = {} if licence is None else {"licence": licence}
        command = command_of({**options, **licence_said}, config_file)
        sharing = _sharing(job, package, licence, command)
    folder = RunFolder.create(job.config.out, job.name, "pretrain")
    with finished(folder), resumable(folder.path, reporter.note):
        folder.record(sharing=sharing)
        return _carry_out(folder, job, sharing, clock, reporter)


def _prepared(options: PretrainOptions, config_file: Path | None, reporter: Reporter) -> Job:
    intent = discover_pretraining(options, config_file)
    job = ready(intent, reporter)
    return _with_notes(job, (*_overruled(config_file), *_of_another_strategy(intent), *_few(job)), reporter)


def _go_on(
    folder: RunFolder,
    clock: Clock,
    reporter: Reporter,
    options: PretrainOptions,
    package: Path | None,
    licence: str | None,
) -> Pretrained:
    """Carry out what is left of a pretraining that was reopened; package and licence may be said anew."""
    with clock("prepare"):
        job = prepare(resuming.intent_of(folder, options), reporter)
        job = _with_notes(job, _few(job), reporter)
        for note in resuming.check_same(folder, job):
            reporter.note(note)
        begun: dict[str, Any] = folder.facts["sharing"]
        package = package or (Path(begun["package"]) if begun["package"] else None)
        if package:
            check_package(package)
        sharing = _sharing(job, package, licence or begun["licence"], begun["command"])
    folder.record(sharing=sharing)
    return _carry_out(folder, job, sharing, clock, reporter)


def _sharing(job: Job, package: Path | None, licence: str | None, command: str) -> Sharing:
    licence = licence or job.dataset.licence
    if package:
        refuse_unstated(licence, "The pretraining")
    return Sharing(licence=licence, command=command, package=package)


def _carry_out(folder: RunFolder, job: Job, sharing: Sharing, clock: Clock, reporter: Reporter) -> Pretrained:
    """Train, round, measure, write and read back, from the newest checkpoint where there is one."""
    trainer, outcome = train(folder, job, clock, reporter, partial(_seconds_after_training, job))
    with clock("evaluate"):  # what is measured is what is in the file
        full_precision, evaluation = rounded(folder, job, trainer, outcome)
        for note in evaluation.notes:
            reporter.note(note)
        records.write_answers(folder, evaluation)
    with clock("record"):
        facts = record_of(job, evaluation, sharing.licence, sharing.command)
        record = write_record(folder, job, facts, trainer.objective, evaluation, reporter)
    with clock("test"):
        tested = score_test_part(job, trainer.objective, evaluation, reporter)
    if sharing.package:
        with clock("package"):
            write_package(sharing.package, record)
    return _result(folder, job, trainer, outcome, evaluation, tested, full_precision, sharing, clock)


def _seconds_after_training(job: Job, trainer: Trainer) -> float:
    """Return what is to be kept of --max-minutes: the validation pictures are asked three times, in the end once."""
    asked = 3 * len(job.split.valid) + len(job.split.test)
    return RECORD_S + asked * trainer.seconds_per_picture()


def _result(
    folder: RunFolder,
    job: Job,
    trainer: Trainer,
    outcome: Outcome,
    evaluation: Evaluation,
    tested: Scores | None,
    full_precision: float,
    sharing: Sharing,
    clock: Clock,
) -> Pretrained:
    """Return what the pretraining came to, and record it."""
    scores, record = evaluation.scores, folder / run_folder.RECORD
    written = read_record(record)
    assert written is not None
    found = Pretrained(
        run=folder.path,
        record=record,
        record_bytes=record.stat().st_size,
        sha256=written.sha256,
        licence=written.licence,
        package=sharing.package,
        task=trainer.objective.task,
        metric=scores.headline,
        value=scores.values[scores.headline],
        full_precision_value=full_precision,
        interval=records.bounds(scores),
        scores=scores.values,
        test_scores=tested.values if tested else {},
        test_interval=records.bounds(tested),
        monitor=trainer.objective.monitor,
        best_epoch=_best(trainer).epoch,
        epochs=len(trainer.history),
        dataset=job.dataset.name,
        backbone=written.architecture,
        parameters=written.parameters,
        labels=len(written.labels),
        train_images=len(job.split.train),
        valid_images=len(job.split.valid),
        test_images=len(job.split.test),
        seconds=clock.total(),
        notes=(*job.notes, *outcome.reasons, *evaluation.notes),
    )
    folder.write_json(records.METRICS, {"valid": scores, "test": tested})
    folder.record(result=found)
    return found


def _best(trainer: Trainer) -> Epoch:
    """Return the epoch that was kept: the best, of equals the one with the lower loss."""
    return max(trainer.history, key=lambda epoch: (trainer.objective.merit(epoch.score), -epoch.valid_loss))


# ── notes ───────────────────────────────────────────────────────────────────────────────────────────


def _with_notes(job: Job, notes: Iterable[str], reporter: Reporter) -> Job:
    more = tuple(notes)
    for note in more:
        reporter.note(note)
    return replace(job, notes=(*job.notes, *more))


def _overruled(config_file: Path | None) -> Iterator[str]:
    """Yield a sentence on what a file says in vain: a file may be a run's, too."""
    said = read_file(Path(config_file)) if config_file else {}
    names = [name for name, fixed in FROM_SCRATCH.items() if name in said and said[name] != fixed]  # type: ignore[literal-required]
    if names:
        yield (
            f"A pretraining trains one whole network from random weights, and exports nothing: {', '.join(names)} of "
            f"{config_file} {'have' if len(names) > 1 else 'has'} no effect."
        )


def _of_another_strategy(intent: Intent) -> Iterator[str]:
    """Yield a sentence on a recipe that was asked for and is no recipe for this."""
    asked = [recipe for recipe in intent.spec.recipes if recipe.name == intent.config.recipe]
    if asked and asked[0].options.get("strategy") != FROM_SCRATCH["strategy"]:
        yield (
            f"The recipe '{asked[0].name}' is for networks that have learned before: a pretraining takes from it which "
            "pictures there are, and how large they are seen."
        )


def _few(job: Job) -> Iterator[str]:
    """Yield a sentence where there are few pictures to learn from scratch from, with numbers to compare with."""
    pictures, classes, is_values = len(job.split.train), len(job.dataset.labels), job.dataset.task == "regression"
    if pictures >= FEW_PICTURES and (is_values or pictures >= FEW_PER_CLASS * classes):
        return
    of_classes = "" if is_values else f" of {classes} classes"
    yield (
        f"{pictures} training pictures{of_classes} are few to pretrain on: ImageNet-1k has 1.28 million of 1000 "
        "classes, and CIFAR-10, a small set for this, 50 000 of 10. With so few, a network that starts from published "
        f"weights is usually better: {_instead(job.config)}"
    )


def _instead(config: RunConfig) -> str:
    said = ("--plugin", config.plugin) if config.plugin else ("--data", str(config.data))
    return shlex.join(("finetune", "run", *said))
