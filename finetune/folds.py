"""Cross-validation: as many runs as there are folds, each validated on pictures that the others were trained on."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from finetune import run_folder
from finetune.clock import Clock
from finetune.config import RunOptions, to_toml
from finetune.errors import ConfigError
from finetune.evaluation.catalogue import shares_of, shown
from finetune.intent import Intent, discover
from finetune.preparation import Job, PicturesRead, divide, prepare, read_pictures
from finetune.records import METRICS
from finetune.reporting import SILENT
from finetune.resuming import check_same, intent_of
from finetune.run import carry_out, go_on
from finetune.run_folder import RunFolder
from finetune.stopping import Stop, resumable
from finetune.training.strategies import ready
from finetune.training_job import finished
from finetune.types import Reporter

LEAST_MINUTES = 0.1
"""What a fold is given of --max-minutes even where nothing is left: the least that the option may say."""


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """What the folds came to: ``scores`` are each metric's mean and standard deviation (n - 1) over them.

    ``values`` are the headline ``metric`` of each fold, ``test_scores`` as ``scores``, of the one test part that all
    folds share; empty where there is none. ``shares`` are the metrics that are read in percent. Epoch, temperature and
    thresholds of a fold are chosen on the pictures that score it, so that ``values`` and ``scores`` flatter a little;
    ``test_scores`` do not. Every fold has a run folder with an exported model of its own; which to deploy
    cross-validation does not say, for that train once without folds.
    """

    run: Path
    folds: tuple[Path, ...]
    metric: str
    values: tuple[float, ...]
    scores: dict[str, tuple[float, float]]
    test_scores: dict[str, tuple[float, float]]
    shares: tuple[str, ...]
    seconds: dict[str, float]

    def rows(self) -> list[tuple[str, str]]:
        """Return the findings as the rows of a two-column table."""
        each = "  ".join(self._shown(self.metric, value) for value in self.values)
        return [
            ("folds", f"{self.metric} {each}"),
            *((name, self._spread(name, found)) for name, found in self.scores.items()),
            ("note", "epoch, temperature, thresholds of a fold are chosen on what scores it, which flatters a little"),
            *((f"test {name}", self._spread(name, found)) for name, found in self.test_scores.items()),
            ("seconds", "  ".join(f"{stage} {spent:.1f}" for stage, spent in self.seconds.items())),
            ("run", str(self.run)),
            ("next", "train the network to deploy without --folds"),
        ]

    def _spread(self, metric: str, found: tuple[float, float]) -> str:
        return " ± ".join(self._shown(metric, value) for value in found)

    def _shown(self, metric: str, value: float) -> str:
        return shown(value, metric in self.shares)


def cross_validate(
    *,
    config_file: Path | None = None,
    resume: Path | None = None,
    reporter: Reporter = SILENT,
    **options: Unpack[RunOptions],
) -> CrossValidation:
    """Train and export one network for each of ``folds`` parts of the pictures, and return what they came to.

    The pictures are read once, and what is frozen is computed once for all folds. ``max_minutes`` are those of all
    folds together: each may take an equal share of what is left when it begins. With ``resume``, folds that are done
    stay as they are, and the one that was stopped goes on; the pictures have to be the same. Raises what
    ``finetune.run`` does, and before the first fold is trained what can be known of any.
    """
    clock = Clock()
    if resume is not None:
        folder = RunFolder.reopen(Path(resume))
        with folder.recorded(), resumable(folder.path, reporter.note):
            intent = intent_of(folder, options)
            with clock("prepare"):
                pictures, job = _prepared(intent, reporter)
                _refuse_other_pictures(folder, job, pictures, reporter)
            return _cross_validate(folder, intent, pictures, clock, reporter, options)
    intent = discover(options, config_file)
    with clock("prepare"):
        pictures, _ = _prepared(intent, reporter)
    folder = RunFolder.create(intent.config.out, f"{intent.config.folds}-folds-{intent.spec.name}")
    with folder.recorded(), resumable(folder.path, reporter.note):
        return _cross_validate(folder, intent, pictures, clock, reporter, options)


def _prepared(intent: Intent, reporter: Reporter) -> tuple[PicturesRead, Job]:
    """Return the pictures, and the job of the first fold, once each fold was found to be one that can be trained."""
    _refuse_without_folds(intent)
    pictures = read_pictures(intent, reporter)
    return pictures, ready(intent, SILENT, pictures)  # what there is to say, each fold says


def _refuse_other_pictures(folder: RunFolder, job: Job, pictures: PicturesRead, reporter: Reporter) -> None:
    """Refuse to mix two data sets: a fold that was begun, be it done, has to be the one that it would be now."""
    notes: dict[str, None] = {}
    for fold in _numbers(job.intent):
        if begun := _begun(folder, fold):
            division = divide(pictures, replace(job.config, fold=fold))
            notes |= dict.fromkeys(check_same(RunFolder(begun), replace(job, split=division)))
    for note in notes:
        reporter.note(note)


def _numbers(intent: Intent) -> range:
    return range(1, 1 + (intent.config.folds or 0))


def _refuse_without_folds(intent: Intent) -> None:
    if intent.config.folds is None or intent.config.fold is not None:
        raise ConfigError("Cross-validation needs --folds, the number of parts, and no --fold; 5 is usual.")


def _cross_validate(
    folder: RunFolder, intent: Intent, pictures: PicturesRead, clock: Clock, reporter: Reporter, options: RunOptions
) -> CrossValidation:
    folder.write(run_folder.CONFIG, to_toml(intent.config))
    runs = {fold: begun for fold in _numbers(intent) if (begun := _begun(folder, fold)) and _is_done(begun)}
    left = [fold for fold in _numbers(intent) if fold not in runs]
    for done, fold in enumerate(left):
        reporter.note(f"Fold {fold} of {intent.config.folds}")
        minutes = _minutes(intent, clock, len(left) - done)
        with clock(f"fold {fold}"):
            runs[fold] = _one(folder, fold, minutes, intent, pictures, reporter, options)
    found = _summary(folder, intent, [runs[fold] for fold in _numbers(intent)], clock)
    folder.write_json(run_folder.FOLDS, found)
    return found


def _minutes(intent: Intent, clock: Clock, folds: int) -> float | None:
    """Return an equal share of what is left of --max-minutes, for each of so many folds; None without a limit."""
    if intent.config.max_minutes is None:
        return None
    return max(LEAST_MINUTES, Stop(intent.config.max_minutes, clock.started).remaining_s() / 60 / folds)


def _one(
    folder: RunFolder,
    fold: int,
    minutes: float | None,
    intent: Intent,
    pictures: PicturesRead,
    reporter: Reporter,
    options: RunOptions,
) -> Path:
    """Train one fold, or what is left of it, and return its folder."""
    clock = Clock()
    if begun := _begun(folder, fold):
        child = RunFolder.reopen(begun)
        with finished(child):
            return go_on(child, clock, reporter, _limited(options, minutes), pictures).run
    config = replace(intent.config, fold=fold, out=folder.path, max_minutes=minutes)
    with clock("prepare"):
        job = prepare(replace(intent, config=config), reporter, pictures)
    child = RunFolder.create(folder.path, f"fold-{fold}")
    with finished(child):
        return carry_out(child, job, clock, reporter).run


def _limited(options: RunOptions, minutes: float | None) -> RunOptions:
    return options if minutes is None else {**options, "max_minutes": minutes}


def _begun(folder: RunFolder, fold: int) -> Path | None:
    """Return the folder of a fold; one that was killed before it had written its options never began."""
    return next((path.parent for path in sorted(folder.path.glob(f"*-fold-{fold}/{run_folder.CONFIG}"))), None)


def _is_done(folder: Path) -> bool:
    return bool(_json(folder / run_folder.STATUS).get("status") == "done")


def _summary(folder: RunFolder, intent: Intent, runs: Sequence[Path], clock: Clock) -> CrossValidation:
    metrics = [_json(path / METRICS) for path in runs]
    metric = metrics[0]["valid"]["headline"]
    return CrossValidation(
        run=folder.path,
        folds=tuple(runs),
        metric=metric,
        values=tuple(each["valid"]["values"][metric] for each in metrics),
        scores=_over_folds([each["valid"]["values"] for each in metrics]),
        test_scores=_over_folds([each["test"]["values"] if each["test"] else {} for each in metrics]),
        shares=shares_of(intent.plugins.metrics),
        seconds=clock.total(),
    )


def _over_folds(scores: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Return mean and spread of the metrics that every fold has; one may be undefined where a fold lacks a label."""
    shared = [name for name in scores[0] if all(name in each for each in scores)]
    return {name: _mean_and_spread([each[name] for each in scores]) for name in shared}


def _mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    return statistics.fmean(values), statistics.stdev(values)


def _json(path: Path) -> dict[str, Any]:
    """Return what a fold has recorded; raise ``ConfigError`` where that cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{path} is damaged or missing. Delete {path.parent} and repeat the command to train this fold anew."
        ) from error
    return content
