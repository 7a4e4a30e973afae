"""Which backbone and which strategy suit the pictures at hand: measured on frozen features, before training."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Unpack, cast, get_args

import numpy as np

from finetune.clock import Clock
from finetune.config import FIELDS, Head, RunConfig, RunOptions, flag
from finetune.errors import ConfigError, DivergedError, FinetuneError
from finetune.evaluation.transferability import h_score
from finetune.given_weights import with_record
from finetune.intent import Intent, discover
from finetune.networks.network import head_for
from finetune.networks.published import is_at_hand
from finetune.preparation import Job, prepare, with_backbone
from finetune.reporting import SILENT
from finetune.training.scenario import Advice, advise
from finetune.training.strategies import Fit, Step, plan
from finetune.training.trainer import Trainer
from finetune.training.transfer import sampled_features
from finetune.types import Reporter
from finetune.weight_record import carried

LINEAR: Head = "linear"
CLASSIC = ("svm", "logreg")
SELECTING = ("plugin", "data", "source", "recipe", "target")
"""Options that name what is registered or where it lies: a command repeats them as they were said."""


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
    pretrained weights are on this machine; of the latter, one that fails is left out, and the reporter says why.
    Nothing is downloaded but what is named. ``layer`` is of the options' own backbone. Raises as ``finetune.run`` does.
    """
    intent = discover(options, config_file)
    named = [_candidate(intent, text) for text in candidates] or [intent]
    at_hand = [] if candidates else _at_hand(intent)
    job = prepare(named[0], reporter)
    if job.dataset.task != "single-label":
        raise ConfigError(
            f"Advice is about telling single labels apart, and the task is {job.dataset.task}; train with "
            "--strategy auto, which goes as far as it pays."
        )
    measured, best = _compared(job, named[1:], at_hand, reporter)
    return Recommendation(
        dataset=best.dataset.name,
        candidates=tuple(measured),
        heads=tuple(sorted(_heads(best, reporter), key=lambda score: -score.accuracy)),
        command=_command(best, measured[0].advice, options, config_file),
    )


# ── backbones ───────────────────────────────────────────────────────────────────────────────────────


def _candidate(intent: Intent, text: str) -> Intent:
    """Return the intent with a backbone that was named; options of the asked backbone alone do not go along."""
    name, given, file = text.partition("=")
    if given and not file:
        raise ConfigError(f"--candidate {text} names no file; give NAME, or NAME=FILE with its weights.")
    layer = intent.config.layer
    # 'scratch' would leave the weights out.
    config = replace(intent.config, backbone=name, weights=file or "pretrained", strategy="auto")
    config, backbone = with_record(config, vars(config), intent.plugins)
    config = replace(config, layer=layer if backbone.name == intent.backbone.name else None)
    return replace(intent, backbone=backbone, config=config)


def _at_hand(intent: Intent) -> list[Intent]:
    # Not those that a plugin carries: they are always at hand, and nobody chose them by fetching them.
    fetched = (each for each in intent.plugins.backbones.values() if not carried(each) and is_at_hand(each))
    return [_candidate(intent, backbone.name) for backbone in fetched if backbone != intent.backbone]


def _compared(
    best: Job, named: Sequence[Intent], at_hand: Sequence[Intent], reporter: Reporter
) -> tuple[list[Candidate], Job]:
    """Return all candidates, best first, and the job of the best; of those at hand, the ones that work.

    ``best`` is the job of the first; nobody else holds it, so that its network goes once there is a better one.
    """
    measured = [_measured(best, Trainer(best, reporter))]
    for intent in named:
        best = _challenged(best, intent, measured, reporter)
    for intent in at_hand:
        try:
            best = _challenged(best, intent, measured, reporter)
        except FinetuneError as error:
            reporter.note(f"Left out {intent.backbone.name}: {error}")
    return sorted(measured, key=_merit, reverse=True), best


def _challenged(best: Job, intent: Intent, measured: list[Candidate], reporter: Reporter) -> Job:
    """Measure one more candidate, and return the best job so far: no other network is kept."""
    job = with_backbone(best, intent, reporter)
    reporter.note(job.weights.note)
    measured.append(_measured(job, Trainer(job, reporter)))
    return job if max(measured, key=_merit) is measured[-1] else best


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


# ── heads ───────────────────────────────────────────────────────────────────────────────────────────


def _heads(job: Job, reporter: Reporter) -> Iterator[HeadScore]:
    """Train every head on the same frozen features, and yield what each reached; one that diverges is left out."""
    trainer = Trainer(job, reporter)
    steps = [*product(get_args(Head), [_probe(job)]), *((LINEAR, Fit(name=name)) for name in CLASSIC)]
    for kind, step in steps:
        name = step.name if isinstance(step, Fit) else kind
        try:
            score = _scored(job, trainer, name, kind, step)
        except DivergedError as error:
            reporter.note(f"Left out the head {name}: {error}")
        else:
            yield score


def _probe(job: Job) -> Step:
    """Return the phase in which a head learns alone, also where the run would have none."""
    freeze_epochs = job.config.freeze_epochs or RunConfig.freeze_epochs
    config = replace(job.config, freeze_epochs=freeze_epochs, unfreeze=None)
    (probe,) = plan(config, job.groups, _default_rate() if config.lr == "find" else config.lr, "probe")
    return probe


def _default_rate() -> float:
    return cast(float, RunConfig.lr)


def _scored(job: Job, trainer: Trainer, name: str, kind: Head, step: Step) -> HeadScore:
    network, clock = job.network, Clock()
    network.head = head_for(network.body, len(job.dataset.labels), job.preprocessing.image_size_px, kind)
    with clock("head"):
        reached = trainer.fit(step)[0] if isinstance(step, Fit) else trainer.train(step)
    return HeadScore(head=name, accuracy=reached, seconds=clock.seconds["head"])


# ── what to do next ─────────────────────────────────────────────────────────────────────────────────


def _command(job: Job, advice: Advice, said: RunOptions, config_file: Path | None) -> str:
    """Return the command line that follows the advice, with everything else as it was said.

    It says what was decided, and wherever the run differs from what file, recipe and defaults make of the rest.
    """
    is_scratch = advice.strategy == "scratch" or job.is_random
    weights = "none" if is_scratch else job.config.weights
    decided: dict[str, Any] = {"backbone": job.config.backbone, "weights": weights, "strategy": advice.strategy}
    repeated = {name: value for name, value in said.items() if name in SELECTING}
    standing = discover({**repeated, **decided}, config_file).config
    wanted = replace(job.config, **decided, **_fitting(job, advice, standing))
    told = [n for n in FIELDS if n in decided or n in repeated or getattr(wanted, n) != getattr(standing, n)]
    return shlex.join(["finetune", "run", *_words({"config": config_file, **{n: getattr(wanted, n) for n in told}})])


def _fitting(job: Job, advice: Advice, standing: RunConfig) -> dict[str, Any]:
    """Return the options that the advised strategy needs otherwise than they were said, or else refuses.

    ``standing`` is what file and recipe say: a command can contradict that, and not unsay it.
    """
    config, strategy, is_classic = job.config, advice.strategy, advice.strategy in CLASSIC
    found_rate = config.lr == "find" and not is_classic
    alone = strategy == "probe" or (found_rate and strategy != "scratch")
    whole = list(dict(job.network.body.named_children()))[-1] if standing.layer else None
    unfreeze = config.unfreeze and min(config.unfreeze, len(job.groups) - 1)
    return {
        "layer": advice.layer or config.layer or whole,
        "head": LINEAR if is_classic else config.head,
        "lr": _default_rate() if is_classic and config.lr == "find" else config.lr,
        "freeze_epochs": config.freeze_epochs or (RunConfig.freeze_epochs if alone else 0),
        "epochs": config.epochs if is_classic or strategy == "probe" else config.epochs or RunConfig.epochs,
        "unfreeze": (standing.unfreeze and 1) if is_classic else unfreeze,  # of the stages up to advice.layer
    }


def _words(options: Mapping[str, object]) -> Iterator[str]:
    for name, value in options.items():
        for item in value if isinstance(value, tuple) else (value,):
            if item is not None:
                yield from (flag(name), str(item))


# ── tables ──────────────────────────────────────────────────────────────────────────────────────────


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
