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
from finetune.config import RunOptions, read_file, to_toml
from finetune.errors import ConfigError
from finetune.evaluation.catalogue import HEADLINE, shown
from finetune.intent import Intent, discover
from finetune.preparation import PicturesRead, prepare, read_pictures
from finetune.records import METRICS
from finetune.reporting import SILENT
from finetune.resuming import intent_of
from finetune.run import carry_out, finished, go_on
from finetune.run_folder import RunFolder
from finetune.stopping import resumable
from finetune.types import Reporter

SUMMARY = "folds.json"


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """What the folds came to: ``scores`` are each metric's mean and standard deviation (n - 1) over them.

    ``values`` are the headline ``metric`` of each fold. Every fold has a run folder with an exported model of its own;
    which to deploy cross-validation does not say, for that train once without folds.
    """

    run: Path
    folds: tuple[Path, ...]
    metric: str
    values: tuple[float, ...]
    scores: dict[str, tuple[float, float]]
    seconds: dict[str, float]

    def rows(self) -> list[tuple[str, str]]:
        """Return the findings as the rows of a two-column table."""
        each = "  ".join(shown(self.metric, value) for value in self.values)
        return [
            ("folds", f"{self.metric} {each}"),
            *((name, f"{shown(name, mean)} ± {shown(name, spread)}") for name, (mean, spread) in self.scores.items()),
            ("seconds", "  ".join(f"{stage} {spent:.1f}" for stage, spent in self.seconds.items())),
            ("run", str(self.run)),
            ("next", "train the network to deploy without --folds"),
        ]


def cross_validate(
    *,
    config_file: Path | None = None,
    resume: Path | None = None,
    reporter: Reporter = SILENT,
    **options: Unpack[RunOptions],
) -> CrossValidation:
    """Train and export one network for each of ``folds`` parts of the pictures, and return what they came to.

    The pictures are read once, and what is frozen is computed once for all folds. With ``resume``, folds that are done
    stay as they are, and the one that was stopped goes on. Raises what ``finetune.run`` does, at the first fold.
    """
    clock = Clock()
    if resume is not None:
        folder = RunFolder.reopen(Path(resume))
        with folder.recorded(), resumable(folder.path, reporter.note):
            return _cross_validate(folder, intent_of(folder, options), clock, reporter, options)
    intent = discover(options, config_file)
    _refuse_without_folds(intent)
    folder = RunFolder.create(intent.config.out, f"{intent.config.folds}-folds-{intent.spec.name}")
    with folder.recorded(), resumable(folder.path, reporter.note):
        return _cross_validate(folder, intent, clock, reporter, options)


def is_cross_validation(folder: Path) -> bool:
    """Whether a run's folder holds folds, of which each is a run; not so where it holds no options at all."""
    if not (folder / run_folder.CONFIG).exists():
        return False
    config = read_file(folder / run_folder.CONFIG)
    return config.get("folds") is not None and config.get("fold") is None


def _refuse_without_folds(intent: Intent) -> None:
    if intent.config.folds is None or intent.config.fold is not None:
        raise ConfigError("Cross-validation needs --folds, the number of parts, and no --fold; 5 is usual.")


def _cross_validate(
    folder: RunFolder, intent: Intent, clock: Clock, reporter: Reporter, options: RunOptions
) -> CrossValidation:
    _refuse_without_folds(intent)
    folder.write(run_folder.CONFIG, to_toml(intent.config))
    pictures = read_pictures(intent, reporter)
    runs, count = [], intent.config.folds or 0
    for fold in range(1, count + 1):
        reporter.note(f"Fold {fold} of {count}")
        with clock(f"fold {fold}"):
            runs.append(_one(folder, fold, intent, pictures, reporter, options))
    found = _summary(folder, runs, clock)
    folder.write_json(SUMMARY, found)
    return found


def _one(
    folder: RunFolder, fold: int, intent: Intent, pictures: PicturesRead, reporter: Reporter, options: RunOptions
) -> Path:
    """Train one fold, or what is left of it, and return its folder."""
    begun = _begun(folder, fold)
    if begun and _is_done(begun):
        return begun
    if begun:
        child = RunFolder.reopen(begun)
        with finished(child):
            return go_on(child, Clock(), reporter, options, pictures).run
    job = prepare(replace(intent, config=replace(intent.config, fold=fold, out=folder.path)), reporter, pictures)
    child = RunFolder.create(folder.path, f"fold-{fold}")
    with finished(child):
        return carry_out(child, job, Clock(), reporter).run


def _begun(folder: RunFolder, fold: int) -> Path | None:
    """Return the folder of a fold; one that was killed before it had written its options never began."""
    return next((path.parent for path in sorted(folder.path.glob(f"*-fold-{fold}/{run_folder.CONFIG}"))), None)


def _is_done(folder: Path) -> bool:
    return bool(_json(folder / run_folder.STATUS)["status"] == "done")


def _summary(folder: RunFolder, runs: Sequence[Path], clock: Clock) -> CrossValidation:
    scores = [_json(path / METRICS)["valid"]["values"] for path in runs]
    metric = next(name for name in HEADLINE.values() if name in scores[0])
    return CrossValidation(
        run=folder.path,
        folds=tuple(runs),
        metric=metric,
        values=tuple(each[metric] for each in scores),
        scores={name: _mean_and_spread([each[name] for each in scores]) for name in _shared(scores)},
        seconds=clock.total(),
    )


def _shared(scores: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the metrics that every fold has; one may be undefined where a fold lacks a label."""
    return [name for name in scores[0] if all(name in each for each in scores)]


def _mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    return statistics.fmean(values), statistics.stdev(values)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
