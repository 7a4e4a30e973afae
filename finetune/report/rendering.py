"""Blocks become a page here: one HTML document that asks for nothing, for phones, wide screens and paper."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from itertools import groupby
from string import Template

from finetune.report.asking import Asked
from finetune.report.markup.confusion import confusion_markup
from finetune.report.markup.picture_map import picture_map_markup
from finetune.report.markup.pictures import compact_markup, figure_markup, gallery_markup
from finetune.report.markup.room import LARGEST_PAGE_BYTES, WHY, Room
from finetune.report.markup.tables import table_markup
from finetune.report.markup.texts import breakable, escaped, size_bytes
from finetune.types import Block, Confusion, Figure, Gallery, Paragraph, PictureMap

PARTS = "page"
STYLES = ("page.css", "tables.css", "pictures.css", "paper.css")
"""In this order: what paper wants has the last word."""


def page(title: str, subtitle: str, sections: Sequence[Asked]) -> str:
    """Return a page: one HTML document of at most ``LARGEST_PAGE_BYTES`` that needs nothing but itself.

    Texts come first: pictures that no longer fit are left out, in the order of the page, and a sentence says so in
    their place. A section whose texts alone are too long for the page leaves a word in its place as well. Surrogates
    of file names that are no text are left to the encoding.
    """
    left = LARGEST_PAGE_BYTES - size_bytes(_document(title, subtitle, sections, ()))
    fitting = []
    for at, section in enumerate(sections):
        bare = _section(section, is_first=at == 0, room=Room(0))
        if size_bytes(bare) > left:
            section = replace(section, blocks=(), problem=f"It is too long: {WHY}.")
            bare = _section(section, is_first=at == 0, room=Room(0))
        left -= size_bytes(bare) + 1
        fitting.append(section)
    room = Room(left)
    shown = [_section(section, is_first=at == 0, room=room) for at, section in enumerate(fitting)]
    return _document(title, subtitle, sections, shown)


def _document(title: str, subtitle: str, sections: Sequence[Asked], shown: Sequence[str]) -> str:
    entries = [f'<li><a href="#{_id(section)}" dir="auto">{escaped(section.title)}</a></li>' for section in sections]
    style, script = "\n".join(map(_part, STYLES)), _part("page.js")
    return Template(_part("page.html")).substitute(
        title=escaped(title),
        subtitle=escaped(subtitle),
        contents="\n".join(entries),
        sections="\n".join(shown),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
    )


@cache
def _part(name: str) -> str:
    return files(__package__).joinpath(PARTS, name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """Return what a content security policy calls an inline style or script by: nothing else is obeyed."""
    return f"sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _section(section: Asked, *, is_first: bool, room: Room) -> str:
    blocks = list(_blocks(section, is_first, room))
    if section.problem:
        blocks.append(f'<p class="problem" dir="auto">This section is missing. {escaped(section.problem)}</p>')
    name, content = _id(section), "\n".join(blocks)
    heading = f'<h2 id="{name}-title" dir="auto">{escaped(section.title)}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-title">\n{heading}\n{content}\n</section>'


def _id(section: Asked) -> str:
    return f"section-{escaped(section.name)}"


def _blocks(section: Asked, is_first: bool, room: Room) -> Iterator[str]:
    lead = section.blocks[0] if is_first and section.blocks else None
    for is_compact, some in groupby(section.blocks, lambda block: isinstance(block, Gallery) and block.compact):
        if is_compact:
            yield compact_markup([block for block in some if isinstance(block, Gallery)], room)
        else:
            yield from (_block(block, section.title, room, is_lead=block is lead) for block in some)


def _block(block: Block, title: str, room: Room, *, is_lead: bool) -> str:
    match block:
        case Paragraph():
            lead = ' class="lead"' if is_lead else ""
            command = f'\n<pre dir="ltr"><code>{breakable(block.command)}</code></pre>' if block.command else ""
            return f'<p{lead} dir="auto">{breakable(block.text)}</p>{command}'
        case Figure():
            return figure_markup(block, room)
        case Gallery():
            return gallery_markup(block, room)
        case Confusion():
            return confusion_markup(block, title)
        case PictureMap():
            return picture_map_markup(block, title, room)
    return table_markup(block, title)
