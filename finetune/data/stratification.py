"""Dividing units so that every stratum is divided alike: one part held out, or folds.

Iterative stratification (Sechidis et al., "On the Stratification of Multi-Label Data", 2011): the rarest stratum goes
first, because it leaves the least choice. The package of that name is not used: it knows no groups, does not promise
every label a picture to train on, and goes by positions where this goes by contents.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from finetune.data.units import Unit


def evenly(total: Mapping[str, int], left: Mapping[str, int], share: float, keep: int) -> dict[str, int]:
    """Return how many pictures of each stratum to hold out, so that it is ``share`` (0..1) of all of them together.

    For strata that follow each other, as bins of a value do: what rounding leaves out of one is made up for in the
    next. ``total`` pictures there were of each, and of those that are ``left`` at least ``keep`` stay.
    """
    wanted: dict[str, int] = {}
    passed = 0
    for stratum in sorted(total):
        passed += total[stratum]
        due = round(share * passed) - sum(wanted.values())
        wanted[stratum] = max(1, min(due, left[stratum] - keep))
    return wanted


def hold_out(units: Sequence[Unit], wanted: Mapping[str, int], keep: int, seed: int) -> list[Unit]:
    """Return units with as many pictures of each stratum as are ``wanted``, as nearly as units allow.

    At least one unit of each stratum is held out and at least ``keep`` are left; where both cannot be had, they are
    left.
    """
    draft = _Draft(units, wanted, keep)
    for stratum, members in _rarest_first(units, seed):
        for unit in members:
            if draft.fits(unit):
                draft.take(unit)
        for unit in members:
            if draft.lacks(stratum) and draft.gain(unit) > 0:  # more than what is wanted, and nearer to it than less
                draft.take(unit)
        if not any(unit in draft.taken for unit in members):
            for unit in sorted(filter(draft.can_be_spared, members), key=draft.gain, reverse=True)[:1]:
                draft.take(unit)
    return list(draft.taken)


class _Draft:
    """What has been held out so far, and what is still wanted of each stratum."""

    def __init__(self, units: Sequence[Unit], wanted: Mapping[str, int], keep: int) -> None:
        self.taken: dict[Unit, None] = {}  # a set that keeps their order
        self._wanted = dict(wanted)
        self._left = Counter(stratum for unit in units for stratum in unit.strata)
        self._keep = keep

    def can_be_spared(self, unit: Unit) -> bool:
        return unit not in self.taken and all(self._left[stratum] > self._keep for stratum in unit.strata)

    def fits(self, unit: Unit) -> bool:
        return all(pictures <= self._wanted[stratum] for stratum, pictures in unit.strata.items())

    def lacks(self, stratum: str) -> bool:
        return self._wanted[stratum] > 0

    def gain(self, unit: Unit) -> int:
        """By how much holding the unit out comes nearer to what is wanted: in squares, over all strata."""
        wanted = self._wanted
        return sum(wanted[s] ** 2 - (wanted[s] - pictures) ** 2 for s, pictures in unit.strata.items())

    def take(self, unit: Unit) -> None:
        if not self.can_be_spared(unit):
            return
        self.taken[unit] = None
        for stratum, pictures in unit.strata.items():
            self._wanted[stratum] -= pictures
            self._left[stratum] -= 1


def folds(units: Sequence[Unit], count: int, seed: int) -> list[list[Unit]]:
    """Return ``count`` disjoint parts that hold all units, each with about as many pictures of each stratum."""
    parts = [_Fold(totals(units), count) for _ in range(count)]
    placed: set[Unit] = set()
    for stratum, members in _rarest_first(units, seed):
        for unit in sorted(members, key=lambda unit: len(unit.members), reverse=True):  # small ones fill the gaps
            if unit not in placed:
                placed.add(unit)
                max(parts, key=partial(_Fold.wants, stratum=stratum)).take(unit)
    return [part.units for part in parts]


class _Fold:
    """One of ``count`` folds: its units, and how many pictures it wants of each stratum and altogether."""

    def __init__(self, total: Mapping[str, int], count: int) -> None:
        self.units: list[Unit] = []
        self._wanted = {stratum: pictures / count for stratum, pictures in total.items()}
        self._room = sum(self._wanted.values())

    def wants(self, stratum: str) -> tuple[float, float]:
        return self._wanted[stratum], self._room

    def take(self, unit: Unit) -> None:
        self.units.append(unit)
        for stratum, pictures in unit.strata.items():
            self._wanted[stratum] -= pictures
            self._room -= pictures


def totals(units: Sequence[Unit]) -> Mapping[str, int]:
    """Return the number of pictures of each stratum."""
    total: Counter[str] = Counter()
    for unit in units:
        total.update(unit.strata)
    return total


def _rarest_first(units: Sequence[Unit], seed: int) -> Iterator[tuple[str, list[Unit]]]:
    """Yield each stratum with its units in random order, the rarest first."""
    members: dict[str, list[Unit]] = {}
    for unit in units:
        for stratum in unit.strata:
            members.setdefault(stratum, []).append(unit)
    total = totals(units)
    for stratum in sorted(members, key=lambda stratum: (total[stratum], stratum)):
        # A generator per stratum: adding a class leaves the split of the others as it was.
        random.Random(hashlib.sha256(f"{seed} {stratum}".encode()).digest()).shuffle(members[stratum])
        yield stratum, members[stratum]
