"""The built-in sections on what a run came to: summary, scores, learning curves, calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from finetune import run_folder
from finetune.evaluation.catalogue import shown
from finetune.report.reading import METRICS
from finetune.types import Block, Figure, Paragraph, RunRecords, Table

PARTS = {"valid": "validation", "test": "test"}
MOST_LABELS = 100
"""Of a table; where there are more, those with the lowest scores are what one looks for."""
UNDEFINED = "–"


def summary(records: RunRecords) -> Iterator[Block]:
    """Say what was trained on what, what it came to, and whether fine-tuning was worth it."""
    result = records.result
    yield Paragraph(result.verdict)
    rows = [
        ("data", f"{result.dataset}: {_named(records)}, {_counted(records)}"),
        ("network", f"{result.backbone}, weights: {result.weights}"),
        ("strategy", result.strategy),
        *_phases(records),
        (f"validation {result.metric}", _headline(records, result.value, result.interval)),
        *_tested(records),
        (f"{result.metric} of the exported file", _value(records, result.metric, result.exported_value)),
        ("model", f"{result.onnx.name}, {result.onnx_bytes / 1e6:.1f} MB"),
        ("time", f"{result.seconds['total']:.0f} s"),
    ]
    yield Table(("what", "is"), tuple(rows), "The run at a glance")
    yield from (Paragraph(text) for text in (*result.reasons, *result.notes))


def _named(records: RunRecords) -> str:
    named = {"single-label": "classes", "multi-label": "labels", "regression": "value(s)"}[records.task]
    return f"{len(records.labels)} {named}"


def _counted(records: RunRecords) -> str:
    result = records.result
    counts = f"{result.train_images} training and {result.valid_images} validation pictures"
    return counts + (f", {result.test_images} test pictures" if result.test_images else "")


def _phases(records: RunRecords) -> Iterator[tuple[str, str]]:
    result = records.result
    for name, value in result.phases.items():
        yield (
            f"phase '{name}'",
            f"{result.monitor} {_value(records, result.monitor, value)}" + (", kept" if name == result.kept else ""),
        )


def _tested(records: RunRecords) -> Iterator[tuple[str, str]]:
    result = records.result
    if result.metric in result.test_scores:
        value = _headline(records, result.test_scores[result.metric], result.test_interval)
        yield f"test {result.metric}", value


def _headline(records: RunRecords, value: float, interval: tuple[float, float] | None) -> str:
    bounds = " to ".join(_value(records, records.result.metric, bound) for bound in interval or ())
    return _value(records, records.result.metric, value) + (f" (95 % interval: {bounds})" if bounds else "")


def _value(records: RunRecords, metric: str, value: float | None) -> str:
    return UNDEFINED if value is None else shown(value, metric in records.shares)


def scores(records: RunRecords) -> Iterator[Block]:
    """Show every metric, and each label by itself."""
    parts = {part: records.metrics[part] for part in PARTS if records.metrics[part]}
    names = dict.fromkeys(name for found in parts.values() for name in found["values"])
    rows = [(name, *(_value(records, name, found["values"].get(name)) for found in parts.values())) for name in names]
    yield Table(("metric", *(PARTS[part] for part in parts)), tuple(rows), "Every metric")
    for part, found in parts.items():
        yield from _each_label(found["labels"], PARTS[part])


def _each_label(labels: Sequence[Mapping[str, Any]], part: str) -> Iterator[Block]:
    if not labels:
        return
    by, ascending = ("f1", 1) if "f1" in labels[0] else ("rmse", -1)
    caption = f"Each label by itself, {part} pictures"
    is_cut = len(labels) > MOST_LABELS
    if is_cut:
        caption = f"The {MOST_LABELS} labels with the worst {by}, of {len(labels):,}, {part} pictures"
        undefined = (True, 0.0)
        order = [(False, ascending * label[by]) if label[by] is not None else undefined for label in labels]
        worst = sorted(range(len(labels)), key=order.__getitem__)[:MOST_LABELS]
        labels = [labels[number] for number in worst]
    columns = list(labels[0])
    rows = tuple(tuple(_cell(label[column]) for column in columns) for label in labels)
    yield Table(tuple(column.replace("_", " ") for column in columns), rows, caption)
    if is_cut:
        yield Paragraph(f"All labels are in {METRICS}.")


def _cell(value: object) -> str:
    if value is None:
        return UNDEFINED
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def learning_curves(records: RunRecords) -> Iterator[Block]:
    """Show losses and the monitored metric over the epochs; nothing without epochs."""
    curve = records.run / run_folder.CURVE
    if not records.history or not curve.is_file():
        return
    monitor, last = records.result.monitor, records.history[-1]
    yield Figure(
        curve.read_bytes(),
        f"Training loss, validation loss and validation {monitor} over {len(records.history)} epochs, which end at "
        f"{float(last['train_loss']):.3f}, {float(last['valid_loss']):.3f} and "
        f"{_value(records, monitor, float(last[monitor]))}.",
    )


def calibration(records: RunRecords) -> Iterator[Block]:
    """Say how far the confidence of the answers is from being right; values have none."""
    result = records.result
    if result.ece_before is None or result.ece_after is None:
        return
    yield Table(
        ("what", "is"),
        (
            ("temperature", f"{result.temperature:.3f}"),
            ("expected calibration error without it", f"{result.ece_before:.3f}"),
            ("expected calibration error with it", f"{result.ece_after:.3f}"),
            *_abstaining(records),
        ),
        "Confidence, on the validation pictures that the temperature was fitted to",
    )
    if records.task == "multi-label":
        rows = tuple((label, f"{records.contract.threshold_of(label):.3f}") for label in records.labels)
        yield Table(("label", "threshold"), rows, "Probability from which a label is given")


def _abstaining(records: RunRecords) -> Iterator[tuple[str, str]]:
    found = records.metrics["valid"]
    if found["coverage"] is not None:
        yield "share of pictures that the model answers", f"{found['coverage']:.1%}"
    if found["precision"] is not None:
        yield "share of these answers that is right", f"{found['precision']:.1%}"
