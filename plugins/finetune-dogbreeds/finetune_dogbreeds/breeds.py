"""The breeds that are drawn, as records: widen the sample by adding one to ``BREEDS``.

Lengths of a ``Build`` share one free unit (a picture is scaled to fit); those of the face are in skull radii.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Colour = tuple[int, int, int]
Coat = Literal["short", "medium", "long", "curly"]
Pattern = Literal["solid", "spots", "patches", "saddle", "points", "brindle"]
White = Literal["chest", "belly", "socks", "muzzle", "blaze", "cheeks", "collar", "tail"]
Ear = Literal["pricked", "bat", "drop", "button", "rose"]
Tail = Literal["sabre", "raised", "curled", "whip", "docked"]


@dataclass(frozen=True, kw_only=True)
class Build:
    """The body: chest ``depth``, ``leg`` from ground to chest, ``bone`` half the thickness of a leg.

    ``tuck`` (0..1) is how far the belly is drawn up, ``slope`` how far the back falls, in radians. ``muzzle`` is
    the length of the nose and ``snout`` half its thickness, both in radii of the ``skull``.
    """

    length: float
    depth: float
    leg: float
    bone: float
    neck: float
    skull: float
    muzzle: float
    snout: float
    tuck: float = 0.3
    slope: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Colouring:
    """One of a breed's colours: the ground colour, the pattern upon it, white parts, a dark mask."""

    base: Colour
    marking: Colour = (30, 27, 26)
    pattern: Pattern = "solid"
    white: tuple[White, ...] = ()
    mask: bool = False


@dataclass(frozen=True, kw_only=True)
class Breed:
    """A breed of dog as it is drawn; one of its ``colourings`` is picked for each picture.

    ``fringe`` (0..1) is how shaggy the outline is, ``ear_size`` and ``tail_length`` scale the usual ones, and
    a ``clipped`` coat leaves pompons on legs and tail.
    """

    name: str
    build: Build
    colourings: tuple[Colouring, ...]
    coat: Coat
    ear: Ear
    tail: Tail
    fringe: float = 0.0
    ear_size: float = 1.0
    tail_length: float = 1.0
    clipped: bool = False


BLACK: Colour = (38, 35, 36)
CHOCOLATE: Colour = (84, 54, 38)
CREAM: Colour = (232, 214, 178)
FAWN: Colour = (204, 168, 122)
GOLD: Colour = (208, 160, 92)
GREY: Colour = (112, 114, 118)
RED: Colour = (164, 92, 46)
TAN: Colour = (186, 124, 66)
SLATE: Colour = (96, 100, 108)
WHITE: Colour = (240, 236, 228)

BREEDS: tuple[Breed, ...] = (
    Breed(
        name="Corgi",
        build=Build(length=1.28, depth=0.42, leg=0.2, bone=0.068, neck=0.32, skull=0.22, muzzle=0.85, snout=0.4),
        colourings=(
            Colouring(base=(198, 128, 64), white=("chest", "socks", "muzzle", "blaze", "belly", "collar")),
            Colouring(base=TAN, pattern="saddle", white=("chest", "socks", "muzzle", "blaze", "belly")),
        ),
        coat="medium",
        ear="pricked",
        tail="docked",
        fringe=0.35,
        ear_size=1.15,
    ),
    Breed(
        name="Dachshund",
        build=Build(length=1.6, depth=0.36, leg=0.16, bone=0.058, neck=0.36, skull=0.182, muzzle=1.45, snout=0.4),
        colourings=(
            Colouring(base=RED),
            Colouring(base=BLACK, marking=TAN, pattern="points"),
            Colouring(base=CHOCOLATE, marking=TAN, pattern="points"),
        ),
        coat="short",
        ear="drop",
        tail="sabre",
        ear_size=1.1,
    ),
    Breed(
        name="Dalmatian",
        build=Build(length=1.08, depth=0.44, leg=0.58, bone=0.06, neck=0.44, skull=0.182, muzzle=1.1, snout=0.45),
        colourings=(
            Colouring(base=WHITE, pattern="spots"),
            Colouring(base=WHITE, marking=CHOCOLATE, pattern="spots"),
        ),
        coat="short",
        ear="drop",
        tail="sabre",
        ear_size=0.85,
    ),
    Breed(
        name="French Bulldog",
        build=Build(
            length=0.8, depth=0.46, leg=0.26, bone=0.085, neck=0.27, skull=0.259, muzzle=0.2, snout=0.55, tuck=0.35
        ),
        colourings=(
            Colouring(base=FAWN, mask=True),
            Colouring(base=(92, 74, 60), pattern="brindle", white=("chest",)),
            Colouring(base=WHITE, pattern="patches"),
        ),
        coat="short",
        ear="bat",
        tail="docked",
    ),
    Breed(
        name="German Shepherd",
        build=Build(
            length=1.22, depth=0.46, leg=0.52, bone=0.066, neck=0.4, skull=0.193, muzzle=1.25, snout=0.42, slope=0.09
        ),
        colourings=(
            Colouring(base=TAN, pattern="saddle", mask=True),
            Colouring(base=FAWN, pattern="saddle", mask=True),
        ),
        coat="medium",
        ear="pricked",
        tail="sabre",
        fringe=0.3,
        tail_length=1.15,
    ),
    Breed(
        name="Golden Retriever",
        build=Build(length=1.14, depth=0.47, leg=0.47, bone=0.07, neck=0.38, skull=0.204, muzzle=0.95, snout=0.5),
        colourings=(
            Colouring(base=GOLD),
            Colouring(base=(222, 186, 128)),
            Colouring(base=(190, 130, 66)),
        ),
        coat="long",
        ear="drop",
        tail="sabre",
        fringe=0.85,
        ear_size=0.95,
        tail_length=1.1,
    ),
    Breed(
        name="Greyhound",
        build=Build(
            length=1.16, depth=0.44, leg=0.68, bone=0.05, neck=0.52, skull=0.143, muzzle=1.7, snout=0.42, tuck=1.0
        ),
        colourings=(
            Colouring(base=FAWN),
            Colouring(base=(150, 112, 76), pattern="brindle"),
            Colouring(base=SLATE, white=("chest",)),
        ),
        coat="short",
        ear="rose",
        tail="whip",
        tail_length=1.1,
    ),
    Breed(
        name="Labrador Retriever",
        build=Build(
            length=1.1, depth=0.49, leg=0.44, bone=0.074, neck=0.36, skull=0.215, muzzle=0.9, snout=0.54, tuck=0.2
        ),
        colourings=(
            Colouring(base=(218, 184, 126)),
            Colouring(base=BLACK),
            Colouring(base=CHOCOLATE),
        ),
        coat="short",
        ear="drop",
        tail="sabre",
        ear_size=0.8,
    ),
    Breed(
        name="Poodle",
        build=Build(
            length=0.96, depth=0.4, leg=0.58, bone=0.056, neck=0.46, skull=0.182, muzzle=1.35, snout=0.34, tuck=0.5
        ),
        colourings=(
            Colouring(base=WHITE),
            Colouring(base=BLACK),
            Colouring(base=(214, 162, 110)),
        ),
        coat="curly",
        ear="drop",
        tail="raised",
        fringe=0.6,
        ear_size=1.25,
        tail_length=0.7,
        clipped=True,
    ),
    Breed(
        name="Pug",
        build=Build(
            length=0.84, depth=0.46, leg=0.28, bone=0.072, neck=0.26, skull=0.259, muzzle=0.12, snout=0.5, tuck=0.15
        ),
        colourings=(
            Colouring(base=(214, 184, 142), mask=True),
            Colouring(base=(196, 160, 116), mask=True),
            Colouring(base=BLACK),
        ),
        coat="short",
        ear="button",
        tail="curled",
        tail_length=0.75,
    ),
    Breed(
        name="Saint Bernard",
        build=Build(
            length=1.24, depth=0.58, leg=0.48, bone=0.1, neck=0.38, skull=0.286, muzzle=0.62, snout=0.6, tuck=0.12
        ),
        colourings=(
            Colouring(
                base=RED,
                marking=WHITE,
                pattern="patches",
                white=("chest", "socks", "muzzle", "blaze", "collar", "tail", "belly"),
            ),
            Colouring(
                base=(138, 80, 46),
                marking=WHITE,
                pattern="patches",
                white=("chest", "socks", "muzzle", "blaze", "tail"),
            ),
        ),
        coat="long",
        ear="drop",
        tail="sabre",
        fringe=0.5,
        ear_size=0.8,
        tail_length=1.1,
    ),
    Breed(
        name="Siberian Husky",
        build=Build(length=1.06, depth=0.45, leg=0.5, bone=0.066, neck=0.38, skull=0.204, muzzle=0.95, snout=0.4),
        colourings=(
            Colouring(base=GREY, white=("chest", "belly", "socks", "muzzle", "cheeks", "tail")),
            Colouring(base=BLACK, white=("chest", "belly", "socks", "muzzle", "cheeks", "tail")),
            Colouring(base=(170, 106, 64), white=("chest", "belly", "socks", "muzzle", "cheeks", "tail")),
        ),
        coat="medium",
        ear="pricked",
        tail="curled",
        fringe=0.4,
        ear_size=0.85,
        tail_length=1.15,
    ),
)
