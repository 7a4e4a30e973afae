"""Every section is asked for its blocks; what one gets wrong stays in its own place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from finetune.errors import FinetuneError, PluginError
from finetune.plugins import Plugins, blaming, load_function
from finetune.report.blocks import wrong_with
from finetune.types import Block, ReportSection, RunRecords


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A section with its blocks, or with the ``problem`` that it has none for."""

    name: str
    title: str
    blocks: tuple[Block, ...] = ()
    problem: str = ""


def ask(plugins: Plugins, records: RunRecords, note: Callable[[str], None]) -> list[Asked]:
    """Return the sections that have something to say, in the order in which they are registered."""
    asked = [_asked(section, plugins.origin("section", section.name), records) for section in plugins.sections.values()]
    for section in asked:
        if section.problem:
            note(f"The report goes without the section '{section.name}': {section.problem}")
    return [section for section in asked if section.blocks or section.problem]


def _asked(section: ReportSection, origin: str, records: RunRecords) -> Asked:
    what = f"The section '{section.name}' ({origin})"
    try:
        build = load_function(section.build, what)
        with blaming(what):
            found = build(records)
            blocks = tuple(found) if isinstance(found, Iterable) and not isinstance(found, str | bytes) else None
        if blocks is None:
            raise PluginError(f"{what} is broken: it returned {type(found).__name__} instead of blocks.")
        for block in blocks:
            if wrong := wrong_with(block):
                raise PluginError(f"{what} is broken: {wrong}.")
    except (FinetuneError, MemoryError) as error:
        return Asked(name=section.name, title=section.title, problem=str(error) or type(error).__name__)
    return Asked(name=section.name, title=section.title, blocks=blocks)
