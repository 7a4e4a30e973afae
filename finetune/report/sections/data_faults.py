"""What may be wrong with the data: labels that are likely errors, and what the audit found."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune import run_folder
from finetune.data.findings import (
    ACROSS_PARTS,
    FAMILIES,
    KINDS,
    LISTED_TWICE,
    MOST_PICTURES,
    Finding,
    by_kind,
    count,
)
from finetune.data.leaks import NAMES
from finetune.data.targets import example_of, text_of
from finetune.data.units import common_root
from finetune.report.album import Album, with_folder
from finetune.report.thumbnails import recorded
from finetune.types import Block, Example, Gallery, LabelError, LabelErrors, Paragraph, Picture, RunRecords, Table, Task

SIDE_PX = 144
MOST_ERRORS = 24
MOST_FAMILIES = 5
"""Families of pictures that are shown of each kind of finding."""
MOST_TOGETHER = 4
"""Pictures of a family that are shown."""
MOST_ALONE = 8
"""Pictures that are shown of a kind of finding that is about one picture each."""
UNSHOWN = ("turned",)
"""Kinds of finding that there is nothing to be seen of: every reader of pictures does what they ask for."""
MENDED = ("unreadable", "conflict", "duplicate", "duplicate-across-parts")
"""Kinds of finding that ``finetune audit --fix`` leaves out of its table."""
FIRST = ("near-duplicate", "near-duplicate-across-parts", "near-conflict")
"""Kinds of finding that are shown first: whether pictures are too much alike only a person can say."""


def data_faults(records: RunRecords) -> Iterator[Block]:
    """Show pictures that are likely labelled wrong, and what the audit found; nothing where neither was looked for."""
    album = Album(records, SIDE_PX)
    found = [*_label_errors(records, album), *_findings(records, album)]
    yield from album.note()
    yield from found


# ── labels that are likely errors ───────────────────────────────────────────────────────────────────


def _label_errors(records: RunRecords, album: Album) -> Iterator[Block]:
    errors = records.label_errors
    if errors is None:
        return
    how = f"by confident learning (Northcutt, Jiang and Chuang 2021). {errors.method}"
    if not errors.found:
        yield Paragraph(f"No likely label error was found among {errors.pictures:,} pictures, {how}")
        return
    number = f"{errors.doubted:,} were" if errors.doubted > 1 else "1 was"
    yield Paragraph(f"Among {errors.pictures:,} pictures {number} listed as likely labelled wrong, {how}")
    yield Gallery(
        tuple(_label_error(error, records.task, album) for error in errors.found[:MOST_ERRORS]), _caption(errors)
    )
    yield Paragraph(
        "Look at each: a rare picture is no error. Where the label is wrong, correct it in the data, by moving the "
        "picture to the right folder or in its row of the table, and train again:",
        shlex.join(["finetune", "run", "--config", str(records.run / run_folder.CONFIG)]),
    )


def _caption(errors: LabelErrors) -> str:
    are_more = len(errors.found) > MOST_ERRORS
    most = f"The {MOST_ERRORS} likeliest of {errors.doubted:,} label errors" if are_more else "Likely label errors"
    return f"{most}, the likeliest first"


def _label_error(error: LabelError, task: Task, album: Album) -> Picture:
    given, likely = _said(error.given, task), _said(error.likely, task)
    lines = (f"given {given}, {error.given_probability:.1%}", f"likely {likely}, {error.likely_probability:.1%}")
    part = NAMES.get(error.part, error.part)
    where = f"{part} · {with_folder(error.path)}"
    return album.picture(error.path, f"A {part} picture: {', '.join(lines)}", (*lines, where))


def _said(shows: str, task: Task) -> str:
    """Return what a picture shows as people say it, of what the records have."""
    return (shows.replace("|", ", ") or "no label") if task == "multi-label" else shows


# ── what the audit found ────────────────────────────────────────────────────────────────────────────


def _findings(records: RunRecords, album: Album) -> Iterator[Block]:
    findings = by_kind(_finding(each, records.task) for each in records.data.get("findings", ()))
    if not findings:
        return
    rows = tuple((kind, _counted(of), KINDS[kind]) for kind, of in findings.items())
    yield Table(("finding", "pictures", "what the pictures are"), rows, "What the audit found")
    shown = _Shown(records, album)
    for kind in sorted(findings, key=lambda kind: kind not in FIRST):
        if kind not in UNSHOWN:
            yield from (shown.families if kind in FAMILIES else shown.alone)(kind, findings[kind])
    yield from _next(records, findings)


def _finding(found: Mapping[str, Any], task: Task) -> Finding:
    """Return a finding as the audit made it, of what it wrote down."""
    pictures = (
        replace(example_of(Path(each["path"]), each["shows"], task), part=each["part"], group=each["group"])
        for each in found["pictures"]
    )
    return Finding(kind=found["kind"], pictures=tuple(pictures), detail=found["detail"])


class _Shown:
    """What the audit found, as pictures with what they show and the part of the run that they are in."""

    def __init__(self, records: RunRecords, album: Album) -> None:
        self._task, self._album = records.task, album
        self._parts = {row["path"]: NAMES[row["part"]] for row in records.split}

    def families(self, kind: str, findings: Sequence[Finding]) -> Iterator[Gallery]:
        """Yield a gallery for each family, its pictures side by side."""
        for number, finding in enumerate(findings[:MOST_FAMILIES], start=1):
            more = len(finding.pictures) - MOST_TOGETHER
            of = f"{kind} {number} of {len(findings):,}" if len(findings) > 1 else kind
            caption = of + (f", and {more:,} more pictures of this family" if more > 0 else "")
            yield Gallery(tuple(self._family(finding)), caption, compact=True)

    def alone(self, kind: str, findings: Sequence[Finding]) -> Iterator[Gallery]:
        """Yield one gallery of what has nothing to do with each other."""
        cut = f"; the first {MOST_ALONE}" if len(findings) > MOST_ALONE else ""
        pictures = (self._picture(finding.pictures[0], finding) for finding in findings[:MOST_ALONE])
        yield Gallery(tuple(pictures), _what(kind, findings) + cut)

    def _family(self, finding: Finding) -> Iterator[Picture]:
        """Yield the pictures that belong together; of one file that is listed several times, only one."""
        is_one_file = len({example.path for example in finding.pictures}) == 1
        if not (is_one_file and finding.kind in LISTED_TWICE):
            yield from (self._picture(example, finding) for example in finding.pictures[:MOST_TOGETHER])
            return
        path = finding.pictures[0].path
        shows = " / ".join(dict.fromkeys(self._shows(example) for example in finding.pictures))
        lines = (LISTED_TWICE[finding.kind], f"shows {shows}", with_folder(path))
        yield self._album.picture(path, f"{finding.kind}: {', '.join(lines)}", lines)

    def _picture(self, example: Example, finding: Finding) -> Picture:
        where = " · ".join(filter(None, (self._part(example), with_folder(example.path))))
        lines = (*filter(None, (finding.detail, f"shows {self._shows(example)}")), where)
        alt = f"{finding.kind}: {', '.join(lines)}"
        if finding.kind == "unreadable":  # what never could be read is not missing
            return Picture(image=None, alt=alt, lines=lines)
        return self._album.picture(example.path, alt, lines)

    def _shows(self, example: Example) -> str:
        return _said(text_of(example, self._task), self._task)

    def _part(self, example: Example) -> str:
        return self._parts.get(recorded(example.path), "")


def _what(kind: str, findings: Sequence[Finding]) -> str:
    return f"{kind}: {_counted(findings)} picture(s) {KINDS[kind]}"


def _counted(findings: Sequence[Finding]) -> str:
    """Return how many pictures findings of one kind are about, as far as the run wrote them down."""
    more = " or more" if sum(len(finding.pictures) for finding in findings) >= MOST_PICTURES else ""
    return f"{count(findings):,}{more}"


def _next(records: RunRecords, findings: Mapping[str, Sequence[Finding]]) -> Iterator[Paragraph]:
    if any(kind in findings for kind in MENDED):
        yield Paragraph(
            "To write a table of the data without unreadable pictures, later copies, and equal pictures of different "
            "labels, which changes no picture:",
            _mending(records),
        )
    if any(kind in findings for kind in ACROSS_PARTS):
        yield Paragraph(
            "Pictures of one thing or scene that are in several parts flatter the scores. To keep them together, say "
            "which belong together with --group-col, a column of the table, or --group-pattern, a part of their names."
        )


def _mending(records: RunRecords) -> str:
    folders = {str(Path(row["path"]).parent) for row in records.split}
    root = common_root([Path(folder, "picture") for folder in folders])
    config = records.run / run_folder.CONFIG
    return shlex.join(["finetune", "audit", "--config", str(config), "--fix", str(root / "cleaned.csv")])
