"""How a dog is drawn: its layers from back to front, each painted, furred and lit."""

from __future__ import annotations

import dataclasses
from random import Random

from finetune_dogbreeds.anatomy import Pose, Skeleton, Stance, skeleton
from finetune_dogbreeds.breeds import Breed, Build, Coat, Colouring
from finetune_dogbreeds.canvas import Brush, Canvas, Layer, Plane
from finetune_dogbreeds.coat import paint_body, vary
from finetune_dogbreeds.geometry import Chain, Disc, Frame, bounds, place
from finetune_dogbreeds.head import Look, draw_head

_STANCES: tuple[Stance, ...] = ("stand", "stand", "stand", "walk", "walk", "walk", "sit", "lie")
_PROPORTIONS = ("length", "depth", "leg", "bone", "neck", "skull", "muzzle", "snout")


def pick_pose(random: Random) -> Pose:
    """Return a pose by chance."""
    stance = random.choice(_STANCES)
    return Pose(
        stance=stance,
        stride=random.choice((-1, 1)) * random.uniform(0.2, 0.42) if stance == "walk" else random.uniform(-0.06, 0.06),
        neck=random.uniform(0.7, 1.15) + (0.2 if stance == "sit" else 0.0),
        pitch=random.uniform(-0.3, 0.16),
        wag=random.uniform(-0.28, 0.28),
        facing=random.random() < 0.3,
        tongue=random.random() < 0.3,
    )


def pick_build(build: Build, random: Random) -> Build:
    """Return the build of one individual: every proportion a few per cent off the breed's."""
    changed = {name: getattr(build, name) * random.uniform(0.94, 1.06) for name in _PROPORTIONS}
    return dataclasses.replace(build, **changed)


def pick_colouring(breed: Breed, random: Random) -> Colouring:
    """Return one of the breed's colourings, in an individual shade."""
    chosen = random.choice(breed.colourings)
    return dataclasses.replace(chosen, base=vary(chosen.base, random), marking=vary(chosen.marking, random, 8))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dog:
    """One individual in one pose, ready to be placed and drawn."""

    breed: Breed
    build: Build
    colouring: Colouring
    pose: Pose
    bones: Skeleton

    @classmethod
    def pick(cls, breed: Breed, random: Random) -> Dog:
        """Return a dog of the breed by chance."""
        build, pose = pick_build(breed.build, random), pick_pose(random)
        bones = skeleton(build, pose, breed.tail, breed.tail_length)
        return cls(breed=breed, build=build, colouring=pick_colouring(breed, random), pose=pose, bones=bones)


def draw_dog(canvas: Canvas, frame: Frame, dog: Dog, random: Random) -> None:
    """Draw a dog, from its shadow to its nose."""
    bones, coat = dog.bones, _coat_texture(canvas, dog.breed.coat)
    trunk, legs = (_painted(canvas, frame, dog, legs) for legs in (False, True))

    def lay(limbs: tuple[Chain, ...], paint: Brush, relief: float, shade: float = 1.0) -> None:
        layer = Layer(canvas.size, frame, paint)
        _outline(layer.mask, dog, limbs, random)
        canvas.lay(layer, relief, coat, shade)

    _shadow(canvas, frame, bones)
    lay(bones.far, legs, 0.4, 0.7)
    if dog.breed.tail != "curled":
        lay((bones.tail,), trunk, 0.48, 0.92)
    lay((bones.torso, bones.neck), trunk, 0.48)
    lay(bones.near, legs, 0.4)
    if dog.breed.tail == "curled":
        lay((bones.tail,), trunk, 0.48)
    draw_head(canvas, frame, Look.of(dog.breed, dog.build, dog.colouring, dog.pose), bones.head, coat, random)


def _painted(canvas: Canvas, frame: Frame, dog: Dog, legs: bool) -> Brush:
    paint = Layer(canvas.size, frame, dog.colouring.base).colour
    # Seeded alike, so that markings run on from the trunk to the legs.
    paint_body(paint, dog.bones, dog.colouring, Random(repr(dog.build)), legs=legs)
    return paint


def _coat_texture(canvas: Canvas, coat: Coat) -> Plane:
    if coat == "short":
        return canvas.grain(1.3, 2.0, 0.025)
    if coat == "curly":
        return canvas.grain(2.6, 2.6, 0.11)
    strength = 0.055 if coat == "medium" else 0.085
    return canvas.grain(1.2, 5.0, strength) + canvas.grain(2.0, 9.0, 0.5 * strength)


def _shadow(canvas: Canvas, frame: Frame, bones: Skeleton) -> None:
    left, _, right, _ = bounds((*bones.torso, *bones.near[0], *bones.near[1]))
    layer = Layer(canvas.size, frame)
    layer.mask.disc(Disc((left + right) / 2 - 0.1 * canvas.light[0], 0.0, 0.52 * (right - left)), 255, 0.16)
    canvas.darken(layer.mask, 0.5, 5.0)


def _outline(mask: Brush, dog: Dog, limbs: tuple[Chain, ...], random: Random) -> None:
    for limb in limbs:
        mask.limb(limb, 255)
        _hair(mask, dog.breed, limb, random, dog.build.depth)
    if dog.breed.clipped:
        _pompons(mask, dog, limbs, random)


def _hair(mask: Brush, breed: Breed, limb: Chain, random: Random, size: float) -> None:
    """Give a limb's outline the breed's coat: none, tufts or curls."""
    if breed.coat == "curly":
        mask.curls(limb, 0.06 * size, random)
    elif breed.fringe:
        mask.tufts(limb, 0.3 * size * breed.fringe, random)


def _pompons(mask: Brush, dog: Dog, limbs: tuple[Chain, ...], random: Random) -> None:
    bones, bone = dog.bones, dog.build.bone
    for limb in limbs:
        if limb is bones.tail:
            ball = limb[-1]._replace(r=2.1 * bone)
        elif limb in (*bones.near, *bones.far):
            ball = limb[-2]._replace(y=limb[-2].y + 1.3 * bone, r=1.9 * bone)
        else:
            continue
        mask.disc(ball, 255)
        mask.curls(place(((0.0, 0.0, 0.9), (0.0, 0.1, 0.9)), ball), 0.5 * bone, random)


def fit(dog: Dog, size: tuple[float, float], random: Random, horizon: float) -> Frame:
    """Return the frame that puts the dog into a picture of ``size`` pixels, standing below ``horizon``."""
    left, bottom, right, top = dog.bones.box()
    width, height = size
    # Networks see the middle square of a picture, so that is where the dog should be.
    side = random.uniform(0.72, 0.88) * min(width, height)
    scale = side / max(right - left, top - bottom)
    x = (width - scale * (right + left)) / 2 + random.uniform(-0.05, 0.05) * width
    free = height - scale * (top - bottom)
    y = height - free * random.uniform(0.3, 0.55) + scale * bottom
    return Frame(x, max(y, horizon + 0.06 * height), scale, random.uniform(-0.07, 0.07))
