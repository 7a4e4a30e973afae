"""The kinds: no breeds, no two alike, all drawable, and the same on every machine."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from PIL import Image

from finetune_dogbreeds import sets
from finetune_dogbreeds.anatomy import Pose, skeleton
from finetune_dogbreeds.breeds import BREEDS, Build
from finetune_dogbreeds.canvas import FINER, Canvas
from finetune_dogbreeds.drawing import Dog, draw_dog, fit, pick_build
from finetune_dogbreeds.kinds import _RANGES, COUNT, kinds, traits
from finetune_dogbreeds.picture import draw

KINDS = kinds()
SIZE = (132, 128)
POSES = tuple(
    Pose(stance=stance, stride=0.3, neck=0.9, pitch=-0.1, wag=0.1, facing=facing, tongue=tongue)
    for stance in ("stand", "walk", "sit", "lie")
    for facing in (False, True)
    for tongue in (False, True)
)


def shares(build: Build) -> list[float]:
    """Where a build lies in the range of each proportion: 0 to 1."""
    return [(getattr(build, part) - low) / (high - low) for part, (low, high) in _RANGES.items()]


def test_there_are_128_kinds_and_the_first_ones_stay_the_first():
    assert len(KINDS) == COUNT == 128
    assert [KINDS[0].name, KINDS[-1].name] == ["kind-000", "kind-127"]
    assert kinds() == KINDS
    assert kinds(5) == KINDS[:5]


def test_the_kinds_are_those_that_the_pretrained_weights_have_learned():
    # Another digest is another data set: raise the version in sets.py, and pretrain anew.
    digest = hashlib.sha256("\n".join(map(repr, KINDS)).encode()).hexdigest()
    assert digest == "3e76aac8ad7d097afe25f26f0e1ba954bafe562c2a2fb3cb2122f7d7df653214"


def test_a_picture_of_a_kind_is_the_same_everywhere():
    # The means of a four-by-four grid: libraries may differ in the last digit of a pixel.
    grid = draw(KINDS[77], 0, sets.KINDS.seed).resize((4, 4), Image.Resampling.BOX)
    expected = [
        [[110, 129, 89], [105, 117, 79], [93, 97, 67], [82, 79, 55]],
        [[141, 151, 111], [121, 126, 105], [102, 102, 91], [105, 99, 76]],
        [[118, 115, 71], [87, 85, 63], [86, 84, 61], [101, 100, 59]],
        [[134, 119, 76], [125, 112, 71], [121, 107, 68], [115, 103, 66]],
    ]
    np.testing.assert_allclose(np.asarray(grid, np.float64), expected, atol=2)


def test_no_kind_has_coat_ears_and_tail_of_a_breed():
    assert {traits(kind) for kind in KINDS}.isdisjoint(traits(breed) for breed in BREEDS)


def test_every_other_coat_ears_and_tail_is_had_by_one_or_two_kinds():
    counts = Counter(traits(kind) for kind in KINDS)
    assert len(counts) == 4 * 5 * 5 - len({traits(breed) for breed in BREEDS}) == 91
    assert set(counts.values()) == {1, 2}


def test_no_two_kinds_are_built_alike_and_none_is_built_like_a_breed():
    # Golden and Labrador Retriever, the two breeds that are built most alike, are 0.23 apart.
    assert min(math.dist(shares(a.build), shares(b.build)) for a, b in itertools.combinations(KINDS, 2)) > 0.4
    assert min(math.dist(shares(kind.build), shares(breed.build)) for kind in KINDS for breed in BREEDS) > 0.5


def test_two_kinds_of_the_same_coat_ears_and_tail_share_no_colouring():
    pairs = [(a, b) for a, b in itertools.combinations(KINDS, 2) if traits(a) == traits(b)]
    assert all(set(a.colourings).isdisjoint(b.colourings) for a, b in pairs)


def test_a_kind_has_one_to_three_colourings_and_none_twice():
    assert Counter(len(kind.colourings) for kind in KINDS).keys() == {1, 2, 3}
    assert all(len(set(kind.colourings)) == len(kind.colourings) for kind in KINDS)


def test_the_builds_of_all_breeds_lie_within_the_range_of_the_kinds():
    assert all(0 <= share <= 1 for breed in (*BREEDS, *KINDS) for share in shares(breed.build))


@pytest.mark.parametrize("pose", POSES[::4], ids=lambda pose: pose.stance)
def test_every_kind_stands_on_the_ground_in_every_pose(pose):
    for kind in KINDS:
        bones = skeleton(kind.build, pose, kind.tail, kind.tail_length)
        left, bottom, right, top = bones.box()
        assert all(math.isfinite(edge) for edge in (left, bottom, right, top)), kind.name
        assert -0.35 < bottom < 0.05, kind.name
        assert 0.3 < (right - left) / (top - bottom) < 5, kind.name


def test_every_kind_can_be_drawn_and_every_pose_with_every_coat_ear_and_tail():
    drawn = set()
    for number, kind in enumerate(KINDS):
        pose = POSES[number % len(POSES)]
        share = changed_share(kind, pose)
        assert 0.04 < share < 0.75, (kind.name, share)
        drawn |= {(pose.stance, trait) for trait in traits(kind)}
    assert len(drawn) == 4 * (4 + 5 + 5)


def changed_share(kind, pose: Pose) -> float:
    """Draw a dog on a plain ground of no dog's colour; return the share of the pixels that it changes."""
    random = Random(kind.name)
    canvas = Canvas(Image.new("RGB", SIZE, (0, 90, 200)), (0.3, -0.8), np.random.default_rng(0))
    before = canvas.pixels.copy()
    build = pick_build(kind.build, random)
    bones = skeleton(build, pose, kind.tail, kind.tail_length)
    dog = Dog(breed=kind, build=build, colouring=kind.colourings[0], pose=pose, bones=bones)
    draw_dog(canvas, fit(dog, SIZE, random, 40).times(FINER), dog, random)
    assert np.isfinite(canvas.pixels).all()
    return float((np.abs(canvas.pixels - before).max(axis=-1) > 8).mean())


def test_a_picture_depends_on_the_name_of_the_kind_the_index_and_the_seed_alone():
    one = draw(KINDS[3], 7, 0)
    assert one.tobytes() == draw(kinds(4)[3], 7, 0).tobytes()
    others = [draw(KINDS[3], 8, 0), draw(KINDS[3], 7, 1), draw(replace(KINDS[3], name="other"), 7, 0)]
    assert all(one.tobytes() != other.tobytes() for other in others)


def test_the_set_of_kinds_has_a_hundred_pictures_of_each():
    assert sets.KINDS.breeds == KINDS
    assert sets.KINDS.per_breed == 100
    assert "12,800 drawn dogs of 128 kinds that are no breeds: not photos." in sets.KINDS.notes[0]
