"""What an audit finds: one finding for each picture, or family of pictures, that a person may want to look at."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetune.data.likeness import look_alikes
from finetune.data.reading import HUGE_PIXELS, TINY_SIDE_PX, Checked, Refused
from finetune.data.targets import text_of
from finetune.types import Example, Task

KINDS = {
    "unreadable": "cannot be read",
    "conflict": "have another label or value than an equal one",
    "duplicate": "are there more than once",
    "duplicate-across-parts": "are there more than once, in several parts",
    "near-conflict": "have another label than one that they nearly equal",
    "near-duplicate": "nearly equal another one",
    "near-duplicate-across-parts": "nearly equal one in another part",
    "same-name": "have a name that differs from another only in upper and lower case",
    "tiny": f"have a side of less than {TINY_SIDE_PX} pixels",
    "huge": f"have more than {HUGE_PIXELS // 10**6} million pixels, which slows every epoch down",
    "wrong-name": "are named as another format than they are",
    "animated": "are animated, and only the first frame is used",
    "turned": "are turned upright by their EXIF orientation",
}
"""The kinds of finding, in the order of their weight, and what is to be said of the pictures."""
CONFLICTS = ("conflict", "near-conflict")
ACROSS_PARTS = ("duplicate-across-parts", "near-duplicate-across-parts")
FAMILIES = (*CONFLICTS, *ACROSS_PARTS, "duplicate", "near-duplicate", "same-name")
"""The kinds whose findings are of several pictures that belong together, the first of which is as it should be."""
LISTED_TWICE = {
    "conflict": "listed with other labels or values",
    "duplicate-across-parts": "listed in several parts",
    "duplicate": "listed twice",
}
"""What is said of a family where its pictures are one file: a table may name one in several rows."""
MOST_PICTURES = 200
"""A run writes down no more pictures of one kind of finding; ``finetune audit`` names all of them."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One finding: its kind, the pictures that it is about, and what there is to say beside the kind."""

    kind: str
    pictures: tuple[Example, ...]
    detail: str = ""


def find(checked: Sequence[Checked], refused: Sequence[Refused], task: Task) -> tuple[Finding, ...]:
    """Return all findings, in the order of ``KINDS``.

    A family of equal pictures makes one finding, of the gravest kind: a conflict of labels before a duplicate. That
    values of nearly equal pictures differ is no conflict.
    """
    found = [
        *(Finding(kind="unreadable", pictures=(r.example,), detail=r.reason) for r in refused),
        *_equal(checked),
        *_alike(checked, task),
        *_same_names(checked),
        *_oddities(checked),
    ]
    order = list(KINDS)
    return tuple(sorted(found, key=lambda finding: order.index(finding.kind)))


def by_kind(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Return the findings of each kind that there is."""
    found: dict[str, list[Finding]] = {}
    for finding in findings:
        found.setdefault(finding.kind, []).append(finding)
    return found


def count(findings: Iterable[Finding]) -> int:
    """Return how many pictures findings are about: of a family, all but the first and, in a conflict, its like."""
    return sum(len(_questionable(finding)) for finding in findings)


def first(findings: Sequence[Finding]) -> str:
    """Return the first of the findings of one kind in a few words."""
    finding = findings[0]
    other = _like(finding) if finding.kind in FAMILIES else ""
    return f"{finding.pictures[0].path}{other}" + (f": {finding.detail}" if finding.detail else "")


def _like(finding: Finding) -> str:
    other = _questionable(finding)[0].path
    if other == finding.pictures[0].path and finding.kind in LISTED_TWICE:
        return f", {LISTED_TWICE[finding.kind]}"
    sign = " ≈ " if finding.kind.startswith("near-") else " and " if finding.kind == "same-name" else " = "
    return f"{sign}{other}"


def sentence(findings: Sequence[Finding]) -> str:
    """Return what a person should read of the findings of one kind."""
    return f"{count(findings)} picture(s) {KINDS[findings[0].kind]}, first {first(findings)}."


def _questionable(finding: Finding) -> list[Example]:
    if finding.kind in CONFLICTS:
        right = what_it_shows(finding.pictures[0])
        return [example for example in finding.pictures if what_it_shows(example) != right]
    return list(finding.pictures[1:] if finding.kind in FAMILIES else finding.pictures)


def what_it_shows(example: Example) -> Hashable:
    """Return a picture's label, labels or values, so that equal answers are equal."""
    return example.label, frozenset(example.labels), example.values


def as_record(finding: Finding, task: Task) -> dict[str, Any]:
    """Return a finding as it is written down: its ``kind``, a ``detail``, and its ``pictures``.

    Each of these has ``path``, ``shows`` (label, labels separated by '|', or values), ``part`` and ``group``.
    """
    pictures = [{"path": e.path, "shows": text_of(e, task), "part": e.part, "group": e.group} for e in finding.pictures]
    return {"kind": finding.kind, "detail": finding.detail, "pictures": pictures}


def first_of_each_kind(findings: Iterable[Finding]) -> list[Finding]:
    """Return the first findings of each kind, until they are about ``MOST_PICTURES`` pictures."""
    kept, pictures = list[Finding](), Counter[str]()
    for finding in findings:
        if pictures[finding.kind] < MOST_PICTURES:
            kept.append(replace(finding, pictures=finding.pictures[:MOST_PICTURES]))
        pictures[finding.kind] += len(finding.pictures)
    return kept


def class_counts(examples: Iterable[Example]) -> dict[str, int]:
    """Return the number of pictures per label; a picture of several labels counts for each, one of values for none."""
    return dict(Counter(label for example in examples for label in labels_of(example)))


def labels_of(example: Example) -> tuple[str, ...]:
    """Return the labels that a picture has: one, several, or none."""
    return example.labels or ((example.label,) if example.label else ())


def imbalance(counts: dict[str, int]) -> float:
    """Return how many times as many pictures the most frequent label has as the rarest; 1 where there are none."""
    return max(counts.values()) / max(1, min(counts.values())) if counts else 1.0


# ── one kind after the other ────────────────────────────────────────────────────────────────────────


def _equal(checked: Sequence[Checked]) -> Iterator[Finding]:
    for family in _gathered(checked, lambda picture: picture.sha256):
        yield _family("", [picture.example for picture in family])


def _alike(checked: Sequence[Checked], task: Task) -> Iterator[Finding]:
    # Of equal pictures the first stands for all: that they are equal has been said.
    first_of: dict[str, Checked] = {}
    for picture in checked:
        first_of.setdefault(picture.sha256, picture)
    distinct = list(first_of.values())
    for family in look_alikes([picture.likeness for picture in distinct]):
        yield _family("near-", [distinct[at].example for at in family], conflicts=task != "regression")


def _family(nearness: str, pictures: list[Example], conflicts: bool = True) -> Finding:
    several_answers = len({what_it_shows(example) for example in pictures}) > 1
    several_parts = len({example.part for example in pictures}) > 1
    kind = "conflict" if conflicts and several_answers else "duplicate-across-parts" if several_parts else "duplicate"
    return Finding(kind=nearness + kind, pictures=tuple(pictures))


def _same_names(checked: Sequence[Checked]) -> Iterator[Finding]:
    distinct = {str(picture.example.path): picture for picture in checked}.values()  # a table may name one twice
    for family in _gathered(distinct, lambda p: unicodedata.normalize("NFC", str(p.example.path)).casefold()):
        yield Finding(kind="same-name", pictures=tuple(picture.example for picture in family))


def _oddities(checked: Sequence[Checked]) -> Iterator[Finding]:
    for picture in checked:
        for note in picture.notes:
            kind, _, detail = note.partition(": ")
            yield Finding(kind=kind, pictures=(picture.example,), detail=detail)


def _gathered(checked: Iterable[Checked], key: Callable[[Checked], str]) -> list[list[Checked]]:
    """Return those that have their key in common with others."""
    found: dict[str, list[Checked]] = {}
    for picture in checked:
        found.setdefault(key(picture), []).append(picture)
    return [family for family in found.values() if len(family) > 1]
