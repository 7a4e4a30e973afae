"""What the labels look like: training pictures of each, and how many there are; of values, from low to high."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from finetune.data.findings import labels_of
from finetune.data.leaks import NAMES
from finetune.data.targets import example_of
from finetune.report.album import Album, spread
from finetune.report.wording import MOST_NAMED, few
from finetune.types import Block, Gallery, Paragraph, Picture, RunRecords

MOST_OF_A_LABEL = 5
MOST_LABELS = 200
"""So many labels are shown, all of them."""
WORST_LABELS = 100
"""Where there are more than ``MOST_LABELS``, so many are shown."""
MOST_BYTES = 1_100_000
"""Of all pictures together: further pictures of each label are added while they fit, beyond the first."""
FEW_LABELS = 4
"""Up to so many labels have large pictures; the sheets of more stand side by side."""
SIDES_PX = {FEW_LABELS: 176, 24: 128, 60: 104, MOST_LABELS: 80}
"""Sides of the pictures for up to so many labels."""
VALUES_SIDE_PX = 128
MOST_VALUES = 12
STEPS = 9
"""Pictures from the lowest to the highest value."""

Pictures = dict[str, list[Picture]]


def classes(records: RunRecords) -> Iterator[Block]:
    """Show training pictures of each label, with the number of its pictures in each part.

    Fewer of each where there are many labels, and only the labels that the model finds worst where there are more than
    ``MOST_LABELS``. For values, show pictures evenly from the lowest to the highest.
    """
    if records.task == "regression":
        yield from _values(records)
        return
    labels = _chosen(records)
    side_px = next(side for most, side in SIDES_PX.items() if len(labels) <= most)
    album, counts = Album(records, side_px), _Counts(records)
    pictures = _sheets(album, {label: counts.training[label] for label in labels})
    yield from album.note()
    if len(labels) < len(records.labels):
        yield Paragraph(
            f"Of {len(records.labels):,} labels the {len(labels)} with the lowest recall are shown, the worst first."
        )
    yield from _absent([label for label in labels if not pictures[label]])
    yield from _galleries(pictures, counts)


def _galleries(pictures: Pictures, counts: _Counts) -> Iterator[Block]:
    """Yield the pictures of each label that has any; of many labels, small ones side by side."""
    are_many = len(pictures) > FEW_LABELS
    if are_many:
        yield Paragraph("Training pictures of each label, and how many pictures of it each part has.")
    for label, of in pictures.items():
        if of:
            caption = f"{label}: {counts.said(label)}" + ("" if are_many else " pictures")
            yield Gallery(tuple(of), caption, compact=are_many)


class _Counts:
    """The training pictures of each label, by their paths, and how many pictures of it each part has."""

    def __init__(self, records: RunRecords) -> None:
        self.training: dict[str, list[str]] = defaultdict(list)
        self._parts: dict[str, Counter[str]] = {part: Counter() for part in NAMES}
        for row in records.split:
            for label in labels_of(example_of(Path(row["path"]), row["label"], records.task)):
                self._parts[row["part"]][label] += 1
                if row["part"] == "train":
                    self.training[label].append(row["path"])

    def said(self, label: str) -> str:
        """Return how many pictures of a label each part has, without parts that are empty altogether."""
        return ", ".join(f"{self._parts[part][label]:,} {name}" for part, name in NAMES.items() if self._parts[part])


def _chosen(records: RunRecords) -> list[str]:
    """Return the labels that are shown: all, or those with the lowest recall; those without any come last."""
    if len(records.labels) <= MOST_LABELS:
        return list(records.labels)
    recalls = {each["label"]: each["recall"] for each in records.metrics["valid"]["labels"]}
    order = {label: np.inf if recalls.get(label) is None else recalls[label] for label in records.labels}
    return sorted(records.labels, key=order.__getitem__)[:WORST_LABELS]


def _sheets(album: Album, paths: dict[str, list[str]]) -> Pictures:
    """Return pictures of each label, one more of each in every round, as long as another round fits."""
    picked = {label: [of[at] for at in spread(len(of), MOST_OF_A_LABEL)] for label, of in paths.items()}
    found: Pictures = {label: [] for label in paths}
    for number in range(MOST_OF_A_LABEL):
        before = album.bytes
        album.prefetch(of[number] for of in picked.values() if number < len(of))
        for label, of in picked.items():
            if number < len(of):
                found[label].append(album.picture(of[number], f"A training picture of {label}"))
        if album.bytes + (album.bytes - before) > MOST_BYTES:
            break
    return found


def _absent(labels: Sequence[str]) -> Iterator[Paragraph]:
    if labels:
        yield Paragraph(f"No training picture shows {few(labels, MOST_NAMED)}.")


def _values(records: RunRecords) -> Iterator[Block]:
    rows = [row for row in records.split if row["part"] == "train"]
    if not rows:
        return
    album = Album(records, VALUES_SIDE_PX)
    values = np.array([example_of(Path(row["path"]), row["label"], "regression").values for row in rows])  # (N, K)
    paths = [row["path"] for row in rows]
    sheets = [_quantiles(album, paths, values[:, at], name) for at, name in enumerate(records.labels[:MOST_VALUES])]
    yield from album.note()
    yield from sheets
    if len(records.labels) > MOST_VALUES:
        yield Paragraph(f"The first {MOST_VALUES} of {len(records.labels)} values are shown.")


def _quantiles(album: Album, paths: Sequence[str], values: np.ndarray, name: str) -> Gallery:
    order = np.argsort(values, kind="stable")
    pictures = []
    for at in order[spread(len(order), STEPS)].tolist():
        text = f"{name}: {values[at]:.4g}"
        pictures.append(album.picture(paths[at], f"A training picture, {text}", (text,)))
    return Gallery(tuple(pictures), f"{name}, from the lowest to the highest of {len(paths):,} training pictures")
