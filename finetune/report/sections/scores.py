"""Every metric, and each label by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from finetune.evaluation.intervals import RANKINGS
from finetune.evaluation.metrics import BUILT_IN, score
from finetune.report.against import constant_of
from finetune.report.reading import METRICS
from finetune.report.wording import PARTS, UNDEFINED, named, value_of
from finetune.types import Block, Paragraph, RunRecords, Table

MOST_LABELS = 100
"""Of a table; where there are more, those with the lowest scores are what one looks for."""
NOTHING = "looks at no picture"


def scores(records: RunRecords) -> Iterator[Block]:
    """Show every metric beside that of an answer that looks at no picture, and each label by itself."""
    parts = {part: records.metrics[part] for part in PARTS if records.metrics.get(part)}
    if not parts:
        yield Paragraph("There were no pictures to score the model on.")
        return
    names = tuple(dict.fromkeys(name for found in parts.values() for name in found["values"]))
    constant = _constant(records, names)
    rows = tuple(
        (
            name,
            *(value_of(records, name, found["values"].get(name)) for found in parts.values()),
            *((value_of(records, name, constant.get(name)),) if constant else ()),
        )
        for name in names
    )
    header = ("metric", *(PARTS[part] for part in parts), *((NOTHING,) if constant else ()))
    yield Table(header, rows, _caption(bool(constant)))
    for part, found in parts.items():
        yield from _each_label(found["labels"], PARTS[part])


def _caption(has_constant: bool) -> str:
    more = "; in the last column, of the same answer to every validation picture, made of the training pictures' labels"
    return "Every metric" + (more if has_constant else "")


def _constant(records: RunRecords, names: Sequence[str]) -> dict[str, float]:
    """Return the metrics of the constant answer; of rankings only where there are few labels to rank."""
    found = constant_of(records)
    if found is None:
        return {}
    few = len(records.labels) <= MOST_LABELS
    measured = [name for name in names if name in BUILT_IN and (few or name not in RANKINGS)]
    return {name: score(name, records.task, found.answers, records.targets) for name in measured}


# ── each label ──────────────────────────────────────────────────────────────────────────────────────


def _each_label(labels: Sequence[Mapping[str, Any]], part: str) -> Iterator[Block]:
    if not labels:
        return
    yield from (Paragraph(text) for text in _blind_spots(labels, part))
    worst, caption = _worst(labels, part)
    columns = list(labels[0])
    rows = tuple(tuple(_cell(label[column]) for column in columns) for label in worst)
    yield Table(tuple(column.replace("_", " ") for column in columns), rows, caption)
    if len(worst) < len(labels):
        yield Paragraph(f"All labels are in {METRICS}.")


def _blind_spots(labels: Sequence[Mapping[str, Any]], part: str) -> Iterator[str]:
    """Say which labels are shown by no picture, and which the model has not given to any although some show them."""
    if "pictures" not in labels[0]:
        return  # values
    unseen = [label["label"] for label in labels if not label["pictures"]]
    never = [label["label"] for label in labels if label["pictures"] and label["precision"] is None]
    if never:
        yield f"The model never answered {named(never)}, although {part} pictures show it: {_share(never, labels)}."
    if unseen:
        yield f"No {part} picture shows {named(unseen)}, so nothing is known of how well it is told: " + (
            f"{_share(unseen, labels)}."
        )


def _share(some: Sequence[str], labels: Sequence[object]) -> str:
    return f"{len(some):,} of {len(labels):,} labels"


def _worst(labels: Sequence[Mapping[str, Any]], part: str) -> tuple[Sequence[Mapping[str, Any]], str]:
    """Return all labels, or of many those with the worst scores, and the caption that says which."""
    by, ascending = ("f1", 1) if "f1" in labels[0] else ("rmse", -1)
    if len(labels) <= MOST_LABELS:
        return labels, f"Each label by itself, {part} pictures"
    undefined = (True, 0.0)
    order = [(False, ascending * label[by]) if label[by] is not None else undefined for label in labels]
    worst = sorted(range(len(labels)), key=order.__getitem__)[:MOST_LABELS]
    caption = f"The {MOST_LABELS} labels with the worst {by}, of {len(labels):,}, {part} pictures"
    return [labels[number] for number in worst], caption


def _cell(value: object) -> str:
    if value is None:
        return UNDEFINED
    return f"{value:.3f}" if isinstance(value, float) else str(value)
