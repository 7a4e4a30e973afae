"""The job behind ``finetune audit``: look at every picture, write down what was found, and touch none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Unpack

from finetune.config import RunConfig, RunOptions
from finetune.data import cleaned_table
from finetune.data.audit import Audit, inspect, refuse_unusable
from finetune.data.findings import KINDS, Finding, as_record, by_kind, count, first, imbalance
from finetune.data.splits import rules_of, split
from finetune.data.targets import text_of
from finetune.data.units import common_root, grouping_of
from finetune.errors import DataError
from finetune.evaluation.contact_sheet import Section, Shown, contact_sheet
from finetune.intent import discover
from finetune.loading import load_dataset
from finetune.reporting import SILENT
from finetune.run_folder import RunFolder
from finetune.types import Dataset, Reporter

REPORT = "audit.json"
SHEET = "suspicious.png"
HARMLESS = ("turned",)
"""Kinds of finding that are not shown as pictures: every reader of pictures does what they ask for."""


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """What an audit found, and where it was written down.

    ``problem`` is why the pictures could not be trained on, None where they can; ``kinds`` is the number of pictures
    and the first one for each kind of finding; ``sheet`` and ``cleaned`` are None where there was nothing to show, or
    no table asked for, and ``next`` is the command that trains on that table.
    """

    dataset: str
    task: str
    pictures: int
    readable: int
    class_counts: dict[str, int]
    imbalance: float
    kinds: dict[str, dict[str, Any]]
    notes: tuple[str, ...]
    problem: str | None
    report: Path
    sheet: Path | None
    cleaned: Path | None
    next: str | None

    def rows(self) -> list[tuple[str, str]]:
        """Return the figures as the rows of a two-column table."""
        counts = sorted(self.class_counts.values())
        span = " to ".join(map(str, sorted({*counts[:1], *counts[-1:]})))
        each = f"{span} pictures each, {self.imbalance:.2g} : 1" if counts else "no classes"
        return [
            ("data", f"{self.dataset}: {self.pictures} pictures, {self.readable} readable, {self.task}"),
            ("labels", f"{len(counts)}, {each}"),
            *(("note", note) for note in self.notes),
            ("report", str(self.report)),
            *([("pictures", str(self.sheet))] if self.sheet else []),
            *([("cleaned", str(self.cleaned)), ("next", self.next)] if self.cleaned and self.next else []),
        ]

    def finding_rows(self) -> list[tuple[str, str, str]]:
        """Return what was found as the rows of a three-column table with a header."""
        found = [(kind, str(facts["pictures"]), facts["first"]) for kind, facts in self.kinds.items()]
        return [("finding", "pictures", "first"), *(found or [("nothing", "0", "")])]


def audit_data(
    *,
    fix: Path | None = None,
    config_file: Path | None = None,
    reporter: Reporter = SILENT,
    **options: Unpack[RunOptions],
) -> AuditReport:
    """Look at every picture of a data set, and write the findings into a new folder below ``out``.

    ``fix`` is the name of a table to write, of the data set without what is certainly wrong. Nothing else is written,
    and no file that was there is changed. Raises ``ConfigError`` for options and a ``fix`` that are not allowed,
    ``DataError`` for a data set that cannot be opened at all; pictures that could not be trained on are a ``problem``.
    """
    intent = discover(options, config_file)
    dataset = load_dataset(intent, reporter)
    grouping = grouping_of(dataset, intent.config.group_pattern)
    if fix:
        cleaned_table.check_place(fix, dataset)
    audited = inspect(dataset, reporter)
    notes, problem = _verdict(audited, dataset, intent.config)
    with RunFolder.create(intent.config.out, f"audit-{dataset.name}").recorded() as folder:
        sheet = _write_sheet(folder, audited, dataset, reporter)
        if fix:
            header, *rows = cleaned_table.rows_of(fix, cleaned_table.cleaned(audited), dataset, grouping)
            RunFolder(fix.absolute().parent).write_csv(fix.name, header, rows)
        report = _report(folder / REPORT, audited, dataset, notes, problem, sheet, fix)
        folder.write_json(REPORT, {**vars(report), **_details(audited, dataset)})
    return report


def _verdict(audited: Audit, dataset: Dataset, config: RunConfig) -> tuple[tuple[str, ...], str | None]:
    """Return what a run would note beside the findings, and why it would refuse to train."""
    notes = [*dataset.notes, *audited.imbalance_notes()]
    try:
        refuse_unusable(audited, dataset, config.max_unreadable)
        notes += split(audited, dataset, rules_of(config)).notes
    except DataError as error:
        return tuple(notes), str(error)
    return tuple(notes), None


def _report(
    path: Path,
    audited: Audit,
    dataset: Dataset,
    notes: tuple[str, ...],
    problem: str | None,
    sheet: Path | None,
    fix: Path | None,
) -> AuditReport:
    kinds = by_kind(audited.findings).items()
    return AuditReport(
        dataset=dataset.name,
        task=dataset.task,
        pictures=len(dataset.examples),
        readable=len(audited.checked),
        class_counts=audited.class_counts(),
        imbalance=imbalance(audited.class_counts()),
        kinds={kind: {"what": KINDS[kind], "pictures": count(found), "first": first(found)} for kind, found in kinds},
        notes=notes,
        problem=problem,
        report=path,
        sheet=sheet,
        cleaned=fix.absolute() if fix else None,
        next=cleaned_table.command_for(fix, dataset) if fix else None,
    )


def _details(audited: Audit, dataset: Dataset) -> dict[str, Any]:
    """Return what the report in the folder says beyond the one on the screen: sizes, and every finding.

    ``sizes_px`` holds the smallest, median and largest width and height.
    """
    sizes = [picture.size_px for picture in audited.checked if picture.size_px]
    sides = {name: sorted(size[at] for size in sizes) for at, name in enumerate(("width", "height"))}
    return {
        "source": dataset.source,
        "licence": dataset.licence,
        "fingerprint": audited.fingerprint,
        "sizes_px": {name: [found[0], median(found), found[-1]] for name, found in sides.items() if found},
        "ignored": dataset.ignored,
        "findings": [as_record(finding, dataset.task) for finding in audited.findings],
    }


def _write_sheet(folder: RunFolder, audited: Audit, dataset: Dataset, reporter: Reporter) -> Path | None:
    root = common_root([example.path for example in dataset.examples])
    kinds = {kind: found for kind, found in by_kind(audited.findings).items() if kind not in HARMLESS}
    if not kinds:
        return None
    reporter.begin("Drawing what was found")
    sections = [
        Section(
            title=f"{kind}: {count(found)} picture(s) {KINDS[kind]}",
            groups=[_group(finding, dataset, root) for finding in found],
        )
        for kind, found in kinds.items()
    ]
    sheet = folder.write(SHEET, contact_sheet(sections))
    reporter.end()
    return sheet


def _group(finding: Finding, dataset: Dataset, root: Path) -> list[Shown]:
    return [
        Shown(
            path=example.path,
            caption="\n".join(
                text for text in (_below(example.path, root), text_of(example, dataset.task), finding.detail) if text
            ),
        )
        for example in finding.pictures
    ]


def _below(path: Path, root: Path) -> str:
    absolute = path.absolute()
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else str(path)
