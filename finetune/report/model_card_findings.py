"""What the records of a run say against its model, for the model card: labels, confidence, and limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from finetune.data.findings import KINDS, MOST_PICTURES
from finetune.evaluation.mistakes import confused_pairs
from finetune.report.against import constant_named, constant_of
from finetune.report.answers import finite_of
from finetune.report.model_card_text import code, plain, table
from finetune.report.wording import UNDEFINED, counted, value_of
from finetune.types import RunRecords

MOST_LABELS = 20
"""Of the worst, and of the best: a table of a thousand labels nobody reads."""
MOST_PAIRS = 10
FEW_PICTURES = 10
"""Validation pictures of a label, below which its scores are little more than chance."""

Label = Mapping[str, Any]


def each_label(records: RunRecords) -> Iterator[str]:
    """Yield the table of each label by itself, of the test part where there is one; cut where there are many."""
    part, labels = _labels(records)
    if not labels:
        return
    ranked, number = _worst_first(labels), len(labels)
    if number > 2 * MOST_LABELS:
        yield (
            f"The {MOST_LABELS} worst and the {MOST_LABELS} best of {number:,} labels by {code(_by(labels))}, on the "
            f"{part} pictures; `metrics.json` has them all."
        )
        yield _table(ranked[:MOST_LABELS])
        yield _table(ranked[-MOST_LABELS:])
        return
    yield f"On the {part} pictures:"
    yield _table(labels)


def _labels(records: RunRecords) -> tuple[str, Sequence[Label]]:
    tested = records.metrics["test"]
    found = (tested or records.metrics["valid"] or {}).get("labels", ())
    return ("test" if tested else "validation"), found


def _by(labels: Sequence[Label]) -> str:
    return "f1" if "f1" in labels[0] else "rmse"


def _worst_first(labels: Sequence[Label]) -> list[Label]:
    """Return labels in the order of their scores; those that have none come first."""
    by = _by(labels)
    sign = 1 if by == "f1" else -1
    return sorted(labels, key=lambda label: (label[by] is not None, sign * (label[by] or 0.0)))


def _table(labels: Sequence[Label]) -> str:
    columns = list(labels[0])
    return table(
        [column.replace("_", " ") for column in columns],
        [[code(label[name]) if name == "label" else _cell(label[name]) for name in columns] for label in labels],
    )


def _cell(value: float | None) -> str:
    if value is None or not np.isfinite(value):
        return UNDEFINED
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"


def calibrated(records: RunRecords) -> Iterator[str]:
    """Yield how far confidence is from being right; values have none."""
    result = records.result
    if records.task == "regression":
        yield "Values have no confidence: the model does not say how certain it is."
    elif result.ece_before is None or result.ece_after is None:
        yield "Not measured."
    else:
        yield (
            f"The expected calibration error is {result.ece_after:.3f} on the validation pictures, with the "
            f"temperature {result.temperature:.3f} that was fitted to them; without it, it is {result.ece_before:.3f}."
        )
    found = records.metrics["valid"] or {}
    if found.get("coverage") is not None:
        yield f"The model answers {found['coverage']:.1%} of these pictures, and abstains from the others."
    if found.get("precision") is not None:
        yield f"Of the answers that it gives, {found['precision']:.1%} are right."


def limits(records: RunRecords) -> Iterator[str]:
    """Yield what was found that speaks against the model or its pictures, a sentence each; at least one."""
    yield "Nothing was measured on pictures from elsewhere than this data set."
    yield from _certainty(records)
    yield from _weak_labels(records)
    yield from _confused(records)
    yield from _pictures(records)


def _certainty(records: RunRecords) -> Iterator[str]:
    result = records.result
    pictures = counted(result.valid_images, "validation picture")
    if not result.valid_images:
        yield "There were no validation pictures, so nothing is known of how good the model is."
    elif result.interval is None or not np.isfinite(result.interval).all():
        yield f"The {code(result.metric)} has no interval; how far {pictures} can be relied on is unknown."
    else:
        low, high = (value_of(records, result.metric, bound) for bound in result.interval)
        yield f"With {pictures}, the true {code(result.metric)} may well be anywhere from {low} to {high}."
    if result.interval and (constant := constant_of(records)) and result.interval[0] <= constant.value:
        yield f"These pictures do not show that it is better than {plain(constant_named(records, constant))}."
    if not result.test_images:
        yield "There was no test part: every score is on pictures by which something was chosen."


def _weak_labels(records: RunRecords) -> Iterator[str]:
    part, labels = _labels(records)
    if not labels:
        return
    by = _by(labels)
    worst = [label for label in _worst_first(labels) if label[by] is not None][: min(3, len(labels) - 1)]
    if worst and (by != "f1" or worst[0][by] < 1):
        named = ", ".join(f"{code(label['label'])} ({code(by)} {_cell(label[by])})" for label in worst)
        yield f"The worst labels on the {part} pictures are {named}."
    few = [label for label in labels if label.get("pictures", FEW_PICTURES) < FEW_PICTURES]
    if few:
        subject = counted(len(few), "label")
        verb = "has" if len(few) == 1 else "have"
        yield f"{subject} {verb} fewer than {FEW_PICTURES} {part} pictures, such as {code(few[0]['label'])}."


def _confused(records: RunRecords) -> Iterator[str]:
    found = finite_of(records)
    if len(found.answers) < len(records.answers):
        yield f"{counted(len(records.answers) - len(found.answers))} got answers that are no finite numbers."
    if records.task != "single-label" or not len(found.targets):
        return
    pairs = confused_pairs(found.answers, found.targets)
    if not pairs:
        yield "No validation picture was taken for another class; so few pictures do not show which would be."
        return
    named = [f"{code(records.labels[p.truth])} for {code(records.labels[p.answer])} ({p.pictures})" for p in pairs]
    more = f", and {len(pairs) - MOST_PAIRS:,} other pairs" if len(pairs) > MOST_PAIRS else ""
    yield f"Most often taken for another, with the number of pictures: {', '.join(named[:MOST_PAIRS])}{more}."


def _pictures(records: RunRecords) -> Iterator[str]:
    if records.label_errors is not None:
        number, looked = records.label_errors.doubted, counted(records.label_errors.pictures)
        yield f"Likely labelled wrong, by confident learning: {number:,} of {looked}."
    counts: dict[str, int] = {}
    for finding in records.data.get("findings", ()):
        counts[finding["kind"]] = counts.get(finding["kind"], 0) + len(finding["pictures"])
    for kind, number in counts.items():
        about = ("at least " if number >= MOST_PICTURES else "") + counted(number)
        yield f"Findings of the kind {code(kind)} are about {about}, which {plain(KINDS.get(kind, 'stand out'))}."
    if refused := len(records.data["refused"]):
        yield f"Left out, for they could not be read: {counted(refused)}."
