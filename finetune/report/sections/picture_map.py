"""A map of the validation pictures: what the network finds alike is close together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.evaluation.decisions import reached
from finetune.evaluation.mistakes import losses, right
from finetune.report.album import Album, spread, with_folder
from finetune.report.answers import thresholds_of
from finetune.report.wording import few
from finetune.types import Block, Place, Point, RunRecords
from finetune.types import PictureMap as PictureMapBlock

SIDES_PX = {200: 112, 400: 80, 800: 52}
"""Sides of the pictures for up to so many points: all together they take about as much room."""
MOST_POINTS = max(SIDES_PX)
QUALITY = 60
MOST_NAMED = 3
"""Labels or values of one picture that are written below it."""
BANDS = 4
"""Groups of values, of equally many pictures."""
FAR_SHARE = 0.1
"""This share of the predicted values, those that are furthest off, stands out."""
PROJECTION = (
    "What the network finds alike is close together: a projection of its embeddings onto a plane that keeps neighbours "
    "(t-SNE, van der Maaten and Hinton 2008). How far apart two distant groups are, and how large one is, means little."
)
STANDS_OUT = {
    "single-label": "Pictures that were given another label stand out.",
    "multi-label": "Pictures that were not given exactly their labels stand out.",
    "regression": f"The {FAR_SHARE:.0%} of the pictures with the largest errors stand out.",
}
LEGEND = {
    "single-label": "given another label",
    "multi-label": "not given exactly its labels",
    "regression": "furthest off",
}
"""What those that stand out are, in a word."""


def picture_map(records: RunRecords) -> Iterator[Block]:
    """Show the validation pictures on a map, those that are wrong standing out; nothing without a map.

    Of many the wrong ones come first, at most half of ``MOST_POINTS``, and the others evenly over their order.
    """
    if not records.places:
        return
    wrong = _wrong(records)
    places = _chosen(records.places, wrong)
    groups = _groups(records, [place.picture for place in places])
    album = Album(records, next(side for most, side in SIDES_PX.items() if len(places) <= most), QUALITY)
    album.prefetch(records.paths[place.picture] for place in places)
    points = [
        _point(records, place, group, bool(wrong[place.picture]), album)
        for place, group in zip(places, groups, strict=True)
    ]
    all_places = len(records.places)
    shown = f"{len(places):,} of {all_places:,}" if len(places) < all_places else f"{all_places:,}"
    yield from album.note()
    caption = f"{shown} validation pictures. {PROJECTION} {STANDS_OUT[records.task]}"
    yield PictureMapBlock(tuple(points), caption, LEGEND[records.task])


def _wrong(records: RunRecords) -> NDArray[np.bool_]:
    """Return which validation pictures stand out: (N,)."""
    if records.task != "regression":
        return ~right(records.task, records.answers, records.targets, thresholds_of(records))
    loss = losses(records.task, records.answers, records.targets)
    return np.asarray((loss >= np.quantile(loss, 1 - FAR_SHARE)) & (loss > 0))


def _chosen(places: Sequence[Place], wrong: NDArray[np.bool_]) -> list[Place]:
    """Return the places that are shown, those that stand out last, so that they lie on top."""
    out = [place for place in places if wrong[place.picture]]
    others = [place for place in places if not wrong[place.picture]]
    most_out = max(MOST_POINTS // 2, MOST_POINTS - len(others))
    out = [out[at] for at in spread(len(out), min(len(out), most_out))]
    return [*(others[at] for at in spread(len(others), min(len(others), MOST_POINTS - len(out)))), *out]


def _point(records: RunRecords, place: Place, group: str, stands_out: bool, album: Album) -> Point:
    path = records.paths[place.picture]
    lines = tuple(_LINES[records.task](records, place.picture))
    picture = album.picture(path, f"A validation picture: {', '.join(lines)}", (*lines, with_folder(path)))
    return Point(x=place.x, y=place.y, group=group, picture=picture, stands_out=stands_out)


# ── groups ──────────────────────────────────────────────────────────────────────────────────────────


def _groups(records: RunRecords, numbers: Sequence[int]) -> list[str]:
    if records.task == "single-label":
        return [records.labels[records.targets[number]] for number in numbers]
    if records.task == "multi-label":
        return [_group_of(np.flatnonzero(records.targets[number]).tolist(), records.labels) for number in numbers]
    return _bands(records.targets[:, 0], records.labels[0], numbers)


def _group_of(shown: list[int], labels: Sequence[str]) -> str:
    return labels[shown[0]] if len(shown) == 1 else "several labels" if shown else "no label"


def _bands(values: NDArray[Any], name: str, numbers: Sequence[int]) -> list[str]:
    """Return which quarter of the values each picture is in, in words; fewer where many values are equal."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BANDS + 1)))
    bands = np.clip(np.searchsorted(edges, values[list(numbers)], side="right") - 1, 0, max(0, len(edges) - 2))
    return [f"{name} {edges[band]:.4g} to {edges[min(band + 1, len(edges) - 1)]:.4g}" for band in bands.tolist()]


# ── what is said of a picture ───────────────────────────────────────────────────────────────────────


def _label(records: RunRecords, number: int) -> Iterator[str]:
    answer = int(records.answers[number].argmax())
    yield f"shows {records.labels[records.targets[number]]}"
    yield f"answered {records.labels[answer]}, {records.answers[number, answer]:.1%}"


def _several(records: RunRecords, number: int) -> Iterator[str]:
    answers = records.answers[number]
    given = np.flatnonzero(reached(answers, thresholds_of(records))).tolist()
    shown = [records.labels[at] for at in np.flatnonzero(records.targets[number]).tolist()]
    answered = [f"{records.labels[at]}, {answers[at]:.1%}" for at in given]
    yield f"shows {few(shown, MOST_NAMED) or 'no label'}"
    yield f"answered {few(answered, MOST_NAMED) or 'no label'}"


def _numbers(records: RunRecords, number: int) -> Iterator[str]:
    for at, name in enumerate(records.labels[:MOST_NAMED]):
        yield f"{name}: {records.targets[number, at]:.4g}, predicted {records.answers[number, at]:.4g}"


_LINES = {"single-label": _label, "multi-label": _several, "regression": _numbers}
