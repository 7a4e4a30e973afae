"""The audit: read every picture once before training, name those that cannot be used, and fingerprint the rest."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from finetune.errors import DataError, ImageError
from finetune.types import Dataset, Example, Reporter
from finetune_export import image
from finetune_export.image import Limits

AUDIT_SIDE_PX = 64
"""Scaled decoding to this side reads the whole file, so truncation is found, at a fraction of the time."""
MOST_NAMED = 10
"""So many unreadable pictures are named to the user; the record of the run names all."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A picture that decodes, the sha256 of its bytes, and what is odd about it."""

    example: Example
    sha256: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A picture that is left out, and why."""

    example: Example
    reason: str


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The result: what can be trained on, what is left out, and the sha256 over labels, parts and contents."""

    checked: tuple[Checked, ...]
    refused: tuple[Refused, ...]
    fingerprint: str

    def notes(self) -> list[str]:
        """Return the sentences the user should read: what was left out, then one per kind of oddity."""
        notes = [f"Left out {refused.example.path}: {refused.reason}" for refused in self.refused[:MOST_NAMED]]
        if len(self.refused) > MOST_NAMED:
            notes.append(f"Left out {len(self.refused) - MOST_NAMED} more that cannot be read.")
        return notes + self._oddities() + self._contradictions()

    def _oddities(self) -> list[str]:
        kinds: dict[str, list[str]] = {}
        for checked in self.checked:
            for note in checked.notes:
                kind = note.partition(":")[0]  # what follows differs from picture to picture
                kinds.setdefault(kind, []).append(f"{checked.example.path}: {note}")
        return [f"{len(found)} picture(s), first {found[0]}" for found in kinds.values()]

    def _contradictions(self) -> list[str]:
        first: dict[str, Example] = {}
        pairs = [
            (twin, checked.example)
            for checked in self.checked
            if (twin := first.setdefault(checked.sha256, checked.example)).label != checked.example.label
        ]
        if not pairs:
            return []
        a, b = pairs[0]
        return [f"{len(pairs)} picture(s) also lie under another label, first {a.path} = {b.path}."]


def audit(dataset: Dataset, max_unreadable: float, reporter: Reporter, limits: Limits | None = None) -> Audit:
    """Read every picture of the data set.

    Raises ``DataError`` when more than the share ``max_unreadable`` cannot be read, when a class has no readable
    picture left, or when the data set's labels are not those of its pictures.
    """
    _refuse_unlisted_labels(dataset)
    reporter.begin("Reading pictures", len(dataset.examples))
    checked: list[Checked] = []
    refused: list[Refused] = []
    for outcome in _outcomes(dataset.examples, limits or Limits()):
        (checked if isinstance(outcome, Checked) else refused).append(outcome)  # type: ignore[arg-type]
        reporter.advance()
    reporter.end()
    _refuse_emptied_classes(dataset, checked, refused)
    _refuse_too_many(refused, len(dataset.examples), max_unreadable)
    return Audit(checked=tuple(checked), refused=tuple(refused), fingerprint=_fingerprint(checked))


def _outcomes(examples: tuple[Example, ...], limits: Limits) -> Iterator[Checked | Refused]:
    # Pillow decodes without the interpreter's lock, so threads use every core.
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        yield from threads.map(lambda example: _check(example, limits), examples)


def _check(example: Example, limits: Limits) -> Checked | Refused:
    try:
        picture = image.load(example.path, limits, draft_px=AUDIT_SIDE_PX)
        return Checked(
            example=example, sha256=hashlib.sha256(example.path.read_bytes()).hexdigest(), notes=picture.notes
        )
    except ImageError as error:
        return Refused(example=example, reason=error.reason)
    except OSError as error:  # gone or changed since it was decoded
        return Refused(example=example, reason=f"the file cannot be read ({error.strerror})")


def _refuse_unlisted_labels(dataset: Dataset) -> None:
    listed = set(dataset.labels)
    for example in dataset.examples:
        if example.label not in listed:
            raise DataError(
                f"{example.path} has the label '{example.label}', which the data set '{dataset.name}' does not list."
            )


def _refuse_emptied_classes(dataset: Dataset, checked: list[Checked], refused: list[Refused]) -> None:
    readable = {outcome.example.label for outcome in checked}
    for label in dataset.labels:
        if label not in readable:
            first = next((r for r in refused if r.example.label == label), None)
            if first is None:
                raise DataError(f"The class '{label}' has no pictures. Add some, or remove the class.")
            raise DataError(
                f"The class '{label}' has no readable picture: {first.example.path}: {first.reason}. "
                "Add readable pictures (JPEG, PNG, WebP, BMP, GIF), or remove the class."
            )


def _refuse_too_many(refused: list[Refused], total: int, allowed: float) -> None:
    if refused and len(refused) / total > allowed:
        first = refused[0]
        raise DataError(
            f"{len(refused)} of {total} pictures cannot be read, more than {allowed * 100:g}%; first "
            f"{first.example.path}: {first.reason}. Remove or repair them, or allow more with --max-unreadable."
        )


def _fingerprint(checked: list[Checked]) -> str:
    rows = sorted((c.sha256, c.example.part or "", c.example.label) for c in checked)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def class_counts(examples: tuple[Example, ...] | list[Example]) -> dict[str, int]:
    """Return the number of pictures per label."""
    return dict(Counter(example.label for example in examples))
