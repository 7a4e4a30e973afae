"""The coat: ground colour, pattern and white parts, painted on a body and on a head."""

from __future__ import annotations

import math
from random import Random

from finetune_dogbreeds.anatomy import Body, Skeleton
from finetune_dogbreeds.breeds import WHITE, Colour, Colouring
from finetune_dogbreeds.canvas import Brush
from finetune_dogbreeds.geometry import Chain, Disc, place


def vary(colour: Colour, random: Random, by: int = 12) -> Colour:
    """Return the colour a little lighter or darker, warmer or cooler."""
    lighter, warmer = random.uniform(-by, by), random.uniform(-by, by) / 3
    red, green, blue = colour[0] + lighter + warmer, colour[1] + lighter, colour[2] + lighter - warmer
    return _byte(red), _byte(green), _byte(blue)


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Return ``share`` of the second colour mixed into the first."""
    red, green, blue = (_byte(x + share * (y - x)) for x, y in zip(a, b, strict=True))
    return red, green, blue


def _byte(value: float) -> int:
    return max(0, min(255, round(value)))


def paint_body(brush: Brush, dog: Skeleton, colouring: Colouring, random: Random, *, legs: bool) -> None:
    """Paint pattern and white parts over the ground colour of the trunk, or of the legs, which hide the belly."""
    if colouring.pattern == "saddle":
        _saddle(brush, dog.body, colouring.marking, random)
    elif colouring.pattern == "points":
        _points(brush, dog, colouring.marking)
    elif colouring.pattern == "patches":
        _patches(brush, dog.body, colouring.marking, random)
    elif colouring.pattern == "spots":
        _spots(brush, dog, colouring.marking, random)
    elif colouring.pattern == "brindle":
        _brindle(brush, dog.body, mix(colouring.base, (20, 16, 14), 0.6), random)
    _white_parts(brush, dog, colouring, random, legs)


def _saddle(brush: Brush, body: Body, colour: Colour, random: Random) -> None:
    low = random.uniform(-0.06, 0.1)
    brush.limb(
        (
            body.at(-0.08, 0.3 + low, 0.3),
            body.at(0.3, 0.36 + low, 0.36),
            body.at(0.65, 0.38 + low, 0.42),
            body.at(1.0, 0.5 + low, 0.26),
        ),
        colour,
    )


def _points(brush: Brush, dog: Skeleton, colour: Colour) -> None:
    for leg in (*dog.near, *dog.far):
        brush.limb(lower(leg), colour)
    brush.disc(dog.body.at(1.12, -0.12, 0.2), colour)


def _patches(brush: Brush, body: Body, colour: Colour, random: Random) -> None:
    for i in range(3):
        along, above = (i + random.uniform(0.2, 0.8)) / 3, random.uniform(0.0, 0.45)
        for _ in range(4):
            at_along, at_above = along + random.uniform(-0.09, 0.09), above + random.uniform(-0.2, 0.2)
            brush.disc(body.at(at_along, at_above, random.uniform(0.12, 0.26)), colour, random.uniform(0.7, 1.1))


def _spots(brush: Brush, dog: Skeleton, colour: Colour, random: Random) -> None:
    left, bottom, right, top = dog.box()
    for _ in range(150):
        spot = Disc(random.uniform(left, right), random.uniform(bottom, top), random.uniform(0.014, 0.034))
        brush.disc(spot, colour, random.uniform(0.7, 1.2))


def _brindle(brush: Brush, body: Body, colour: Colour, random: Random) -> None:
    for i in range(34):
        along, above = -0.15 + 1.35 * i / 34, random.uniform(-0.7, 0.2)
        foot, top = body.at(along, above, 0), body.at(along + random.uniform(-0.1, 0.02), above + 0.5, 0)
        brush.line([(foot.x, foot.y), (top.x, top.y)], random.uniform(0.006, 0.018), colour)


def _white_parts(brush: Brush, dog: Skeleton, colouring: Colouring, random: Random, legs: bool) -> None:
    white, body = vary(WHITE, random, 8), dog.body
    if "belly" in colouring.white and not legs:
        brush.limb((body.at(0.1, -0.52, 0.16), body.at(0.5, -0.48, 0.16), body.at(0.95, -0.45, 0.22)), white)
    if "chest" in colouring.white:
        brush.limb((body.at(1.16, 0.2, 0.16), body.at(1.1, -0.15, 0.24), body.at(1.0, -0.4, 0.2)), white)
    if "collar" in colouring.white:
        base, middle = dog.neck[0], dog.neck[1]
        brush.limb((Disc(base.x + 0.5 * base.r, base.y - base.r, 0.8 * base.r), middle), white)
    if "socks" in colouring.white:
        for leg in (*dog.near, *dog.far):
            brush.limb(lower(leg), white)
    if "tail" in colouring.white:
        brush.limb(tuple(disc._replace(r=2.2 * disc.r) for disc in dog.tail[-3:]), white)


def lower(leg: Chain) -> Chain:
    """Return the part of a leg below the wrist, a little wider than it is."""
    return tuple(disc._replace(r=1.25 * disc.r) for disc in leg[-3:])


def ear_colour(colouring: Colouring, random: Random) -> Colour:
    """Return the colour of the ears: that of the patches on a white head, else a darker ground colour."""
    if colouring.pattern == "patches" and sum(colouring.base) > 600:
        return colouring.marking
    if colouring.mask:
        return mix(colouring.base, (34, 28, 26), random.uniform(0.4, 0.75))
    return mix(colouring.base, (40, 28, 20), 0.05 if sum(colouring.base) > 600 else 0.22)


def paint_head(brush: Brush, head: Disc, angle: float, colouring: Colouring, random: Random, facing: bool) -> None:
    """Paint pattern and white parts over the ground colour of a head."""

    def dab(colour: Colour, *shape: tuple[float, float, float]) -> None:
        both = (shape, tuple((-x, y, r) for x, y, r in shape)) if facing else (shape,)
        for side in both:
            brush.limb(place(side, head, angle), colour)

    _head_pattern(brush, head, angle, colouring, random, facing)
    white = vary(WHITE, random, 8)
    if "cheeks" in colouring.white:
        dab(white, *(((0.5, -0.5, 0.55),) if facing else ((-0.2, -0.6, 0.5), (0.5, -0.35, 0.42), (1.6, -0.3, 0.5))))
        dab(white, (0.36, 0.42, 0.13) if facing else (0.5, 0.5, 0.13))
    if "muzzle" in colouring.white:
        dab(white, *(((0.0, -0.6, 0.5),) if facing else ((0.75, -0.3, 0.42), (2.4, -0.3, 0.6))))
    if "blaze" in colouring.white:
        dab(white, *(((0.0, -0.4, 0.2), (0.0, 0.9, 0.12)) if facing else ((0.9, 0.0, 0.2), (0.62, 0.75, 0.2))))
    if colouring.mask:
        dab((40, 34, 33), *(((0.1, -0.55, 0.42),) if facing else ((0.8, -0.3, 0.42), (2.4, -0.3, 0.6))))


def _head_pattern(brush: Brush, head: Disc, angle: float, colouring: Colouring, random: Random, facing: bool) -> None:
    if colouring.pattern == "spots":
        for _ in range(16):
            turn, far = random.uniform(0, 2 * math.pi), random.uniform(0.2, 1.3)
            spot = (far * math.cos(turn), far * math.sin(turn), random.uniform(0.06, 0.13))
            brush.limb(place((spot,), head), colouring.marking)
    elif colouring.pattern == "points":
        shapes = (
            (
                ((0.4, 0.5, 0.12),),
                ((-0.4, 0.5, 0.12),),
                ((0.0, -0.55, 0.4),),
            )
            if facing
            else (((0.52, 0.52, 0.12),), ((0.55, -0.5, 0.3), (2.4, -0.55, 0.45)))
        )
        for shape in shapes:
            brush.limb(place(shape, head, angle), colouring.marking)
    elif colouring.pattern == "patches" and sum(colouring.base) > 600:
        brush.limb(place(((0.35, 0.3, 0.42), (-0.3, 0.5, 0.5)), head, angle), colouring.marking)
