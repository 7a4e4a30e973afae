"""What several runs come to side by side: matched picture by picture, measured against the first, tested."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from finetune.data.moved import by_content
from finetune.errors import ConfigError
from finetune.evaluation.catalogue import HEADLINE
from finetune.evaluation.metrics import score
from finetune.evaluation.mistakes import losses
from finetune.evaluation.paired import (
    LEVEL,
    Difference,
    TwoByTwo,
    holm,
    mcnemar,
    metric_difference,
    share_difference,
    signed_rank,
    two_by_two,
)
from finetune.report.comparison.folders import LETTERS, names_of
from finetune.report.comparison.matching import Matched, matched
from finetune.report.reading import read_records
from finetune.report.wording import few
from finetune.types import RunRecords

SEED = 42  # of the bootstrap: the same runs are compared to the same figures


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """A run with the ``letter`` that stands for it, and a ``name`` that no other of the runs has."""

    letter: str
    name: str
    records: RunRecords

    @property
    def value(self) -> float:
        """The headline metric on the run's own validation pictures."""
        return self.records.result.value


@dataclass(frozen=True, kw_only=True)
class Paired:
    """What two runs come to on the pictures that both have answered to.

    ``first_value`` and ``value`` are the headline metric of both, ``difference`` the other's less the first's.
    ``counts`` are of single labels alone. ``p_value`` is of the exact McNemar test for single labels, else of the
    signed-rank test on losses; ``corrected`` by Holm for all runs that were tested.
    """

    first_value: float
    value: float
    difference: Difference
    counts: TwoByTwo | None
    p_value: float
    corrected: float = 1.0

    @property
    def is_more_than_chance(self) -> bool:
        """Whether the test, corrected, tells the two runs apart."""
        return self.corrected < LEVEL


@dataclass(frozen=True, kw_only=True)
class Against:
    """A run held against the first; ``paired`` is None where they have no picture in common."""

    run: ComparedRun
    matched: Matched
    paired: Paired | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs of one task and the same labels, the first of which the ``others`` are held ``against``."""

    runs: tuple[ComparedRun, ...]
    against: tuple[Against, ...]

    @property
    def first(self) -> ComparedRun:
        """The run that the others are held against."""
        return self.runs[0]

    @property
    def metric(self) -> str:
        """The headline metric of the task."""
        return HEADLINE[self.first.records.task]

    @property
    def is_share(self) -> bool:
        """Whether the headline metric is read in percent."""
        return self.metric in self.first.records.shares

    def figures(self) -> dict[str, Any]:
        """Return what can be written as JSON: plain numbers, texts and None."""
        figures = {
            "task": self.first.records.task,
            "metric": self.metric,
            "runs": [_figures_of_run(run) for run in self.runs],
            "against": [_figures_against(self.first, found) for found in self.against],
        }
        return cast(dict[str, Any], _known(figures))


def compare(folders: Sequence[Path], shares: tuple[str, ...], data: Path | None = None) -> Comparison:
    """Return the comparison of the runs in these folders, as ``runs_in`` gives them.

    ``data`` is the folder where the pictures are now, if they moved. Raises ``ConfigError`` where records are missing,
    and for other tasks or labels than the first's; ``DataError`` where they are damaged, and for ``data`` that is no
    folder.
    """
    moved = by_content(data) if data else {}
    records = [read_records(folder, shares, moved) for folder in folders]
    named = zip(LETTERS, names_of(folders), records, strict=False)
    runs = tuple(ComparedRun(letter=letter, name=name, records=each) for letter, name, each in named)
    first, *others = runs
    for other in others:
        _refuse_other_task(first, other)
    against = [_against(first, other) for other in others]
    return Comparison(runs=runs, against=tuple(_corrected(against)))


def _refuse_other_task(first: ComparedRun, other: ComparedRun) -> None:
    one, two = first.records, other.records
    if one.task != two.task:
        raise ConfigError(
            f"{one.run} is {one.task} and {two.run} is {two.task}; only runs of the same task can be compared."
        )
    if set(one.labels) != set(two.labels):
        raise ConfigError(
            f"{one.run} and {two.run} have other labels ({_only(one, two)}; {_only(two, one)}); only runs of the same "
            "labels can be compared."
        )


def _only(one: RunRecords, two: RunRecords) -> str:
    more = [label for label in one.labels if label not in two.labels]
    shown = few([f"'{label}'" for label in more], 3)
    return f"only {one.run.name}: {shown or 'none'}"


def _against(first: ComparedRun, other: ComparedRun) -> Against:
    found = matched(first.records, other.records)
    return Against(run=other, matched=found, paired=_paired(found) if len(found) else None)


def _paired(found: Matched) -> Paired:
    task, targets = found.first.task, found.targets
    metric = HEADLINE[task]
    each = [(answers, found.thresholds(at)) for at, answers in enumerate((found.first_answers, found.other_answers))]
    if task == "single-label":
        counts = two_by_two(found.right(0), found.right(1))
        difference, p_value = share_difference(counts), mcnemar(counts)
    else:
        counts, difference = None, metric_difference(metric, task, each[0], each[1], targets, seed=SEED)
        p_value = signed_rank(*(losses(task, answers, targets) for answers, _ in each))
    first_value, value = (score(metric, task, answers, targets, thresholds) for answers, thresholds in each)
    return Paired(first_value=first_value, value=value, difference=difference, counts=counts, p_value=p_value)


def _corrected(against: Sequence[Against]) -> list[Against]:
    """Return the same with p-values corrected for being several; who was not tested does not count."""
    corrected = iter(holm([each.paired.p_value for each in against if each.paired]))
    return [
        replace(each, paired=replace(each.paired, corrected=next(corrected))) if each.paired else each
        for each in against
    ]


def _figures_of_run(run: ComparedRun) -> dict[str, Any]:
    result = run.records.result
    facts = {"letter": run.letter, "name": run.name, "run": str(run.records.run), "value": result.value}
    tested = {"test_scores": result.test_scores, "test_interval": result.test_interval}
    return {**facts, "interval": result.interval, "scores": result.scores, **tested}


def _figures_against(first: ComparedRun, found: Against) -> dict[str, Any]:
    figures = {"run": found.run.letter, "first": first.letter, "pictures": len(found.matched)}
    paired = found.paired
    if paired is None:
        return {**figures, "test": None}
    return {
        **figures,
        "test": "exact McNemar" if paired.counts else "Wilcoxon signed-rank of losses",
        "first_value": paired.first_value,
        "value": paired.value,
        "difference": paired.difference.value,
        "difference_interval": paired.difference.interval,
        "counts": paired.counts._asdict() if paired.counts else None,
        "p_value": paired.p_value,
        "p_value_corrected": paired.corrected,
    }


def _known(figures: object) -> object:
    """Return the same with None for each number that is undefined or infinite: JSON has none of them."""
    if isinstance(figures, Mapping):
        return {name: _known(value) for name, value in figures.items()}
    if isinstance(figures, list | tuple):
        return [_known(value) for value in figures]
    return None if isinstance(figures, float) and not math.isfinite(figures) else figures
