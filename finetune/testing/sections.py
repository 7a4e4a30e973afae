"""What sections of a report promise: blocks that a page can show, made of a run's records, which they leave alone."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from finetune.evaluation.catalogue import shares_of
from finetune.plugins import Plugins
from finetune.report.asking import Asked, ask
from finetune.report.reading import read_records
from finetune.report.rendering import page
from finetune.reporting import SILENT
from finetune.testing import processes
from finetune.testing.folders import new_folder
from finetune.testing.rules import Broken, NotChecked, Rule
from finetune.types import ReportSection, RunRecords

_LIMIT_S = 600.0
_TASKS = ("single-label", "multi-label", "regression")


@dataclass(frozen=True)
class SectionSubject:
    """A section, and the plugins beside it."""

    section: ReportSection
    plugins: Plugins

    @cached_property
    def folder(self) -> Path:
        """A folder for copies of runs that no other section has seen; it goes when this process ends."""
        return new_folder()

    def run(self, task: str) -> Path:
        """Return the folder of a finished run of a task."""
        copy = self.folder / task
        if not copy.exists():
            shutil.copytree(runs()[task], copy)
        return copy

    def ask(self, task: str) -> tuple[Asked | None, RunRecords]:
        """Return what the section has to say of a run, None for nothing, and the records it was given."""
        records = read_records(self.run(task), shares_of(self.plugins.metrics))
        alone = SimpleNamespace(sections={self.section.name: self.section}, origin=self.plugins.origin)
        return next(iter(ask(cast(Plugins, alone), records, SILENT.note)), None), records


@cache
def runs() -> dict[str, Path]:
    """Return the folder of a real run of seconds for each task, made in a process of their own."""
    folder = new_folder()
    told = processes.ask(
        "finetune.testing.tiny",
        str(folder),
        limit_s=_LIMIT_S,
        environment={"XDG_CACHE_HOME": str(folder / "cache"), "FINETUNE_DISABLE_PLUGINS": "1"},
    )
    if told.answer is None:
        last = (told.stderr.strip().splitlines() or [told.ending])[-1]
        raise NotChecked(f"a run to try it with came to nothing: {last}")
    return {task: Path(run) for task, run in told.answer.items()}


def _builds_blocks(subject: SectionSubject) -> None:
    for task in _TASKS:
        asked, _ = subject.ask(task)
        if asked and asked.problem:
            raise Broken(f"of a run of {task}: {asked.problem.rstrip('.')}")
        page(subject.section.title, task, [asked] if asked else [])


def _is_the_same_again(subject: SectionSubject) -> None:
    for task in _TASKS:
        (first, _), (second, _) = subject.ask(task), subject.ask(task)
        if first != second:
            raise Broken(f"others the second time, of a run of {task}")


def _changes_nothing(subject: SectionSubject) -> None:
    for task in _TASKS:
        subject.ask(task)
        before, after = _contents(runs()[task]), _contents(subject.run(task))
        if changed := [name for name in {**before, **after} if before.get(name) != after.get(name)]:
            raise Broken(f"that it changes {changed[0]}")


def _contents(run: Path) -> dict[str, str]:
    files = (Path(root, name) for root, _, names in os.walk(run) for name in names)
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


_SECTION = "finetune.types.ReportSection"
_RULES = (
    ("builds-blocks", "blocks that a page can show, or none", _builds_blocks),
    ("is-the-same-again", "the same blocks for the same records", _is_the_same_again),
    ("changes-nothing", "that the run's folder is left as it is", _changes_nothing),
)
RULES = tuple(
    Rule(name=name, kind="section", expects=expects, read=_SECTION, hold=hold) for name, expects, hold in _RULES
)
"""What every section is held against, with a run of each task."""
