"""Pictures that look alike are found, whatever was done to their files; others are not."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from finetune.data.likeness import MOST_DIFFERENT_BITS, grey_of, hashes_of, look_alikes


def scene(seed: int, side: int = 200) -> Image.Image:
    """Draw a picture with large and small shapes, as photos have them."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((side, side))
    fine = Image.fromarray(random.integers(0, 256, (25, 25, 3), dtype=np.uint8)).resize((side, side))
    return Image.blend(coarse, fine, 0.3)


def hashes(pictures: Iterable[Image.Image]) -> list[int | None]:
    return hashes_of([grey_of(picture) for picture in pictures])


def saved_anew(picture: Image.Image) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=40)
    return Image.open(file).convert("RGB")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved anew": saved_anew,
    "halved": lambda picture: picture.resize((100, 100)),
    "squashed": lambda picture: picture.resize((300, 90)),
    "grey": lambda picture: picture.convert("L").convert("RGB"),
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.1),
    "paler": lambda picture: ImageEnhance.Contrast(picture).enhance(0.7),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_looks_like_itself_after_a_change_of_its_file(change: str) -> None:
    found = look_alikes(
        hashes(picture for seed in range(20) for picture in (scene(seed), CHANGES[change](scene(seed))))
    )

    assert found == [[2 * seed, 2 * seed + 1] for seed in range(20)]


def test_different_pictures_do_not_look_alike() -> None:
    assert look_alikes(hashes(map(scene, range(200)))) == []


def test_a_mirrored_picture_is_another() -> None:
    assert look_alikes(hashes([scene(1), scene(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT)])) == []


def test_pictures_that_show_nothing_look_like_none() -> None:
    flat = [Image.new("RGB", (50, 50), (level, level, level)) for level in (0, 128, 128, 255)]

    assert hashes(flat) == [None] * 4
    assert look_alikes([None] * 4) == []


def test_a_hash_does_not_depend_on_what_it_is_computed_with() -> None:
    alone = [hashes([scene(seed)])[0] for seed in range(5)]

    assert hashes(map(scene, range(5))) == alone
    assert hashes_of([]) == []


@settings(max_examples=50)
@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=12), st.data())
def test_all_that_differ_in_few_bits_are_found_and_nothing_else(seeds: list[int], data: st.DataObject) -> None:
    near = [seed ^ sum(1 << bit for bit in data.draw(st.sets(st.integers(0, 62), max_size=7))) for seed in seeds]
    values = seeds + near

    linked = {
        frozenset((a, b))
        for a, b in combinations(range(len(values)), 2)
        if (values[a] ^ values[b]).bit_count() <= MOST_DIFFERENT_BITS
    }
    families = look_alikes(values)

    together = {frozenset(pair) for family in families for pair in combinations(family, 2)}
    assert linked <= together
    for family in families:  # each member is linked to another, and all of them through each other
        reached = {family[0]}
        while more := {b for pair in linked for a in pair for b in pair if a in reached} - reached:
            reached |= more
        assert reached == set(family)


def test_the_frames_of_a_film_are_one_family() -> None:
    frames = [0b1011 << 30 | 1 << (i % 60) for i in range(5_000)]

    assert [len(family) for family in look_alikes(frames)] == [5_000]
