"""How far the confidence of the answers can be trusted; values have none."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from finetune.evaluation.reliability import Reliability, reliability, without_temperature
from finetune.report.answers import Finite, finite_of
from finetune.types import Block, Figure, Paragraph, RunRecords, Table


def calibration(records: RunRecords) -> Iterator[Block]:
    """Draw how often answers of each confidence are right, with and without the temperature, and show the numbers."""
    result = records.result
    if result.ece_before is None or result.ece_after is None:
        return
    found = finite_of(records)
    yield from found.notes
    if len(found.targets):
        yield from _drawn(records, found)
    yield Table(("what", "is"), tuple(_facts(records)), _CAPTION, sortable=False)
    if records.task == "multi-label":
        rows = tuple((label, f"{records.contract.threshold_of(label):.3f}") for label in records.labels)
        yield Table(("label", "threshold"), rows, "Probability from which a label is given")


_CAPTION = "Confidence, on the validation pictures that the temperature was fitted to"


def _drawn(records: RunRecords, found: Finite) -> Iterator[Block]:
    from finetune.charts import reliability_diagram

    task, temperature = records.task, records.result.temperature
    after, before = reliability(task, found.answers, found.targets), None
    if temperature != 1:
        undone = without_temperature(task, found.answers, temperature)
        before = reliability(task, undone, found.targets)
    yield Paragraph(_said(records, after))
    drawn = reliability_diagram(after, before)
    what = "What share of answers is right, over their confidence"
    beside = ", with the temperature and without it" if before else ""
    yield Figure(drawn.light, f"{what}{beside}, and how many answers there are. The table says the same.", drawn.dark)
    yield _bins(records, after)


def _said(records: RunRecords, after: Reliability) -> str:
    """Say whether the model is too sure of itself on average, and whether the temperature helped."""
    weights, result = after.counts / after.counts.sum(), records.result
    sure, right = np.nansum(weights * after.confidence), np.nansum(weights * after.right)
    if records.task == "single-label":
        said = f"On average the model is {sure:.1%} sure of its answers, and {right:.1%} of them are right."
    else:
        said = f"On average a label is given a probability of {sure:.1%}, and shown by {right:.1%} of the pictures."
    said += " Below the diagonal it promises more than it holds, above it less; the larger a dot, the more answers."
    if result.ece_before is not None and result.ece_after is not None and result.ece_after > result.ece_before:
        said += " The temperature is the one with the lowest log loss; the calibration error has not fallen by it."
    return said


def _bins(records: RunRecords, found: Reliability) -> Table:
    edges = pairwise(np.linspace(0, 1, len(found.counts) + 1))
    rows = tuple(
        (f"{low:.0%} to {high:.0%}", f"{count:,}", f"{confidence:.1%}", f"{right:.1%}")
        for (low, high), count, confidence, right in zip(
            edges, found.counts, found.confidence, found.right, strict=True
        )
        if count
    )
    what = "answers" if records.task == "single-label" else "labels of pictures"
    return Table(("confidence", what, "on average", "right"), rows, "How often answers of each confidence are right")


def _facts(records: RunRecords) -> Iterator[tuple[str, str]]:
    result, found = records.result, records.metrics.get("valid") or {}
    yield "temperature", f"{result.temperature:.3f}"
    yield "expected calibration error without it", f"{result.ece_before:.3f}"
    yield "expected calibration error with it", f"{result.ece_after:.3f}"
    if found.get("coverage") is not None:
        yield "share of pictures that the model answers", f"{found['coverage']:.1%}"
    if found.get("precision") is not None:
        yield "share of these answers that is right", f"{found['precision']:.1%}"
