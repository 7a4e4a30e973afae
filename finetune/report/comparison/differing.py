"""Where the compared runs part: classes that one recalls better, and pictures that one alone gets right."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.evaluation.mistakes import losses
from finetune.report.comparison.comparing import Against, Comparison
from finetune.report.comparison.matching import Matched
from finetune.report.comparison.results import letters
from finetune.report.wording import UNDEFINED, counted, few
from finetune.types import Block, Gallery, Paragraph, Picture, Table

MOST_LABELS = 100
"""Of a table; where there are more, those that differ most are what one looks for."""
MOST_EACH_WAY = 12
SIDE_PX = 160
MOST_ANSWERS = 4
"""Labels, or values, of a picture that are written below it."""


def classes(found: Comparison) -> Iterator[Block]:
    """Show how each label fares in every run, those that differ most first."""
    by = "rmse" if found.first.records.task == "regression" else "recall"
    measured = [run.records.metrics["valid"] or {"labels": []} for run in found.runs]
    each = [_by_label(metrics["labels"], by) for metrics in measured]
    labels = sorted(found.first.records.labels, key=lambda label: -_spread([column.get(label) for column in each]))
    rows = tuple((label, *(_cell(column.get(label)) for column in each)) for label in labels[:MOST_LABELS])
    of = f", the {MOST_LABELS} of {len(labels):,} that differ most" if len(labels) > MOST_LABELS else ""
    header = ("value" if by == "rmse" else "label", *letters(found))
    yield Table(header, rows, f"The {by} of each label on the validation pictures, largest differences first{of}")


def _by_label(labels: list[Mapping[str, Any]], by: str) -> dict[str, float | None]:
    known = ((each["label"], each[by]) for each in labels)
    return {label: None if value is None or math.isnan(value) else value for label, value in known}


def _spread(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return max(known) - min(known) if known else 0.0


def _cell(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:.3f}"


def pictures(found: Comparison) -> Iterator[Block]:
    """Show pictures that one run gets right and the other wrong, each run against the first, both ways."""
    missing: dict[str, None] = {}
    for against in found.against:
        yield from _both_ways(found.first.letter, against, missing)
    if missing:
        yield Paragraph(
            f"{counted(len(missing))} cannot be shown, and placeholders stand in; first {next(iter(missing))}. "
            "If they were moved, repeat the command with --data and the folder where they are now."
        )


def _both_ways(first: str, against: Against, missing: dict[str, None]) -> Iterator[Gallery]:
    better = _how_much_better(against.matched)
    for winner, loser, sign in ((against.run.letter, first, 1), (first, against.run.letter, -1)):
        places = [int(at) for at in np.argsort(-sign * better, kind="stable") if sign * better[at] > 0]
        if places:
            shown = tuple(_picture(first, against, at, missing) for at in places[:MOST_EACH_WAY])
            yield Gallery(shown, _caption(against.matched, winner, loser, len(places)))


def _how_much_better(found: Matched) -> NDArray[np.float64]:
    """Return by how much the first's loss exceeds the other's, float64 (N,): 0 unless one alone is right.

    Values are never right, so that all pictures count.
    """
    task = found.first.task
    if not len(found):
        return np.zeros(0)
    first, other = (losses(task, answers, found.targets) for answers in (found.first_answers, found.other_answers))
    if task == "regression":
        return first - other
    sign = found.right(1).astype(np.float64) - found.right(0)
    return np.asarray(sign * np.fmax(np.abs(first - other), 1e-12))


def _caption(found: Matched, winner: str, loser: str, pictures: int) -> str:
    what = f"{counted(pictures)} that run {winner} gets right and run {loser} wrong"
    if found.first.task == "regression":
        what = f"Pictures on which run {winner} is closer than run {loser}"
    return f"{what}, the clearest {MOST_EACH_WAY} first" if pictures > MOST_EACH_WAY else what


def _picture(first: str, against: Against, at: int, missing: dict[str, None]) -> Picture:
    found = against.matched
    path = found.first.paths[found.first_places[at]]
    image = found.first.pictures.thumbnail(path, SIDE_PX)
    if image is None:
        missing[str(path)] = None
    truth = _truth(found, at)
    answers = (
        f"{first}: {_answer(found, 0, at)}",
        f"{against.run.letter}: {_answer(found, 1, at)}",
    )
    return Picture(image=image, alt=f"{path.name}, which shows {truth}", lines=(f"shows {truth}", *answers, path.name))


def _truth(found: Matched, at: int) -> str:
    labels, target = found.first.labels, found.targets[at]
    if found.first.task == "single-label":
        return labels[int(target)]
    if found.first.task == "regression":
        return _values(labels, target)
    return few([label for label, shows in zip(labels, target, strict=True) if shows], MOST_ANSWERS) or "nothing"


def _answer(found: Matched, run: int, at: int) -> str:
    labels, answer = found.first.labels, (found.first_answers, found.other_answers)[run][at]
    if found.first.task == "single-label":
        return f"{labels[int(answer.argmax())]} {answer.max():.0%}"
    if found.first.task == "regression":
        return _values(labels, answer)
    given = answer >= np.asarray(found.thresholds(run))
    return few([label for label, is_given in zip(labels, given, strict=True) if is_given], MOST_ANSWERS) or "nothing"


def _values(labels: tuple[str, ...], values: NDArray[Any]) -> str:
    return (
        few([f"{label} {value:.4g}" for label, value in zip(labels, values.tolist(), strict=True)], MOST_ANSWERS)
        or "nothing"
    )
