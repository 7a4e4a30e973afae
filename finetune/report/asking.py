"""Every section is asked for its blocks; what one gets wrong stays in its own place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from finetune.errors import FinetuneError, PluginError
from finetune.plugins import Plugins, blaming, load_function
from finetune.types import Block, Figure, Paragraph, ReportSection, RunRecords, Table

PNG = b"\x89PNG\r\n\x1a\n"
LARGEST_PNG_BYTES = 20_000_000


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
            if wrong := _wrong_with(block):
                raise PluginError(f"{what} is broken: {wrong}.")
    except (FinetuneError, MemoryError) as error:
        return Asked(name=section.name, title=section.title, problem=str(error) or type(error).__name__)
    return Asked(name=section.name, title=section.title, blocks=blocks)


def _wrong_with(block: object) -> str:
    """Return what is wrong with a block; nothing where all is well."""
    if isinstance(block, Paragraph):
        return "" if isinstance(block.text, str) else f"the text of a paragraph is {type(block.text).__name__}"
    if isinstance(block, Table):
        return _wrong_with_table(block)
    if isinstance(block, Figure):
        if not (isinstance(block.png, bytes) and block.png.startswith(PNG) and len(block.png) <= LARGEST_PNG_BYTES):
            return f"a figure is no PNG of {LARGEST_PNG_BYTES / 1e6:g} MB at most"
        return "" if isinstance(block.alt, str) and block.alt.strip() else "a figure has no text for who cannot see it"
    return f"it returned {type(block).__name__} among its blocks; those are Paragraph, Table and Figure"


def _wrong_with_table(table: Table) -> str:
    lines = (table.header, *table.rows)
    if not all(isinstance(line, tuple | list) and all(isinstance(cell, str) for cell in line) for line in lines):
        return "a cell of a table is no text"
    if not table.header:
        return "a table has no columns"
    if any(len(line) != len(table.header) for line in lines):
        return f"a row of a table has other columns than the {len(table.header)} of its header"
    return "" if isinstance(table.caption, str) else "the caption of a table is no text"
