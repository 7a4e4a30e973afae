"""A confusion matrix as a table: counts as texts, their share of the row as a tint, several orders to choose from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

from finetune.report.markup.tables import TALL_ROWS
from finetune.report.markup.texts import as_json, breakable, escaped
from finetune.types import Confusion

MOST_LABELS = 150
"""Up to here a matrix is shown whole."""
WORST_LABELS = 100
"""Of a larger one, those with the most mistakes."""
FEW_LABELS = 6
"""Up to here the cells of a matrix are large, and the names above them lie."""
MOST_ON_PAPER = 30
"""Labels of a matrix that fits on paper."""
_TINTS = 5

Counts = NDArray[np.int64]


def confusion_markup(confusion: Confusion, title: str) -> str:
    """Return the table of a confusion matrix; rows are what is true, columns what was answered."""
    whole = np.array(confusion.counts, np.int64)
    chosen = _chosen(whole)
    labels = [confusion.labels[at] for at in chosen]
    counts = whole[np.ix_(chosen, chosen)]
    kinds = _kinds(counts, whole[chosen].sum(axis=1))
    rows = "\n".join(map(_row, labels, counts.tolist(), kinds))
    name, orders = escaped(confusion.caption or title), escaped(as_json(_orders(tuple(labels), counts)))
    size = " large" if len(labels) > MOST_ON_PAPER else " small" if len(labels) <= FEW_LABELS else ""
    tall = " tall" if len(labels) > TALL_ROWS else ""
    return (
        f'<p class="caption" dir="auto">{name}</p>\n<div class="matrix{size}">\n'
        f'<div class="scroll{tall}" role="region" tabindex="0" aria-label="{name}">\n'
        f'<table data-orders="{orders}" aria-label="{name}">\n{_head(labels)}\n'
        f"<tbody>\n{rows}\n</tbody>\n</table>\n</div>\n"
        f"{_on_paper(len(labels))}</div>{_cut(len(labels), len(whole))}"
    )


def _head(labels: Sequence[str]) -> str:
    heads = "".join(f'<th scope="col"><span dir="auto">{breakable(label)}</span></th>' for label in labels)
    return f'<thead><tr><th class="corner">is ↓ &nbsp; answered →</th>{heads}</tr></thead>'


def _on_paper(labels: int) -> str:
    if labels <= MOST_ON_PAPER:
        return ""
    return f'<p class="paper quiet">The matrix of {labels} labels is too wide for paper; a screen shows it.</p>\n'


def _chosen(counts: Counts) -> list[int]:
    """Return which labels are shown, in the order as given."""
    if len(counts) <= MOST_LABELS:
        return list(range(len(counts)))
    worst = np.argsort(-_mistakes(counts), kind="stable")[:WORST_LABELS]
    return sorted(worst.tolist())


def _mistakes(counts: Counts) -> Counts:
    """Return in how many mistakes each label has a part: those of its pictures, and those that were taken for it."""
    wrong: Counts = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    return wrong


def _cut(shown: int, labels: int) -> str:
    if shown == labels:
        return ""
    return (
        f'\n<p class="quiet">Of {labels:,} labels the {shown} that have the largest part in mistakes are shown, and '
        "what happened among them; tints are shares of all pictures of a row.</p>"
    )


def _kinds(counts: Counts, pictures: Counts) -> list[list[str]]:
    """Return the class of each cell: right or wrong, and a tint by its share of the row's pictures."""
    levels = np.ceil(counts / np.maximum(pictures, 1)[:, None] * _TINTS).astype(int)
    kinds = np.where(np.eye(len(counts), dtype=bool), "r", "w")
    return [
        [f"{kind}{level}" if level or kind == "r" else "" for kind, level in zip(*row, strict=True)]
        for row in zip(kinds.tolist(), levels.tolist(), strict=True)
    ]


def _row(label: str, counts: Sequence[int], kinds: Sequence[str]) -> str:
    cells = (
        f'<td class="{kind}">{count}</td>' if kind else "<td>0</td>" for count, kind in zip(counts, kinds, strict=True)
    )
    return f'<tr><th scope="row"><span dir="auto">{breakable(label)}</span></th>{"".join(cells)}</tr>'


def _orders(labels: tuple[str, ...], counts: Counts) -> dict[str, list[int]]:
    """Return the orders to choose from, by what they are called."""
    names = sorted(range(len(labels)), key=lambda at: _natural(labels[at]))
    worst = np.argsort(-_mistakes(counts), kind="stable").tolist()
    return {
        "as given": list(range(len(labels))),
        "by name": names,
        "most mistakes first": worst,
        "alike side by side": list(_alike(counts.tobytes(), len(labels))),
    }


def _natural(name: str) -> list[tuple[bool, int, str, str]]:
    """Return what names are sorted by: numbers in them count as numbers, however long they are."""
    return [_part(part) for part in re.split(r"([0-9]+)", name.casefold()) if part]


def _part(text: str) -> tuple[bool, int, str, str]:
    """Return what a part of a name is sorted by; of two numbers without leading zeros the longer one is larger."""
    stripped = text.lstrip("0") if text.isdecimal() else ""
    return text.isdecimal(), len(stripped), stripped, text


@lru_cache(maxsize=8)
def _alike(counts: bytes, labels: int) -> tuple[int, ...]:
    """Return labels so that those that are taken for each other are neighbours.

    Average linkage of the shares of pictures that went from one to the other, leaves in the order in which
    neighbours are most alike (Bar-Joseph, Gifford and Jaakkola 2001, as scipy does it).
    """
    if labels < 3:
        return tuple(range(labels))
    matrix = np.frombuffer(counts, np.int64).reshape(labels, labels)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    distances = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distances, 0.0)
    condensed = squareform(distances, checks=False)
    return tuple(leaves_list(optimal_leaf_ordering(linkage(condensed, "average"), condensed)).tolist())
