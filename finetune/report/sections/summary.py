"""The run at a glance: how good the model is, what it is held against, and what it was made of."""

from __future__ import annotations

import math
from collections.abc import Iterator

from finetune.evaluation.baselines import Baseline
from finetune.report.against import compared, constant_named, constant_of, standing
from finetune.report.wording import counted, interval_of, value_of
from finetune.types import Block, Paragraph, RunRecords, Table

LABELS = {"single-label": "class", "multi-label": "label", "regression": "value"}


def summary(records: RunRecords) -> Iterator[Block]:
    """Say how good the model is in one sentence; then against what, made of what, and why it went as far as it did."""
    found, result = constant_of(records), records.result
    yield Paragraph(_headline(records, found))
    yield from (Paragraph(text) for text in _how_sure(records))
    yield from standing(records, found)
    yield Paragraph(result.verdict)
    yield from compared(records, found)
    yield Table(("what", "is"), tuple(_facts(records)), "The run at a glance", sortable=False)
    yield from (Paragraph(text) for text in (*result.reasons, *result.notes))


# ── in a sentence ───────────────────────────────────────────────────────────────────────────────────


def _headline(records: RunRecords, found: Baseline | None) -> str:
    result, pictures = records.result, counted(len(records.targets), "validation picture")
    if not len(records.targets):
        return "There were no validation pictures, so nothing is known of how good the model is."
    if math.isnan(result.value):
        return f"How good the model is remains unknown: {result.metric} is undefined on its {pictures}."
    said = _reached(records, result.value, pictures, result.interval)
    if found is None or math.isnan(found.value):
        return f"{said}."
    there = value_of(records, found.metric, found.value)
    verb = "be right on" if records.task == "single-label" else "reach"
    return f"{said}; {constant_named(records, found)} would {verb} {there}."


def _reached(records: RunRecords, value: float, pictures: str, interval: tuple[float, float] | None) -> str:
    metric = records.result.metric
    reached, bounds = value_of(records, metric, value), interval_of(records, metric, interval)
    if records.task == "single-label":
        return f"Right on {'all' if value == 1 else f'{reached} of'} {pictures}{bounds}"
    name = "A mean average precision of" if records.task == "multi-label" else "Of a possible 1, an r2 of"
    return f"{name} {reached} on {pictures}{bounds}"


def _how_sure(records: RunRecords) -> Iterator[str]:
    """Say what the test part says, or that there is none."""
    result = records.result
    if result.metric in result.test_scores:
        value, pictures = result.test_scores[result.metric], counted(result.test_images, "test picture")
        said = _reached(records, value, pictures, result.test_interval)
        yield f"{said}, which were looked at once, by the exported file, and by which nothing was chosen."
    elif len(records.targets) and not result.test_images:
        yield (
            "What was kept was chosen on the same pictures, which flatters a little; --test-share sets pictures aside "
            "by which nothing is chosen."
        )


# ── in a table ──────────────────────────────────────────────────────────────────────────────────────


def _facts(records: RunRecords) -> Iterator[tuple[str, str]]:
    result, side = records.result, records.contract.preprocessing.image_size_px
    yield "data", f"{result.dataset}: {_labels(records)}, {_pictures(records)}"
    yield "network", f"{result.backbone}, weights: {result.weights}"
    yield "what it sees of a picture", f"{side} × {side} pixels"
    yield "strategy", result.strategy
    yield from _phases(records)
    yield f"validation {result.metric}", _score(records, result.value, result.interval)
    if result.metric in result.test_scores:
        yield f"test {result.metric}", _score(records, result.test_scores[result.metric], result.test_interval)
    yield f"{result.metric} of the exported file", value_of(records, result.metric, result.exported_value)
    yield "model", f"{result.onnx.name}, {result.onnx_bytes / 1e6:.1f} MB"
    yield "time", _time(records)


def _labels(records: RunRecords) -> str:
    noun, number = LABELS[records.task], len(records.labels)
    return f"{number:,} classes" if noun == "class" and number != 1 else counted(number, noun)


def _pictures(records: RunRecords) -> str:
    result = records.result
    said = f"{result.train_images:,} training and {counted(result.valid_images, 'validation picture')}"
    return said + (f", {counted(result.test_images, 'test picture')}" if result.test_images else "")


def _phases(records: RunRecords) -> Iterator[tuple[str, str]]:
    result = records.result
    for name, value in result.phases.items():
        reached = f"{result.monitor} {value_of(records, result.monitor, value)}"
        yield f"phase '{name}'", reached + (", kept" if name == result.kept else "")


def _score(records: RunRecords, value: float, interval: tuple[float, float] | None) -> str:
    metric = records.result.metric
    return value_of(records, metric, value) + interval_of(records, metric, interval)


def _time(records: RunRecords) -> str:
    seconds = records.result.seconds
    stages = [f"{name} {took:.1f}\u00a0s" for name, took in seconds.items() if name != "total" and took >= 0.05]
    return f"{seconds['total']:.0f} s" + (f": {', '.join(stages)}" if stages else "")
