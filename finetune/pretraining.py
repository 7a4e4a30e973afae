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
from finetune.config import FROM_SCRATCH, OF_PICTURES, PretrainOptions, RunConfig, read_file
from finetune.errors import ConfigError, FinetuneError
from finetune.evaluating import Evaluation, Scores
from finetune.intent import Intent, discover_pretraining, refuse_options_of_a_run
from finetune.planning import RunPlan, planned
from finetune.preparation import Job, prepare
from finetune.record_writing import (
    command_of,
    licence_in,
    record_of,
    rounded,
    score_test_part,
    with_licence,
    words_of,
    write_record,
)
from finetune.reporting import SILENT
from finetune.run_folder import RunFolder, sha256_of
from finetune.scaffold.licences import refuse_unstated
from finetune.scaffold.recorded import check_package, write_package
from finetune.stopping import resumable
from finetune.training.journal import Outcome
from finetune.training.strategies import ready
from finetune.training.trainer import Trainer
from finetune.training_job import finished, train
from finetune.types import Pretrained, Reporter, WeightRecord

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


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a pretraining made: a trained network, its record, and how good it is, before rounding and in the record.

    ``full_precision_value`` is the headline metric before rounding, ``tested`` are the scores of the test part.
    """

    trainer: Trainer
    outcome: Outcome
    record: WeightRecord
    full_precision_value: float
    evaluation: Evaluation
    tested: Scores | None


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
    if resume is not None:
        refuse_options_of_a_run(options)
        folder = RunFolder.reopen(Path(resume), "pretrain")
        with finished(folder), resumable(folder.path, reporter.note):
            with clock("prepare"):
                job, sharing = _reopened(folder, options, package, licence, reporter)
            return _carry_out(folder, job, sharing, clock, reporter)
    with clock("prepare"):
        job, sharing = _prepared(options, config_file, package, licence, reporter)
    folder = RunFolder.create(job.config.out, job.name, "pretrain")
    with finished(folder), resumable(folder.path, reporter.note):
        return _carry_out(folder, job, sharing, clock, reporter)


def dry_run(
    *,
    config_file: Path | None = None,
    package: Path | None = None,
    licence: str | None = None,
    reporter: Reporter = SILENT,
    **options: Unpack[PretrainOptions],
) -> RunPlan:
    """Resolve everything that ``pretrain`` would, and train nothing; raises what that does before training."""
    job, _ = _prepared(options, config_file, package, licence, reporter)
    return planned(job, (run_folder.RECORD,))


def _prepared(
    options: PretrainOptions, config_file: Path | None, package: Path | None, licence: str | None, reporter: Reporter
) -> tuple[Job, Sharing]:
    """Return what is to be trained, and what becomes of it; all that can be known to be wrong is refused here."""
    _refuse_licence(licence)
    if package:
        check_package(package := Path(package).absolute())
    intent = discover_pretraining(options, config_file)
    job = ready(intent, reporter)
    job = _with_notes(job, (*_overruled(config_file), *_of_another_strategy(intent), *_few(job)), reporter)
    command = command_of(_said(options, config_file, intent.config))
    command = with_licence(command, licence) if licence else command
    return job, _sharing(package, licence or job.dataset.licence, command)


def _said(options: PretrainOptions, config_file: Path | None, config: RunConfig) -> dict[str, Any]:
    """Return what was said, in the file or beside it: a command with all of it needs neither that nor a record."""
    in_file = read_file(Path(config_file)) if config_file else {}
    said = {name: value for name, value in in_file.items() if name in PretrainOptions.__annotations__} | options
    if said.get("backbone", config.backbone) != config.backbone:  # a record, of which only the architecture is used
        said |= {name: getattr(config, name) for name in ("backbone", "image_size", "crop_fraction")}
    return said


def _reopened(
    folder: RunFolder, options: PretrainOptions, package: Path | None, licence: str | None, reporter: Reporter
) -> tuple[Job, Sharing]:
    """Return what is left of a pretraining that was stopped; package and licence may be said anew."""
    _refuse_licence(licence)
    intent = resuming.intent_of(folder, options)
    begun: dict[str, Any] = folder.facts["sharing"]
    package = package or begun["package"]
    if package and not _carries(package := Path(package).absolute(), folder / run_folder.RECORD):
        check_package(package)
    unrepeated = resuming.Unrepeated(folder, reporter)
    job = prepare(intent, unrepeated)
    job = _with_notes(job, _few(job), unrepeated)
    for note in resuming.check_same(folder, job):
        reporter.note(note)
    command = with_licence(begun["command"], licence) if licence else begun["command"]
    return job, _sharing(package, licence or begun["licence"], command)


def _refuse_licence(licence: str | None) -> None:
    if licence is not None and not (licence.strip() and licence.isprintable()):
        raise ConfigError(
            f"--licence {licence!r} is not allowed; give its name in one line, such as CC-BY-4.0, or leave it out for "
            "the data set's."
        )


def _sharing(package: Path | None, licence: str, command: str) -> Sharing:
    if package:
        refuse_unstated(licence, "The pretraining")
    return Sharing(licence=licence, command=command, package=package)


def _carries(package: Path, record: Path) -> bool:
    """Whether a package is the one of this record: whoever was stopped after writing it has it already."""
    return record.exists() and sha256_of(record) in map(sha256_of, package.glob(f"*/*{record.suffix}"))


def _carry_out(folder: RunFolder, job: Job, sharing: Sharing, clock: Clock, reporter: Reporter) -> Pretrained:
    """Train, from the newest checkpoint where there is one, and write the record, and the package where asked for."""
    folder.record(sharing=sharing)
    records.write_inputs(folder, job, licence_in(sharing.command))
    trainer, outcome = train(folder, job, clock, reporter, partial(_seconds_after_training, job))
    made = _made(folder, job, trainer, outcome, sharing, clock, reporter)
    if sharing.package:
        with clock("package"):
            _write_package(sharing.package, folder)
    return _result(folder, job, made, sharing.package, clock)


def _made(
    folder: RunFolder, job: Job, trainer: Trainer, outcome: Outcome, sharing: Sharing, clock: Clock, reporter: Reporter
) -> Made:
    """Round, measure, write and read back what was trained."""
    with clock("evaluate"):  # what is measured is what is in the file
        full_precision_value, evaluation = rounded(folder, job, trainer, outcome)
        for note in evaluation.notes:
            reporter.note(note)
        records.write_answers(folder, evaluation)
    with clock("record"):
        facts = record_of(job, evaluation, sharing.licence, sharing.command)
        record = write_record(folder, job, facts, trainer.objective, evaluation, reporter)
    with clock("test"):
        tested = score_test_part(job, trainer.objective, evaluation, reporter)
    return Made(
        trainer=trainer,
        outcome=outcome,
        record=record,
        full_precision_value=full_precision_value,
        evaluation=evaluation,
        tested=tested,
    )


def _write_package(package: Path, folder: RunFolder) -> None:
    record = folder / run_folder.RECORD
    if _carries(package, record):
        return
    try:
        write_package(package, record)
    except FinetuneError as error:
        run, file = shlex.quote(str(folder.path)), shlex.quote(str(record))
        raise type(error)(
            f"{error} The weights are done: {record}. For a package of them: finetune pretrain --resume {run} "
            f"--package OTHER, or finetune plugins new NAME --kind backbone --from {file}"
        ) from error


def _seconds_after_training(job: Job, trainer: Trainer) -> float:
    """Return what is to be kept of --max-minutes, from the pictures that are asked about once training has ended.

    Those of the validation part are asked about in full precision, rounded, and as the file is read back; those of the
    test part once.
    """
    asked = 3 * len(job.split.valid) + len(job.split.test)
    return RECORD_S + asked * trainer.seconds_per_picture()


def _result(folder: RunFolder, job: Job, made: Made, package: Path | None, clock: Clock) -> Pretrained:
    """Return what the pretraining came to, and record it."""
    found = Pretrained(
        run=folder.path,
        package=package,
        **_of_the_record(folder / run_folder.RECORD, made.record),
        **_of_training(made.trainer, made.outcome),
        **_of_quality(made),
        test_images=len(job.split.test),
        seconds=clock.total(),
        notes=(*job.notes, *made.outcome.reasons, *made.evaluation.notes),
    )
    folder.write_json(records.METRICS, {"valid": made.evaluation.scores, "test": made.tested})
    folder.record(result=found)
    return found


def _of_the_record(path: Path, record: WeightRecord) -> dict[str, Any]:
    return {
        "record": path,
        "record_bytes": path.stat().st_size,
        "backbone": record.architecture,
        "labels": len(record.labels),
        **{name: getattr(record, name) for name in ("sha256", "licence", "task", "dataset", "parameters")},
        **{name: getattr(record, name) for name in ("train_images", "valid_images")},
    }


def _of_training(trainer: Trainer, outcome: Outcome) -> dict[str, Any]:
    """Return which epoch was best, of equals the one with the lower loss, and whether it or an average was kept."""
    merit = trainer.objective.merit
    best = max(trainer.history, key=lambda epoch: (merit(epoch.score), -epoch.valid_loss))
    is_average = merit(outcome.scores[outcome.kept]) > merit(best.score)  # strictly better, or it is not taken
    return {
        "monitor": trainer.objective.monitor,
        "best_epoch": best.epoch,
        "epochs": len(trainer.history),
        "kept": "average" if is_average else "best epoch",
    }


def _of_quality(made: Made) -> dict[str, Any]:
    scores, tested = made.evaluation.scores, made.tested
    return {
        "metric": scores.headline,
        "value": scores.values[scores.headline],
        "full_precision_value": made.full_precision_value,
        "interval": records.bounds(scores),
        "scores": scores.values,
        "test_scores": tested.values if tested else {},
        "test_interval": records.bounds(tested),
    }


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
    """Return the command of a run on the same pictures, as large as published weights have them."""
    of_data = {name: getattr(config, name) for name in OF_PICTURES if name not in ("image_size", "crop_fraction")}
    said = {name: value for name, value in of_data.items() if value != getattr(RunConfig, name)}
    return shlex.join(("finetune", "run", *words_of(said)))
