"""How a dog's head is drawn, in profile or facing the viewer; lengths are in radii of the skull."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from finetune_dogbreeds.anatomy import Pose, ears
from finetune_dogbreeds.breeds import Breed, Build, Colour, Colouring
from finetune_dogbreeds.canvas import Canvas, Layer, Plane
from finetune_dogbreeds.coat import ear_colour, mix, paint_head
from finetune_dogbreeds.geometry import Chain, Disc, Frame, place

INK: Colour = (24, 20, 20)
TONGUE: Colour = (206, 98, 104)
GLINT: Colour = (245, 245, 245)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What decides how a head looks."""

    breed: Breed
    colouring: Colouring
    muzzle: float
    snout: float
    angle: float
    facing: bool
    tongue: bool

    @classmethod
    def of(cls, breed: Breed, build: Build, colouring: Colouring, pose: Pose) -> Look:
        """Return the look of an individual in a pose."""
        return cls(
            breed=breed,
            colouring=colouring,
            muzzle=build.muzzle,
            snout=build.snout,
            angle=0.5 * pose.pitch if pose.facing else pose.pitch,
            facing=pose.facing,
            tongue=pose.tongue,
        )


def draw_head(canvas: Canvas, frame: Frame, look: Look, head: Disc, coat: Plane, random: Random) -> None:
    """Draw a head: ears that are behind it, skull and muzzle, ears before it, face."""
    kind = look.breed.ear
    far, near = ears(kind, look.breed.ear_size, head, look.angle, look.facing)
    behind: tuple[Chain, ...] = (far,)
    before: tuple[Chain, ...] = (near,)
    if look.facing:
        upright = kind in ("pricked", "bat", "rose")
        behind, before = ((far, near), ()) if upright else ((), (far, near))
    colour = ear_colour(look.colouring, random)
    _ears(canvas, frame, look, behind, colour, coat, random, 0.85)
    _skull(canvas, frame, look, head, coat, random)
    _ears(canvas, frame, look, before, colour, coat, random, 1.0)
    _face(canvas, frame, look, head)


def _ears(
    canvas: Canvas,
    frame: Frame,
    look: Look,
    chains: tuple[Chain, ...],
    colour: Colour,
    coat: Plane,
    random: Random,
    shade: float,
) -> None:
    layer = Layer(canvas.size, frame, colour)
    for ear in chains:
        layer.mask.limb(ear, 255)
        if look.breed.coat == "curly":
            layer.mask.curls(ear, 0.5 * ear[0].r, random)
        elif look.breed.coat == "long" and look.breed.ear == "drop":
            layer.mask.tufts(ear, 0.5 * ear[0].r, random)
        if look.breed.ear in ("pricked", "bat"):
            inner = tuple(disc._replace(r=0.5 * disc.r) for disc in ear)
            layer.colour.limb(inner, mix(colour, (196, 138, 128), 0.55))
    canvas.lay(layer, 0.42, coat, shade)


def _muzzle(look: Look) -> tuple[tuple[float, float, float], ...]:
    length, thick = look.muzzle, look.snout
    if look.facing:
        return ((0.0, -0.3, 1.15 * thick), (0.0, -0.42 - 0.14 * length, 1.0 * thick))
    return ((0.4, -0.16, 1.3 * thick), (0.62 + 0.5 * length, -0.27, 1.08 * thick), (0.62 + length, -0.32, 0.9 * thick))


def _skull(canvas: Canvas, frame: Frame, look: Look, head: Disc, coat: Plane, random: Random) -> None:
    layer = Layer(canvas.size, frame, look.colouring.base)
    muzzle = place(_muzzle(look), head, look.angle)
    cranium = place(((-0.16, 0.02, 0.95), (0.16, 0.02, 0.95)) if look.facing else ((0, 0, 1), (0.2, -0.1, 0.88)), head)
    for part in (cranium, muzzle):
        layer.mask.limb(part, 255)
    _head_hair(layer, look, head, cranium, random)
    paint_head(layer.colour, head, look.angle, look.colouring, random, look.facing)
    canvas.lay(layer, 0.48, coat)
    if look.facing:
        _bridge(canvas, frame, look, muzzle, coat, random, head)


def _bridge(canvas: Canvas, frame: Frame, look: Look, muzzle: Chain, coat: Plane, random: Random, head: Disc) -> None:
    """Raise the muzzle of a head that faces the viewer, which has no outline of its own."""
    layer = Layer(canvas.size, frame, look.colouring.base)
    layer.mask.limb(muzzle, 255)
    paint_head(layer.colour, head, look.angle, look.colouring, random, True)
    canvas.lay(layer, 0.35, coat, 1.03)


def _head_hair(layer: Layer, look: Look, head: Disc, cranium: Chain, random: Random) -> None:
    breed = look.breed
    if breed.coat == "curly":
        topknot = place(((-0.25, 0.75, 0.6), (0.25, 0.8, 0.6)), head, look.angle)
        layer.mask.limb(topknot, 255)
        layer.mask.curls(topknot, 0.2 * head.r, random)
    elif breed.fringe:
        layer.mask.tufts(cranium, 0.45 * head.r * breed.fringe, random)


class _Pen:
    """Draws the lines and dots of a face, in skull radii about the head."""

    def __init__(self, layer: Layer, head: Disc, angle: float) -> None:
        self._layer, self._head, self._angle = layer, head, angle

    def dot(self, x: float, y: float, r: float, colour: Colour, flat: float = 1.0) -> None:
        self._layer.disc(place(((x, y, r),), self._head, self._angle)[0], colour, flat)

    def stroke(self, colour: Colour, width: float, *points: tuple[float, float]) -> None:
        placed = place(tuple((x, y, 0.0) for x, y in points), self._head, self._angle)
        self._layer.line([(disc.x, disc.y) for disc in placed], width * self._head.r, colour)

    def eye(self, x: float, y: float, rim: Colour) -> None:
        self.dot(x, y, 0.19, rim, 0.85)
        self.dot(x, y, 0.14, INK)
        self.dot(x + 0.05, y + 0.06, 0.05, GLINT)


def _face(canvas: Canvas, frame: Frame, look: Look, head: Disc) -> None:
    layer = Layer(canvas.size, frame)
    pen = _Pen(layer, head, look.angle)
    # Lines stay visible: darker than a pale coat, lighter than a black one.
    dark = sum(look.colouring.base) < 180 or look.colouring.mask
    line = (92, 84, 82) if dark else mix(look.colouring.base, INK, 0.7)
    (_front_face if look.facing else _side_face)(pen, look, line)
    canvas.lay(layer)


def _front_face(pen: _Pen, look: Look, line: Colour) -> None:
    tip, thick = -0.42 - 0.14 * look.muzzle, look.snout
    mouth = tip - 0.5 * thick
    if look.tongue:
        pen.stroke(TONGUE, 0.26, (0.0, mouth), (0.02, mouth - 0.32))
        pen.dot(0.02, mouth - 0.32, 0.14, TONGUE)
    pen.stroke(line, 0.07, (0.0, tip + 0.2), (0.0, mouth), (-0.3 * thick, mouth - 0.06), (-0.7 * thick, mouth + 0.1))
    pen.stroke(line, 0.07, (0.0, mouth), (0.3 * thick, mouth - 0.06), (0.7 * thick, mouth + 0.1))
    for side in (-1, 1):
        pen.eye(0.42 * side, 0.14, line)
    pen.dot(0.0, tip + 0.3, 0.24, line, 0.78)
    pen.dot(0.0, tip + 0.3, 0.21, INK, 0.75)
    pen.dot(-0.05, tip + 0.36, 0.06, (120, 112, 112), 0.6)


def _side_face(pen: _Pen, look: Look, line: Colour) -> None:
    end, thick = 0.62 + look.muzzle, 0.9 * look.snout
    low = -0.32 - 0.45 * thick
    if look.tongue:
        pen.stroke(TONGUE, 0.2, (end - 0.1, low), (end + 0.02, low - 0.4))
        pen.dot(end + 0.02, low - 0.4, 0.11, TONGUE)
    pen.stroke(line, 0.08, (end + 0.55 * thick, low + 0.1), (end - 0.1, low), (0.62, low + 0.02), (0.45, low + 0.14))
    pen.eye(0.5, 0.26, line)
    pen.dot(end + 0.75 * thick, -0.32 + 0.42 * thick, 0.2, line, 0.95)
    pen.dot(end + 0.75 * thick, -0.32 + 0.42 * thick, 0.17, INK, 0.9)
