"""Drawings and galleries, as far as there is room for their pictures."""

from __future__ import annotations

from collections.abc import Sequence

from finetune.report.markup.room import WHY, Room, left_out
from finetune.report.markup.texts import breakable, data_uri, escaped
from finetune.types import Figure, Gallery, Picture

GONE = "The picture cannot be shown."
LEFT_OUT = "Left out."
"""In the place of a picture; why, a sentence below the gallery says once."""
MOST_IN_A_ROW = 5
"""Of a contact sheet without lines; the style has a width for each number up to it."""


def figure_markup(figure: Figure, room: Room) -> str:
    """Return a drawing; a dark page shows its dark version, if there is room for both, and paper the light one."""
    light = _image(figure.png, figure.alt, "drawing")
    if not room.takes(light):
        return f'<p class="quiet" dir="auto">A drawing is left out here: {WHY}. {escaped(figure.alt)}</p>'
    dark = _image(figure.dark_png, figure.alt, "drawing dark") if figure.dark_png else ""
    if not dark or not room.takes(dark):
        return f"<figure>{light}</figure>"
    return f'<figure class="both">{light}{dark}</figure>'


def gallery_markup(gallery: Gallery, room: Room) -> str:
    """Return pictures side by side, with their lines below; their order is that of the page for readers, too."""
    shown = [_pictures(picture, room) for picture in gallery.pictures]
    missing = sum(part is None for part in shown)
    items = "\n".join(_item(*each) for each in zip(gallery.pictures, shown, strict=True))
    pairs = " pairs" if any(picture.overlay for picture in gallery.pictures) else ""
    caption = f'<p class="caption" dir="auto">{breakable(gallery.caption)}</p>\n' if gallery.caption else ""
    note = f'\n<p class="quiet">{left_out(missing, len(shown))}</p>' if missing else ""
    return f'{caption}<ul class="gallery{pairs}" role="list">\n{items}\n</ul>{note}'


def compact_markup(galleries: Sequence[Gallery], room: Room) -> str:
    """Return galleries side by side; those of pictures without lines, contact sheets, stand in columns."""
    sheets = "\n".join(f'<div class="sheet">\n{gallery_markup(gallery, room)}\n</div>' for gallery in galleries)
    has_lines = any(picture.lines for gallery in galleries for picture in gallery.pictures)
    most = max(len(gallery.pictures) for gallery in galleries)
    kind = "told" if has_lines else f"of{min(most, MOST_IN_A_ROW)}"
    return f'<div class="sheets {kind}">\n{sheets}\n</div>'


def _pictures(picture: Picture, room: Room) -> str | None:
    """Return the markup of a picture and what is drawn over it; None where there is no room for them."""
    if picture.image is None:
        return _placeholder(picture.alt, GONE)
    markup = _image(picture.image, picture.alt)
    if picture.overlay:
        markup += _image(picture.overlay, f"{picture.alt}, with something drawn over it")
    return markup if room.takes(markup) else None


def _item(picture: Picture, markup: str | None) -> str:
    lines = "".join(f'<p dir="auto">{breakable(line)}</p>' for line in picture.lines)
    shown = _placeholder(picture.alt, LEFT_OUT) if markup is None else markup
    return f'<li><figure><div class="frame">{shown}</div><figcaption>{lines}</figcaption></figure></li>'


def _image(image: bytes, alt: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<img{named} src="{data_uri(image)}" alt="{escaped(alt)}">'


def _placeholder(alt: str, why: str) -> str:
    return f'<div class="nothing" role="img" aria-label="{escaped(alt)}: {why}"><span>{why}</span></div>'
