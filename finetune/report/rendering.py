"""Blocks become HTML here, and nowhere else: every text is escaped, so that no section can add markup of its own."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from html import escape

from finetune.report.asking import Asked
from finetune.report.template import FIGURE, MORE, PAGE, PARAGRAPH, PROBLEM, SECTION, TABLE
from finetune.types import Block, Figure, Paragraph, RunRecords, Table

MOST_ROWS = 200
"""Of a table; on a page, nobody reads more."""
NUMBER = re.compile(r"[-+±]?[\d.,]+(e[-+]?\d+)?( ?%)?|nan|")


def page(records: RunRecords, sections: Sequence[Asked]) -> str:
    """Return the page of a run: one HTML document that needs nothing but itself."""
    result = records.result
    entries = [f'<li><a href="#{_id(section)}">{_text(section.title)}</a></li>' for section in sections]
    return PAGE.substitute(
        title=_text(f"{result.dataset}, {result.backbone}"),
        run=_text(records.run.name),
        contents="\n".join(entries),
        sections="\n".join(map(_section, sections)),
    )


def _section(section: Asked) -> str:
    blocks = [_block(block, section.title) for block in section.blocks]
    problem = [PROBLEM.substitute(text=_text(section.problem))] if section.problem else []
    return SECTION.substitute(id=_id(section), title=_text(section.title), content="\n".join(blocks + problem))


def _id(section: Asked) -> str:
    return f"section-{escape(section.name)}"


def _block(block: Block, title: str) -> str:
    if isinstance(block, Paragraph):
        return PARAGRAPH.substitute(text=_text(block.text))
    if isinstance(block, Figure):
        return FIGURE.substitute(alt=_text(block.alt), png=b64encode(block.png).decode())
    return _table(block, title)


def _table(table: Table, title: str) -> str:
    rows = table.rows[:MOST_ROWS]
    numeric = [all(NUMBER.fullmatch(row[column]) for row in rows) for column in range(len(table.header))]
    kinds = [' class="number"' if is_number and column else "" for column, is_number in enumerate(numeric)]
    header = "".join(
        f'<th scope="col"{kind}>{_text(cell)}</th>' for cell, kind in zip(table.header, kinds, strict=True)
    )
    more = len(table.rows) - len(rows)
    return TABLE.substitute(
        name=_text(table.caption or title),
        caption=f"<caption>{_text(table.caption)}</caption>" if table.caption else "",
        header=header,
        rows="\n".join(_row(row, kinds) for row in rows),
        more=MORE.substitute(shown=f"{len(rows):,}", all=f"{len(table.rows):,}") if more else "",
    )


def _row(row: Sequence[str], kinds: Sequence[str]) -> str:
    first, *others = row
    cells = [f'<td dir="auto"{kind}>{_text(cell)}</td>' for cell, kind in zip(others, kinds[1:], strict=True)]
    return f'<tr><th scope="row" dir="auto">{_text(first)}</th>{"".join(cells)}</tr>'


def _text(text: str) -> str:
    """Return text as HTML shows it as it is; what no document may hold is replaced."""
    return escape("".join(c if c >= " " or c in "\t\n\r" else "�" for c in text))
