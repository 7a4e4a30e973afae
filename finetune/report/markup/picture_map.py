"""A map of pictures: a drawing of points, and beside it the picture that is pointed at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from finetune.report.markup.pictures import GONE
from finetune.report.markup.room import WHY, Room, left_out
from finetune.report.markup.texts import as_json, data_uri, escaped, plain
from finetune.types import PictureMap, Point

WIDTH, HEIGHT, MARGIN = 640, 448, 16
MOST_GROUPS = 18
"""With a colour and a shape of their own; the others share one."""
_COLOURS = 6
"""Of the palette of Okabe and Ito (2008), without yellow, black and grey: seen on light and dark, and by everybody."""
_SHAPES = ("M{x} {y}m-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0", "M{x} {y}m-4.5-4.5h9v9h-9z", "M{x} {y}m0-6l6 10.5h-12z")
"""A disc, a square and a triangle of about the same area."""
_CROSS = "M{x} {y}m-5-5l10 10m0-10l-10 10"
_OTHERS = "o"

Look = tuple[str, str]
"""The class of a group's points, and the path that draws one."""


def picture_map_markup(block: PictureMap, title: str, room: Room) -> str:
    """Return a map; points that stand out are crosses, and lie on top."""
    points = sorted(block.points, key=lambda point: point.stands_out)
    looks = _looks(points)
    paths = "\n".join(_path(point, looks) for point in points)
    facts = [_facts(point, room) for point in points]
    missing = sum(fact.get("missing") == _LEFT_OUT for fact in facts)
    note = f'\n<p class="quiet">{left_out(missing, len(points))}</p>' if missing else ""
    name = escaped(block.caption or title)
    return (
        f'<figure class="map">\n<figcaption dir="auto">{name}</figcaption>\n<div class="beside">\n'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}. A map of {len(points):,} points.">\n'
        f'{paths}\n<circle class="ring" r="11" visibility="hidden"/></svg>\n'
        f'<div class="panel" hidden></div>\n</div>\n{_legend(points, looks, block.standing_out)}\n'
        f'<script type="application/json">{as_json(facts)}</script>\n</figure>{note}'
    )


_LEFT_OUT = f"The picture is left out: {WHY}."


def _looks(points: list[Point]) -> dict[str, Look]:
    """Return how the points of each group look; groups are in order of their names, the largest have their own look."""
    groups = Counter(point.group for point in points)
    own = sorted(name for name, _ in groups.most_common(MOST_GROUPS if len(groups) > MOST_GROUPS + 1 else None))
    looks = {name: (f"g{at % _COLOURS}", _SHAPES[at // _COLOURS % len(_SHAPES)]) for at, name in enumerate(own)}
    return {name: looks.get(name, (_OTHERS, _SHAPES[0])) for name in (*own, *sorted(set(groups) - set(own)))}


def _path(point: Point, looks: Mapping[str, Look]) -> str:
    kind, shape = looks[point.group]
    x = f"{MARGIN + point.x * (WIDTH - 2 * MARGIN):.1f}"
    y = f"{MARGIN + (1 - point.y) * (HEIGHT - 2 * MARGIN):.1f}"
    if point.stands_out:
        return f'<path class="{kind} x" d="{_CROSS.format(x=x, y=y)}"/>'
    return f'<path class="{kind}" d="{shape.format(x=x, y=y)}"/>'


def _facts(point: Point, room: Room) -> dict[str, Any]:
    """Return what the page shows of a point: its picture as far as there is room, its lines and its group."""
    picture = point.picture
    facts: dict[str, Any] = {
        "alt": plain(picture.alt),
        "lines": [plain(line) for line in picture.lines],
        "group": plain(point.group),
    }
    if picture.image is None:
        return facts | {"missing": GONE}
    images = [data_uri(image) for image in (picture.image, picture.overlay) if image]
    return facts | ({"images": images} if room.takes(as_json(images) + '"images":,') else {"missing": _LEFT_OUT})


def _legend(points: list[Point], looks: Mapping[str, Look], standing_out: str) -> str:
    own = [_entry(look, escaped(name)) for name, look in looks.items() if look[0] != _OTHERS]
    others = len(looks) - len(own)
    if others:
        own.append(_entry((_OTHERS, _SHAPES[0]), f"{others:,} others"))
    if crosses := sum(point.stands_out for point in points):
        own.append(_entry((f"{_OTHERS} x", _CROSS), f"{escaped(standing_out)} ({crosses:,})"))
    return f'<ul class="legend" role="list">{"".join(own)}</ul>'


def _entry(look: Look, name: str) -> str:
    kind, shape = look
    drawn = f'<svg viewBox="-10 -10 20 20" aria-hidden="true"><path class="{kind}" d="{shape.format(x=0, y=0)}"/></svg>'
    return f'<li>{drawn}<span dir="auto">{name}</span></li>'
