"""The audit: read every picture once before training, name those that cannot be used, and fingerprint the rest."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from finetune.data.findings import (
    ACROSS_PARTS,
    Finding,
    by_kind,
    class_counts,
    find,
    imbalance,
    labels_of,
    sentence,
)
from finetune.data.reading import Checked, Refused, read_all
from finetune.data.targets import text_of
from finetune.errors import DataError
from finetune.types import Dataset, Reporter, Task
from finetune_export.image import Limits

__all__ = ["Audit", "Checked", "Refused", "audit", "class_counts", "inspect", "refuse_unusable"]

MOST_NAMED = 10
"""So many unreadable pictures are named to the user; the record of the run names all."""
LARGEST_IMBALANCE = 10
"""Labels whose numbers of pictures differ by more than this factor are noted."""
SAID_ELSEWHERE = ("unreadable", *ACROSS_PARTS, "turned")
"""Kinds of finding that a run does not note here: by name, as a leak of the split, or not at all, being harmless."""


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The result: what can be trained on, what is left out, and the sha256 over labels, parts and contents.

    ``findings`` is what a person may want to look at.
    """

    checked: tuple[Checked, ...]
    refused: tuple[Refused, ...]
    fingerprint: str
    findings: tuple[Finding, ...] = ()

    def notes(self) -> list[str]:
        """Return the sentences the user should read: what was left out, then one per kind of finding."""
        notes = [f"Left out {refused.example.path}: {refused.reason}" for refused in self.refused[:MOST_NAMED]]
        if len(self.refused) > MOST_NAMED:
            notes.append(f"Left out {len(self.refused) - MOST_NAMED} more that cannot be read.")
        kinds = by_kind(self.findings)
        notes += [sentence(found) for kind, found in kinds.items() if kind not in SAID_ELSEWHERE]
        return notes + self.imbalance_notes()

    def class_counts(self) -> dict[str, int]:
        """Return the number of readable pictures per label."""
        return class_counts(checked.example for checked in self.checked)

    def imbalance_notes(self) -> list[str]:
        """Return a sentence where labels have very different numbers of pictures."""
        counts = self.class_counts()
        if imbalance(counts) <= LARGEST_IMBALANCE:
            return []
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        return [
            f"'{most}' has {counts[most]} pictures and '{least}' {counts[least]}: judge the labels one by one, and "
            "consider --imbalance."
        ]


def audit(dataset: Dataset, max_unreadable: float, reporter: Reporter, limits: Limits | None = None) -> Audit:
    """Read every picture of the data set, and refuse what cannot be trained on, as ``refuse_unusable`` does."""
    audited = inspect(dataset, reporter, limits)
    refuse_unusable(audited, dataset, max_unreadable)
    return audited


def inspect(dataset: Dataset, reporter: Reporter, limits: Limits | None = None) -> Audit:
    """Read every picture of the data set, whatever comes of it.

    Raises ``DataError`` when the data set's labels or values are not those of its pictures.
    """
    _refuse_unlisted_labels(dataset)
    _refuse_other_values(dataset)
    reporter.begin("Reading pictures", len(dataset.examples), "pictures")
    checked: list[Checked] = []
    refused: list[Refused] = []
    for outcome in read_all(dataset.examples, limits or Limits()):
        (checked if isinstance(outcome, Checked) else refused).append(outcome)  # type: ignore[arg-type]
        reporter.advance()
    reporter.end()
    return Audit(
        checked=tuple(checked),
        refused=tuple(refused),
        fingerprint=_fingerprint(checked, dataset.task),
        findings=find(checked, refused, dataset.task),
    )


def refuse_unusable(audited: Audit, dataset: Dataset, max_unreadable: float) -> None:
    """Raise ``DataError`` for pictures that cannot be trained on.

    That is when more than the share ``max_unreadable`` cannot be read, or a class has no readable picture left.
    """
    if dataset.task != "regression":
        _refuse_emptied_classes(dataset, audited)
    _refuse_too_many(audited.refused, len(dataset.examples), max_unreadable)
    if not audited.checked:
        raise DataError(f"The data set '{dataset.name}' has no readable picture. Check --data.")


def _refuse_unlisted_labels(dataset: Dataset) -> None:
    listed = set(dataset.labels)
    for example in dataset.examples:
        for label in labels_of(example):
            if label not in listed:
                raise DataError(
                    f"{example.path} has the label '{label}', which the data set '{dataset.name}' does not list."
                )


def _refuse_other_values(dataset: Dataset) -> None:
    needed = len(dataset.labels) if dataset.task == "regression" else 0
    for example in dataset.examples:
        if len(example.values) != needed or not all(map(math.isfinite, example.values)):
            shown = ", ".join(map(str, example.values)) or "none"
            raise DataError(
                f"{example.path} has the values {shown}; the data set '{dataset.name}' needs {needed} finite number(s)."
            )


def _refuse_emptied_classes(dataset: Dataset, audited: Audit) -> None:
    readable = audited.class_counts()
    for label in dataset.labels:
        if label not in readable:
            broken = next((r for r in audited.refused if label in labels_of(r.example)), None)
            if broken is None:
                raise DataError(f"The class '{label}' has no pictures. Add some, or remove the class.")
            raise DataError(
                f"The class '{label}' has no readable picture: {broken.example.path}: {broken.reason}. "
                "Add readable pictures (JPEG, PNG, WebP, BMP, GIF), or remove the class."
            )


def _refuse_too_many(refused: Sequence[Refused], total: int, allowed: float) -> None:
    if refused and len(refused) / total > allowed:
        raise DataError(
            f"{len(refused)} of {total} pictures cannot be read, more than {allowed * 100:g}%; first "
            f"{refused[0].example.path}: {refused[0].reason}. Remove or repair them, or allow more with "
            "--max-unreadable."
        )


def _fingerprint(checked: Sequence[Checked], task: Task) -> str:
    rows = sorted((c.sha256, c.example.part or "", text_of(c.example, task)) for c in checked)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
