"""Which labels are taken for which others; for single labels, of which each picture is given one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from finetune.evaluation import mistakes
from finetune.report.answers import Finite, finite_of
from finetune.report.wording import counted
from finetune.types import Block, Confusion, Paragraph, RunRecords, Table

MOST_LABELS = 1000
"""Up to which there is a matrix: it has as many numbers as their square."""
MOST_PAIRS = 50


def confusion(records: RunRecords) -> Iterator[Block]:
    """Show the confusion matrix, and the pairs of labels that are confused most; nothing for other tasks."""
    if records.task != "single-label":
        return
    found = finite_of(records)
    yield from found.notes
    if not len(found.targets):
        return
    if len(records.labels) > MOST_LABELS:
        yield Paragraph(f"With {len(records.labels):,} labels, a confusion matrix is too large for a page.")
    else:
        counts = tuple(map(tuple, mistakes.confusion(found.answers, found.targets).tolist()))
        caption = f"{counted(len(found.targets), 'validation picture')}: what they show, and what the model answered"
        yield Confusion(records.labels, counts, caption)
    yield from _pairs(records, found)


def _pairs(records: RunRecords, found: Finite) -> Iterator[Block]:
    pairs = mistakes.confused_pairs(found.answers, found.targets)
    if not pairs:
        yield Paragraph(f"Not one of {counted(len(found.targets), 'validation picture')} was given a wrong label.")
        return
    shown = np.bincount(found.targets, minlength=len(records.labels))
    rows = tuple(
        (
            *(records.labels[pair.truth], records.labels[pair.answer], f"{pair.pictures:,}"),
            f"{pair.pictures / shown[pair.truth]:.1%}",
        )
        for pair in pairs[:MOST_PAIRS]
    )
    which = f"The {MOST_PAIRS} pairs of labels that are confused most, of {len(pairs):,}"
    caption = which if len(pairs) > MOST_PAIRS else "Which labels are taken for which others"
    yield Table(("shows", "taken for", "pictures", "share of what shows it"), rows, caption)
