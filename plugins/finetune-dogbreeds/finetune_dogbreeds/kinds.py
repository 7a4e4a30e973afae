"""Kinds of drawn dogs that no breed has: what a network can learn to look from, before it sees the sample.

Each kind has its own build, colours, coat, ears and tail, all by chance. Ears, tail and coat together are never those
of a breed in ``BREEDS``, so that what is learned from the kinds knows none of the breeds.
"""

from __future__ import annotations

import itertools
from random import Random
from typing import get_args

from finetune_dogbreeds.breeds import (
    BLACK,
    BREEDS,
    CHOCOLATE,
    CREAM,
    FAWN,
    GOLD,
    GREY,
    RED,
    SLATE,
    TAN,
    WHITE,
    Breed,
    Build,
    Coat,
    Colour,
    Colouring,
    Ear,
    Pattern,
    Tail,
    White,
)

COUNT = 128
Traits = tuple[Coat, Ear, Tail]

_GROUNDS: tuple[Colour, ...] = (BLACK, CHOCOLATE, CREAM, FAWN, GOLD, GREY, RED, TAN, SLATE, WHITE)
_RANGES = {
    # Somewhat beyond what the breeds have, in the units of ``Build``.
    "length": (0.8, 1.6),
    "depth": (0.32, 0.62),
    "leg": (0.14, 0.7),
    "bone": (0.045, 0.105),
    "neck": (0.24, 0.6),
    "skull": (0.14, 0.3),
    "muzzle": (0.1, 1.8),
    "snout": (0.32, 0.64),
    "tuck": (0.1, 1.0),
    "slope": (0.0, 0.14),
}


def kinds(count: int = COUNT) -> tuple[Breed, ...]:
    """Return the first ``count`` kinds, 'kind-000' and so on: the same ones on every call."""
    return tuple(_kind(number) for number in range(count))


def traits(breed: Breed) -> Traits:
    """Return what is never shared by a kind and a breed: coat, ears and tail."""
    return breed.coat, breed.ear, breed.tail


def _free_traits() -> list[Traits]:
    taken = set(map(traits, BREEDS))
    every = itertools.product(get_args(Coat), get_args(Ear), get_args(Tail))
    free = [one for one in every if one not in taken]
    return Random("traits").sample(free, len(free))


_FREE = _free_traits()


def _kind(number: int) -> Breed:
    name = f"kind-{number:03d}"
    random = Random(name)
    # In turn, so that each is had by one kind at least, and by no more kinds than any other.
    coat, ear, tail = _FREE[number % len(_FREE)]
    return Breed(
        name=name,
        build=Build(**{part: random.uniform(*limits) for part, limits in _RANGES.items()}),
        # As many as the breeds have: a kind is known by its shape, and not by one colour.
        colourings=tuple(_colouring(random) for _ in range(random.choice((1, 2, 3)))),
        coat=coat,
        ear=ear,
        tail=tail,
        fringe=0.0 if coat == "short" else random.uniform(0.2, 0.9),
        ear_size=random.uniform(0.75, 1.3),
        tail_length=random.uniform(0.7, 1.25),
        clipped=coat == "curly" and random.random() < 0.3,
    )


def _colouring(random: Random) -> Colouring:
    base, marking = random.sample(_GROUNDS, 2)
    return Colouring(
        base=base,
        marking=marking,
        pattern=random.choice(get_args(Pattern)),
        white=_some(get_args(White), random) if random.random() < 0.5 else (),
        mask=random.random() < 0.15,
    )


def _some(parts: tuple[White, ...], random: Random) -> tuple[White, ...]:
    return tuple(random.sample(parts, random.randrange(1, len(parts))))
