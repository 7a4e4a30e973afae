"""Which backbone and which strategy suit the pictures at hand: measured on frozen features, before training."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Unpack, get_args

import numpy as np

from finetune.clock import Clock
from finetune.config import Head, RunConfig, RunOptions, flag
from finetune.errors import ConfigError
from finetune.evaluation.transferability import h_score
from finetune.intent import Intent, discover
from finetune.networks.network import head_for
from finetune.networks.weights import is_at_hand
from finetune.preparation import Job, prepare, with_backbone
from finetune.reporting import SILENT
from finetune.training.scenario import Advice, advise
from finetune.training.strategies import Fit, Step, plan
from finetune.training.trainer import Trainer
from finetune.training.transfer import sampled_features
from finetune.types import Reporter

LINEAR: Head = "linear"
PROBE_RATE = 0.003
CLASSIC = ("svm", "logreg")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A backbone's frozen features on the training pictures: how transferable they are, and what suits them.

    ``log_me`` and ``h_score`` rise with better features; ``accuracy`` (0..1) is the probe's, cross-validated, None
    where a class has too few pictures. ``seconds`` are wall-clock, forward passes included.
    """

    backbone: str
    weights: str
    log_me: float
    h_score: float
    accuracy: float | None
    standard_error: float | None
    seconds: float
    advice: Advice


@dataclass(frozen=True, kw_only=True)
class HeadScore:
    """What a head on the frozen features reached in validation accuracy (0..1), and how long it took."""

    head: str
    accuracy: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Candidates and the heads that were tried on the first, each best first; ``command`` does what is recommended."""

    dataset: str
    candidates: tuple[Candidate, ...]
    heads: tuple[HeadScore, ...]
    command: str

    def rows(self) -> list[tuple[str, ...]]:
        """Return the candidates as the rows of a table."""
        header = ("backbone", "weights", "LogME", "H-score", "probe, cross-validated", "seconds", "suits")
        return [header, *(_row(candidate) for candidate in self.candidates)]

    def head_rows(self) -> list[tuple[str, ...]]:
        """Return the heads as the rows of a table."""
        header = ("head on " + self.candidates[0].backbone, "validation", "seconds")
        return [header, *((score.head, f"{score.accuracy:.1%}", f"{score.seconds:.1f}") for score in self.heads)]

    def advice_rows(self) -> list[tuple[str, str]]:
        """Return what is recommended, with its reasons, as the rows of a two-column table."""
        best = self.candidates[0]
        reasons = [("because", reason) for reason in best.advice.reasons]
        return [("scenario", best.advice.scenario), *reasons, ("next", self.command)]


def recommend(
    *,
    candidates: Sequence[str] = (),
    config_file: Path | None = None,
    reporter: Reporter = SILENT,
    **options: Unpack[RunOptions],
) -> Recommendation:
    """Measure the candidates' frozen features on the training pictures, and recommend a backbone and a strategy.

    A candidate is a backbone's name, or NAME=FILE with its weights. Without candidates: the options' own, and all whose
    pretrained weights are on this machine. Nothing is downloaded but what is named. Raises as ``finetune.run`` does.
    """
    intent = discover(options, config_file)
    intents = [_candidate(intent, text) for text in candidates] or [intent, *_at_hand(intent)]
    job = prepare(intents[0], reporter)
    measured = []
    for other in intents:
        current = job if other is intents[0] else _announced(with_backbone(job, other), reporter)
        measured.append((_measured(current, Trainer(current, reporter)), current))
    measured.sort(key=lambda pair: _merit(pair[0]), reverse=True)
    best, best_job = measured[0]
    return Recommendation(
        dataset=job.dataset.name,
        candidates=tuple(candidate for candidate, _ in measured),
        heads=tuple(sorted(_heads(best_job, reporter), key=lambda score: -score.accuracy)),
        command=_command(best_job, best.advice, {**options, **({"config": config_file} if config_file else {})}),
    )


def _candidate(intent: Intent, text: str) -> Intent:
    name, given, file = text.partition("=")
    if given and not file:
        raise ConfigError(f"--candidate {text} names no file; give NAME, or NAME=FILE with its weights.")
    backbone = intent.plugins.find_backbone(name)
    config = replace(intent.config, backbone=name, weights=file or "pretrained")
    return replace(intent, backbone=backbone, config=config)


def _at_hand(intent: Intent) -> list[Intent]:
    others = (backbone for backbone in intent.plugins.backbones.values() if backbone != intent.backbone)
    return [_candidate(intent, backbone.name) for backbone in others if is_at_hand(backbone)]


def _announced(job: Job, reporter: Reporter) -> Job:
    reporter.note(job.weights.note)
    return job


def _measured(job: Job, trainer: Trainer) -> Candidate:
    clock = Clock()
    with clock("measure"):
        stages, targets = sampled_features(trainer, job.config.seed)
        advice = advise(stages, targets, np.bincount(trainer.train_targets).tolist(), job.config.seed)
        transferable = h_score(list(stages.values())[-1], targets)
    last = advice.scores[-1]
    return Candidate(
        backbone=job.intent.backbone.name,
        weights=job.weights.name,
        log_me=last.log_me,
        h_score=transferable,
        accuracy=last.accuracy.accuracy if last.accuracy else None,
        standard_error=last.accuracy.standard_error if last.accuracy else None,
        seconds=clock.seconds["measure"],
        advice=advice,
    )


def _merit(candidate: Candidate) -> tuple[float, float]:
    return (candidate.accuracy or 0.0, candidate.log_me)


def _heads(job: Job, reporter: Reporter) -> Iterator[HeadScore]:
    """Train every head on the same frozen features, and yield what each reached."""
    trainer, network, size = Trainer(job, reporter), job.network, job.preprocessing.image_size_px
    probe = plan(job.config, job.groups, PROBE_RATE if job.config.lr == "find" else job.config.lr, "probe")
    steps: list[tuple[Head, Step]] = [*product(get_args(Head), probe), *((LINEAR, Fit(name=n)) for n in CLASSIC)]
    for kind, step in steps:
        network.head = head_for(network.body, len(job.dataset.labels), size, kind)
        clock = Clock()
        with clock("head"):
            reached = trainer.fit(step)[0] if isinstance(step, Fit) else trainer.train(step)
        yield HeadScore(
            head=step.name if isinstance(step, Fit) else kind, accuracy=reached, seconds=clock.seconds["head"]
        )


def _command(job: Job, advice: Advice, said: Mapping[str, object]) -> str:
    """Return the command line that follows the advice, with everything else as it was said."""
    decided = {
        "backbone": job.intent.backbone.name,
        "weights": job.config.weights,
        "strategy": advice.strategy,
        "layer": advice.layer,
    }
    words = ["finetune", "run"]
    for name, value in {**said, **decided}.items():
        if value is not None and (name != "weights" or value != RunConfig.weights):
            for item in value if isinstance(value, tuple) else (value,):
                words += [flag(name), str(item)]
    return shlex.join(words)


def _row(candidate: Candidate) -> tuple[str, ...]:
    held_out = "too few pictures"
    if candidate.accuracy is not None:
        held_out = f"{candidate.accuracy:.1%} ± {candidate.standard_error or 0:.1%}"
    layer = f" at {candidate.advice.layer}" if candidate.advice.layer else ""
    return (
        candidate.backbone,
        candidate.weights,
        f"{candidate.log_me:.3f}",
        f"{candidate.h_score:.2f}",
        held_out,
        f"{candidate.seconds:.1f}",
        candidate.advice.strategy + layer,
    )
