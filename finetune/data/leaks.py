"""What is on both sides of a division: pictures that are equal, that look alike, or that are of one group."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import combinations

from finetune.data.likeness import look_alikes
from finetune.data.reading import Checked
from finetune.data.units import Grouping
from finetune.types import Part

NAMES = {"train": "training", "valid": "validation", "test": "test"}
DONE_WITH = {"train": "trained on", "valid": "validated on"}


def leaks(parts: dict[Part, list[Checked]], grouping: Grouping) -> Iterator[str]:
    """Yield a sentence for every two parts and every way in which pictures of the later are in the earlier, too.

    A picture that equals another is not said to look like it or to be of its group as well.
    """
    families = _families([picture for members in parts.values() for picture in members])
    kinds: list[tuple[Callable[[Checked], Hashable | None], str]] = [
        (
            lambda picture: picture.sha256,
            "{n} {name} picture(s) are also {done}, which flatters the score; first {b}{equals}.",
        ),
        (
            lambda picture: families.get(picture.sha256),
            "{n} {name} picture(s) nearly equal one that is {done}, which may flatter the score; first {b} ≈ {a}.",
        ),
        (
            lambda picture: grouping(picture.example),
            "{n} {name} picture(s) are of a group that is also {done}, which flatters the score; first {b}, as {a}.",
        ),
    ]
    for earlier, later in combinations(parts, 2):
        known: set[int] = set()
        for key, text in kinds:
            pairs = [p for p in _pairs(parts[earlier], parts[later], key) if id(p[1]) not in known]
            known |= {id(picture) for _, picture in pairs}
            if pairs:
                a, b = (picture.example.path for picture in pairs[0])
                equals = ", listed in both parts" if a == b else f" = {a}"  # a table may name one in two rows
                yield text.format(n=len(pairs), name=NAMES[later], done=DONE_WITH[earlier], a=a, b=b, equals=equals)


def _pairs(
    earlier: Sequence[Checked], later: Sequence[Checked], key: Callable[[Checked], Hashable | None]
) -> Iterator[tuple[Checked, Checked]]:
    seen: dict[Hashable, Checked] = {}
    for picture in earlier:
        if (value := key(picture)) is not None:
            seen.setdefault(value, picture)
    for picture in later:
        if (value := key(picture)) is not None and value in seen:
            yield seen[value], picture


def _families(checked: Sequence[Checked]) -> dict[str, int]:
    """Return the number of its family of look-alikes for each content that has one."""
    found = look_alikes([picture.likeness for picture in checked])
    return {checked[at].sha256: number for number, family in enumerate(found) for at in family}
