"""Tables, with what the page's script needs to sort them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from finetune.report.markup.texts import breakable, escaped
from finetune.types import Table

MOST_ROWS = 200
"""Of a table; on a page, nobody reads more."""
FEWEST_SORTED = 3
"""Rows from which on a table can be sorted; two are seen in both orders at once."""
TALL_ROWS = 20
"""From here on a table scrolls within itself, its header in sight."""
UNDEFINED = ("", "–", "nan")
_DIGITS = r"[-+±−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?"
_NUMBER = re.compile(rf"{_DIGITS}(?: ?%| points)?")
_HASH = re.compile(r"[0-9a-f]{40,}")


def table_markup(table: Table, title: str) -> str:
    """Return a table that scrolls by itself where it is too wide; its name is its caption, or the section's title."""
    rows = table.rows[:MOST_ROWS]
    columns = [[row[at] for row in rows if row[at] not in UNDEFINED] for at in range(len(table.header))]
    heads = "".join(
        f'<th scope="col" dir="auto"{_class(at, column)}{_sorting(column)}>{breakable(name)}</th>'
        for at, (name, column) in enumerate(zip(table.header, columns, strict=True))
    )
    kinds = [_class(at, column) for at, column in enumerate(columns)]
    body = "\n".join(_row(row, kinds) for row in rows)
    caption = f'<p class="caption" dir="auto">{breakable(table.caption)}</p>\n' if table.caption else ""
    name = escaped(table.caption or title)
    tall = " tall" if len(rows) > TALL_ROWS else ""
    sortable = ' class="sortable"' if table.sortable and len(rows) >= FEWEST_SORTED and len(columns) > 1 else ""
    return (
        f'{caption}<div class="scroll{tall}" role="region" tabindex="0" aria-label="{name}">\n'
        f'<table{sortable} aria-label="{name}">\n<thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table>\n</div>{_more(len(rows), len(table.rows))}"
    )


def _class(at: int, column: Sequence[str]) -> str:
    """Return the class of a column of numbers; the first column names its rows, and stays on its side."""
    return ' class="number"' if at and all(map(_NUMBER.fullmatch, column)) else ""


def _sorting(column: Sequence[str]) -> str:
    """Return how a column sorts: by its first number where its cells differ in nothing but numbers."""
    is_number = all(re.match(_DIGITS, cell) for cell in column)
    forms = {re.sub(_DIGITS, "0", cell) for cell in column}
    return ' data-sort="number"' if is_number and len(forms) == 1 else ""


def _row(row: Sequence[str], kinds: Sequence[str]) -> str:
    first, *others = row
    cells = [f'<td dir="auto"{kind}>{_cell(cell)}</td>' for cell, kind in zip(others, kinds[1:], strict=True)]
    return f'<tr><th scope="row" dir="auto">{breakable(first)}</th>{"".join(cells)}</tr>'


def _cell(cell: str) -> str:
    return f"<code>{cell}</code>" if _HASH.fullmatch(cell) else breakable(cell)


def _more(shown: int, rows: int) -> str:
    return f'\n<p class="quiet">The first {shown:,} of {rows:,} rows.</p>' if rows > shown else ""
