"""The pictures that the model is wrong about: which labels it confuses, and where it is furthest from right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from finetune.evaluation.decisions import reached
from finetune.evaluation.mistakes import Pair, confused_pairs, losses, right
from finetune.report.album import Album, with_folder
from finetune.report.answers import thresholds_of
from finetune.report.wording import few
from finetune.types import Block, Gallery, HeatMap, Paragraph, Picture, RunRecords, Task

MOST_PAIRS = 12
"""Pairs of labels that are shown, or labels that were missed or wrongly given."""
MOST_OF_A_PAIR = 4
MOST_LOSSES = 24
"""So many pictures are shown where the model is wrong about as many."""
FEWEST_LOSSES = 12
"""So many are shown, right ones, too, where it is wrong about fewer."""
MOST_NAMED = 5
"""Labels or values of one picture that are written below it; there may be a thousand."""
SIDE_PX = 176
COMPARED = "for comparison"
SURE = "Below each picture stands how sure the model was of the label; the last one is, for comparison, "
HEAT = (
    " Where there are two, the first is what the network sees, and over the second, in grey, lies where it looked for "
    "the answer that is named: the brighter a place, the more it spoke for it (Grad-CAM, Selvaraju et al. 2017)."
)
LOSS = {
    "single-label": "The loss is the negative logarithm of the probability that the right label was given.",
    "multi-label": "The loss is the negative logarithm of the probability of what is right, a mean over labels.",
    "regression": "The loss is the mean difference over all values, each in its standard deviations.",
}


def mistakes(records: RunRecords) -> Iterator[Block]:
    """Show the validation pictures that were given wrong labels, beside what they were taken for, and the worst ones.

    Values are never right or wrong, so that of these only the worst are shown. Nothing without validation pictures.
    """
    if not records.paths:
        return
    album = Album(records, SIDE_PX)
    found = _JUDGED[records.task](records)
    blocks = [*found.galleries(album), *_worst(records, found, album)]
    yield from album.note()
    yield from blocks


def _worst(records: RunRecords, found: _Judged, album: Album) -> Iterator[Block]:
    loss = losses(records.task, records.answers, records.targets)
    heat_maps = {heat_map.picture: heat_map for heat_map in records.heat_maps}
    most = min(MOST_LOSSES, max(FEWEST_LOSSES, found.wrong))
    worst = np.argsort(-loss, kind="stable")[:most].tolist()
    pictures = [
        _shown(records, number, tuple(found.said(number)), float(loss[number]), heat_maps.get(number), album)
        for number in worst
    ]
    is_all_right = found.all_right and not found.wrong
    if is_all_right:
        yield Paragraph(found.all_right)
    what = "that the model is least certain of" if is_all_right else "with the largest losses"
    caption = f"Of {len(loss):,} validation pictures the {len(worst)} {what}. {LOSS[records.task]}"
    yield Gallery(tuple(pictures), caption + (HEAT if any(picture.overlay for picture in pictures) else ""))


def _shown(
    records: RunRecords, number: int, lines: tuple[str, ...], loss: float, heat_map: HeatMap | None, album: Album
) -> Picture:
    path = records.paths[number]
    alt, last = f"A validation picture: {', '.join(lines)}", f"loss {loss:.3g} · {with_folder(path)}"
    if heat_map is None:
        return album.picture(path, alt, (*lines, last))
    looked = f"bright: {'raised' if records.task == 'regression' else 'spoke for'} {records.labels[heat_map.label]}"
    # Of one label for each picture, it is that of the answer, which the first line names.
    named = () if records.task == "single-label" and records.answers[number].argmax() == heat_map.label else (looked,)
    return album.explained(path, heat_map, f"{alt}; {looked}", (*lines, *named, last))


class _Judged(Protocol):
    """Validation pictures, and what is wrong with the answers to them."""

    all_right: str
    """What is said where nothing is wrong; empty where nothing ever is right."""
    wrong: int
    """Pictures that the model is wrong about."""

    def said(self, number: int) -> Iterator[str]:
        """Yield what a picture shows and what was answered."""

    def galleries(self, album: Album) -> Iterator[Block]:
        """Yield pictures of each kind of mistake, the most frequent first."""


class _Taken:
    """Pictures of which each has one label, and was given one."""

    all_right = "No validation picture was given another label."

    def __init__(self, records: RunRecords) -> None:
        self._records = records
        self._given = records.answers.argmax(axis=1)
        self.wrong = int((~right(records.task, records.answers, records.targets)).sum())

    def said(self, number: int) -> Iterator[str]:
        records, answer, truth = self._records, int(self._given[number]), int(self._records.targets[number])
        sure = records.answers[number, answer]
        if answer == truth:
            yield f"rightly {records.labels[answer]}, {sure:.1%}"
        else:
            itself = f"{records.labels[truth]}: {records.answers[number, truth]:.1%}"
            yield f"taken for {records.labels[answer]}, {sure:.1%} ({itself})"
        if sure < records.contract.threshold_of(records.labels[answer]):
            yield "below its threshold: the model abstains"

    def galleries(self, album: Album) -> Iterator[Block]:
        if self.wrong:
            yield Paragraph(SURE + "a picture of what these were taken for.")
        pairs = confused_pairs(self._records.answers, self._records.targets)
        for place, pair in enumerate(pairs[:MOST_PAIRS], start=1):
            more = f" (pair {place} of {len(pairs):,})" if len(pairs) > MOST_PAIRS else ""
            yield self._gallery(pair, album, more)

    def _gallery(self, pair: Pair, album: Album, more: str) -> Gallery:
        records, of = self._records, int((self._records.targets == pair.truth).sum())
        truth, answer = records.labels[pair.truth], records.labels[pair.answer]
        among = np.flatnonzero((records.targets == pair.truth) & (self._given == pair.answer))
        mistaken = among[np.argsort(-records.answers[among, pair.answer], kind="stable")][:MOST_OF_A_PAIR]
        pictures = []
        for number in mistaken.tolist():
            sure = f"{records.answers[number, pair.answer]:.1%}"
            alt = f"shows {truth}, was taken for {answer}, {sure}"
            pictures.append(album.picture(records.paths[number], alt, (sure,)))
        caption = f"{truth} taken for {answer}: {pair.pictures} of its {of} validation pictures{more}"
        return Gallery((*pictures, *self._compared(pair.answer, album)), caption, compact=True)

    def _compared(self, label: int, album: Album) -> Iterator[Picture]:
        """Show a picture of what others were taken for: the one it is surest of, or any that the run had."""
        records, name = self._records, self._records.labels[label]
        shows = np.flatnonzero(records.targets == label)
        path: object = None
        if len(shows):
            path = records.paths[shows[records.answers[shows, label].argmax()]]
        else:
            path = next((row["path"] for row in records.split if row["label"] == name), None)
        if path is not None:
            yield album.picture(str(path), f"For comparison, a picture of {name}", (COMPARED, name))


class _Labelled:
    """Pictures of several labels: those that were missed, and those that were wrongly given."""

    all_right = "Every validation picture was given its labels, and no others."

    def __init__(self, records: RunRecords) -> None:
        self._records = records
        thresholds = thresholds_of(records)
        given, shown = reached(records.answers, thresholds), records.targets > 0
        self._given, self._shown = given, shown
        self._missed, self._wrong = shown & ~given, given & ~shown
        self.wrong = int((~right(records.task, records.answers, records.targets, thresholds)).sum())

    def said(self, number: int) -> Iterator[str]:
        yield f"shows {self._named(self._shown[number]) or 'none of the labels'}"
        for what, wrong in (("missed", self._missed), ("wrongly given", self._wrong)):
            if wrong[number].any():
                yield f"{what}: {self._named(wrong[number], self._records.answers[number])}"
        if not (self._missed[number] | self._wrong[number]).any():
            yield "all labels right"

    def _named(self, which: NDArray[np.bool_], shares: NDArray[np.float32] | None = None) -> str:
        labels = np.flatnonzero(which).tolist()
        named = [self._records.labels[at] + ("" if shares is None else f" ({shares[at]:.1%})") for at in labels]
        return few(named, MOST_NAMED)

    def galleries(self, album: Album) -> Iterator[Block]:
        if self.wrong:
            yield Paragraph(SURE + "one that rightly was given it.")
        counts = np.stack([self._missed.sum(axis=0), self._wrong.sum(axis=0)], axis=1)  # (K, 2)
        order = np.argsort(-counts, axis=None, kind="stable")[:MOST_PAIRS]
        for label, is_wrong in zip(*(at.tolist() for at in np.unravel_index(order, counts.shape)), strict=True):
            if counts[label, is_wrong]:
                yield self._gallery(label, bool(is_wrong), album)

    def _gallery(self, label: int, is_wrong: bool, album: Album) -> Gallery:
        records, name = self._records, self._records.labels[label]
        which, sign = (self._wrong, -1) if is_wrong else (self._missed, 1)
        among = np.flatnonzero(which[:, label])
        furthest = among[np.argsort(sign * records.answers[among, label], kind="stable")][:MOST_OF_A_PAIR]
        pictures = []
        for number in furthest.tolist():
            sure = f"{records.answers[number, label]:.1%}"
            shows = f"shows {self._named(self._shown[number]) or 'none of the labels'}"
            alt = f"{shows}, {name} {'wrongly given' if is_wrong else 'missed'}, {sure}"
            pictures.append(album.picture(records.paths[number], alt, (sure, shows)))
        of = (~self._shown if is_wrong else self._shown)[:, label].sum()
        caption = f"{name} {'wrongly given to' if is_wrong else 'missed in'} {len(among)} of {of} validation pictures "
        caption += f"that do not show {name}" if is_wrong else f"that show {name}"
        return Gallery((*pictures, *self._compared(label, album)), caption, compact=True)

    def _compared(self, label: int, album: Album) -> Iterator[Picture]:
        records, name = self._records, self._records.labels[label]
        rightly = np.flatnonzero(self._shown[:, label] & self._given[:, label])
        if len(rightly):
            path = records.paths[rightly[records.answers[rightly, label].argmax()]]
            yield album.picture(path, f"For comparison, a picture of {name}", (COMPARED, name))


class _Valued:
    """Pictures of values, which are near or far, and never right."""

    all_right = ""
    wrong = 0

    def __init__(self, records: RunRecords) -> None:
        self._records = records
        deviations = records.targets.std(axis=0, dtype=np.float64)
        self._deviations = np.where(deviations > 0, deviations, 1.0)

    def said(self, number: int) -> Iterator[str]:
        records = self._records
        true, answer = records.targets[number], records.answers[number]
        furthest = np.argsort(-np.abs(true - answer) / self._deviations, kind="stable").tolist()
        for at in furthest[:MOST_NAMED]:
            yield f"{records.labels[at]}: {true[at]:.4g}, predicted {answer[at]:.4g}"
        if len(furthest) > MOST_NAMED:
            yield f"and {len(furthest) - MOST_NAMED} more values, which are nearer"

    def galleries(self, album: Album) -> Iterator[Block]:  # noqa: ARG002 - no value is taken for another
        yield from ()


_JUDGED: Mapping[Task, Callable[[RunRecords], _Judged]] = {
    "single-label": _Taken,
    "multi-label": _Labelled,
    "regression": _Valued,
}
