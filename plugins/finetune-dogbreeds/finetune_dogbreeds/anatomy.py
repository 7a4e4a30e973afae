"""From a build and a pose to the limbs of a dog in profile, looking right, as chains of discs on the ground y = 0."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from finetune_dogbreeds.breeds import Build, Ear, Tail
from finetune_dogbreeds.geometry import Box, Chain, Disc, bounds, place, rotate, shift

Stance = Literal["stand", "walk", "sit", "lie"]


@dataclass(frozen=True, kw_only=True)
class Pose:
    """What a dog is doing; angles in radians. ``facing``: it looks at the viewer rather than ahead."""

    stance: Stance
    stride: float
    neck: float
    pitch: float
    wag: float
    facing: bool
    tongue: bool


@dataclass(frozen=True, kw_only=True)
class Skeleton:
    """Everything that is drawn of a dog, in the units of its build; legs are (front, hind)."""

    body: Body
    torso: Chain
    neck: Chain
    near: tuple[Chain, Chain]
    far: tuple[Chain, Chain]
    tail: Chain
    head: Disc

    def box(self) -> Box:
        """Return the box around the dog, with room for ears and nose."""
        room = Disc(self.head.x, self.head.y, 1.9 * self.head.r)
        limbs = (self.torso, self.neck, *self.near, *self.far, self.tail)
        return bounds((room, *(disc for limb in limbs for disc in limb)))


@dataclass(frozen=True)
class Body:
    """The trunk as a frame of reference: it starts at the rump and runs ``length`` along ``angle``."""

    x: float
    y: float
    angle: float
    length: float
    depth: float

    def at(self, along: float, above: float, radius: float) -> Disc:
        """Return a disc at a share of the length and of the depth above the axis; its radius in depths."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        dx, dy = along * self.length, above * self.depth
        return Disc(self.x + cos * dx - sin * dy, self.y + sin * dx + cos * dy, radius * self.depth)


def skeleton(build: Build, pose: Pose, tail: Tail, tail_length: float) -> Skeleton:
    """Return the limbs of a dog of this build in this pose."""
    body = _body(build, pose)
    neck = _neck(build, body, pose)
    near, far = _legs(build, body, pose)
    return Skeleton(
        body=body,
        torso=_torso(build, body),
        neck=neck,
        near=near,
        far=far,
        tail=_tail(build, body, pose, tail, tail_length),
        head=Disc(neck[-1].x, neck[-1].y, build.skull),
    )


def _body(build: Build, pose: Pose) -> Body:
    half = build.length / 2
    if pose.stance == "sit":
        # As steep as straight front legs make it.
        angle = math.asin(min(0.88, max(0.4, (build.leg + 0.2 * build.depth) / (0.8 * build.length))))
        return Body(-0.7 * half, 0.42 * build.depth, angle, 0.9 * build.length, build.depth)
    if pose.stance == "lie":
        return Body(-half, 0.44 * build.depth, 0.04, build.length, build.depth)
    return Body(-half, build.leg + 0.52 * build.depth, build.slope, build.length, build.depth)


def _torso(build: Build, body: Body) -> Chain:
    tuck = build.tuck
    return (
        body.at(0.02, 0.04, 0.4 - 0.05 * tuck),
        body.at(0.36, 0.05 + 0.13 * tuck, 0.46 - 0.16 * tuck),
        body.at(0.76, -0.02, 0.5),
        body.at(0.97, 0.05, 0.37),
    )


def _neck(build: Build, body: Body, pose: Pose) -> Chain:
    base = body.at(0.9, 0.14, 0.34)
    x = base.x + math.cos(pose.neck) * build.neck
    y = base.y + math.sin(pose.neck) * build.neck
    middle = Disc((base.x + x) / 2 - 0.04 * build.neck, (base.y + y) / 2, 0.4 * base.r + 0.45 * build.skull)
    return (base, middle, Disc(x, y, 0.72 * build.skull))


def _legs(build: Build, body: Body, pose: Pose) -> tuple[tuple[Chain, Chain], tuple[Chain, Chain]]:
    shoulder, hip = body.at(0.8, -0.14, 0.26), body.at(0.07, -0.02, 0.35)
    if pose.stance == "lie":
        front, hind = _reaching(build, shoulder), _folded(build, hip)
    elif pose.stance == "sit":
        front, hind = _front_leg(build, shoulder), _folded(build, hip)
    else:
        front, hind = _front_leg(build, shoulder), _hind_leg(build, hip)
        near = rotate(front, pose.stride), rotate(hind, -0.8 * pose.stride)
        return near, (_behind(build, rotate(front, -pose.stride)), _behind(build, rotate(hind, 0.8 * pose.stride)))
    return (front, hind), (_behind(build, front), _behind(build, hind))


def _behind(build: Build, leg: Chain) -> Chain:
    return shift(leg, 1.5 * build.bone, 0.35 * build.bone)


def _front_leg(build: Build, shoulder: Disc) -> Chain:
    x, y, r = shoulder
    bone = build.bone
    return (
        shoulder,
        Disc(x - 0.03 * y, 0.62 * y, 0.4 * r + 0.8 * bone),
        Disc(x + 0.01 * y, 0.3 * y, 0.95 * bone),
        *_paw(bone, x + 0.02 * y),
    )


def _hind_leg(build: Build, hip: Disc) -> Chain:
    x, y, r = hip
    bone = build.bone
    return (
        hip,
        Disc(x + 0.1 * y, 0.64 * y, 0.35 * r + 0.9 * bone),
        Disc(x - 0.13 * y, 0.32 * y, 0.9 * bone),
        *_paw(bone, x - 0.09 * y),
    )


def _folded(build: Build, hip: Disc) -> Chain:
    depth, bone = build.depth, build.bone
    return (
        hip,
        Disc(hip.x + 0.42 * depth, 0.4 * depth, 0.24 * depth),
        Disc(hip.x + 0.3 * depth, 1.1 * bone, 1.1 * bone),
        *_paw(bone, hip.x + 0.3 * depth + 1.6 * bone),
    )


def _reaching(build: Build, shoulder: Disc) -> Chain:
    reach = 0.45 * build.depth + 0.5 * build.leg
    bone = build.bone
    return (
        shoulder,
        Disc(shoulder.x + 0.1 * build.depth, 1.3 * bone, 1.3 * bone),
        *_paw(bone, shoulder.x + reach),
    )


def _paw(bone: float, x: float) -> Chain:
    return Disc(x, bone, bone), Disc(x + 0.9 * bone, 0.75 * bone, 0.75 * bone)


_TAILS: dict[Tail, tuple[float, float, float, float]] = {
    # First angle and bend per link in radians, length of a link, thickness in bones.
    "sabre": (3.9, -0.17, 0.13, 0.85),
    "raised": (2.3, -0.1, 0.11, 0.75),
    "curled": (2.1, -0.62, 0.115, 1.0),
    "whip": (4.15, -0.16, 0.15, 0.5),
    "docked": (2.5, 0.0, 0.02, 0.9),
}


def _tail(build: Build, body: Body, pose: Pose, kind: Tail, length: float) -> Chain:
    angle, bend, link, thick = _TAILS[kind]
    angle += pose.wag + (0.5 * body.angle if kind == "curled" else 0.0)
    if pose.stance in ("sit", "lie") and kind in ("sabre", "whip"):
        angle, bend = 3.3, -0.03
    at = body.at(-0.02, 0.2, 0.0)
    chain = [Disc(at.x, at.y, 1.5 * thick * build.bone)]
    for i in range(6):
        last = chain[-1]
        radius = thick * build.bone * (1.25 - 0.13 * i)
        y = max(radius, last.y + math.sin(angle + i * bend) * link * length)
        chain.append(Disc(last.x + math.cos(angle + i * bend) * link * length, y, radius))
    return tuple(chain)


_Shape = tuple[tuple[float, float, float], ...]
_EARS: dict[Ear, tuple[_Shape, _Shape]] = {
    # In skull radii about the head: seen from the side, and from the front (the right one).
    "pricked": (
        ((-0.3, 0.62, 0.38), (-0.42, 1.15, 0.22), (-0.42, 1.62, 0.05)),
        ((0.52, 0.58, 0.38), (0.7, 1.1, 0.22), (0.78, 1.55, 0.05)),
    ),
    "bat": (
        ((-0.3, 0.62, 0.36), (-0.38, 1.15, 0.33), (-0.36, 1.55, 0.16)),
        ((0.58, 0.6, 0.34), (0.78, 1.1, 0.33), (0.84, 1.5, 0.16)),
    ),
    "drop": (
        ((-0.4, 0.5, 0.2), (-0.62, 0.0, 0.36), (-0.55, -0.6, 0.34), (-0.45, -0.95, 0.14)),
        ((0.72, 0.55, 0.2), (1.02, 0.1, 0.3), (1.06, -0.5, 0.3), (0.96, -0.85, 0.14)),
    ),
    "button": (
        ((-0.45, 0.72, 0.16), (-0.1, 0.72, 0.26), (0.02, 0.3, 0.07)),
        ((0.55, 0.72, 0.2), (0.82, 0.62, 0.26), (0.92, 0.15, 0.07)),
    ),
    "rose": (
        ((-0.25, 0.6, 0.22), (-0.7, 0.62, 0.2), (-1.05, 0.4, 0.07)),
        ((0.62, 0.6, 0.2), (0.95, 0.62, 0.2), (1.25, 0.4, 0.07)),
    ),
}


def ears(kind: Ear, size: float, head: Disc, angle: float, facing: bool) -> tuple[Chain, Chain]:
    """Return the far and the near ear of a head that is turned by ``angle``, in profile or facing the viewer."""
    profile, front = (_sized(shape, size) for shape in _EARS[kind])
    if facing:
        mirrored = tuple((-x, y, r) for x, y, r in front)
        return place(mirrored, head, angle), place(front, head, angle)
    return place(tuple((x + 0.3, y, r) for x, y, r in profile), head, angle), place(profile, head, angle)


def _sized(shape: _Shape, size: float) -> _Shape:
    x0, y0, _ = shape[0]
    return tuple((x0 + size * (x - x0), y0 + size * (y - y0), (0.5 + 0.5 * size) * r) for x, y, r in shape)
