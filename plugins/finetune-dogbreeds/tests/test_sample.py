from __future__ import annotations

import dataclasses
import multiprocessing
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.reporting import SILENT
from finetune_dogbreeds.anatomy import _EARS, _TAILS
from finetune_dogbreeds.breeds import BREEDS
from finetune_dogbreeds.drawn import load_drawn
from finetune_dogbreeds.picture import draw, jpeg
from finetune_dogbreeds.sets import SAMPLE


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The whole sample, drawn once for this file."""
    return load_drawn(SAMPLE, tmp_path_factory.mktemp("cache"), SILENT)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("breed", BREEDS, ids=lambda breed: breed.name)
def test_a_picture_is_the_same_bytes_every_time(breed):
    assert jpeg(draw(breed, 3, seed=1)) == jpeg(draw(breed, 3, seed=1))


def test_seed_index_and_breed_each_change_the_picture():
    pictures = {jpeg(draw(BREEDS[b], i, seed=s)) for b in (0, 1) for i in (0, 1) for s in (0, 1)}
    assert len(pictures) == 8


def test_another_process_draws_the_same_bytes(tmp_path):
    # Python salts hash() anew in each process, so this would show any use of it.
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=_write_picture, args=(tmp_path / "picture.jpg",))
    child.start()
    child.join()
    assert (tmp_path / "picture.jpg").read_bytes() == jpeg(draw(BREEDS[0], 0, seed=0))


def _write_picture(path: Path) -> None:
    path.write_bytes(jpeg(draw(BREEDS[0], 0, seed=0)))


def test_the_sample_has_the_promised_pictures_and_labels(drawn):
    assert len(BREEDS) >= 12
    assert SAMPLE.per_breed >= 60
    assert Counter(example.label for example in drawn.examples) == dict.fromkeys(drawn.labels, SAMPLE.per_breed)
    assert drawn.labels == tuple(sorted(breed.name for breed in BREEDS))
    assert all(example.part is None for example in drawn.examples)


def test_every_picture_decodes_and_no_two_are_alike(drawn):
    contents = set()
    for example in drawn.examples:
        with Image.open(example.path) as image:
            image.load()
            assert (image.format, image.mode) == ("JPEG", "RGB")
            assert min(image.size) >= 96
        contents.add(example.path.read_bytes())
    assert len(contents) == len(drawn.examples)


def test_every_example_lies_in_its_breeds_folder(drawn):
    assert {example.path.parent.name == example.label for example in drawn.examples} == {True}
    assert names_in(drawn.examples[0].path.parents[1]) == list(drawn.labels)


def test_the_breeds_are_different_records():
    anonymous = {dataclasses.replace(breed, name="") for breed in BREEDS}
    assert len(anonymous) == len({breed.name for breed in BREEDS}) == len(BREEDS)


def test_ears_and_tails_of_every_breed_can_be_drawn():
    assert {breed.ear for breed in BREEDS} <= set(_EARS)
    assert {breed.tail for breed in BREEDS} <= set(_TAILS)


def test_mean_colour_alone_does_not_tell_the_breeds_apart(drawn):
    colours: dict[str, list] = {label: [] for label in drawn.labels}
    for example in drawn.examples:
        with Image.open(example.path) as image:
            colours[example.label].append(np.asarray(image, np.float64).mean((0, 1)))
    centres = np.array([np.mean(colours[label][:40], axis=0) for label in drawn.labels])
    guesses = [
        np.linalg.norm(centres - colour, axis=1).argmin() == k
        for k, label in enumerate(drawn.labels)
        for colour in colours[label][40:]
    ]
    assert np.mean(guesses) < 0.3


def test_the_notes_say_that_these_are_drawings_and_how_to_get_photos(drawn):
    text = " ".join(drawn.notes)
    assert "not photos" in text
    assert "starts from the weights of finetune-starter, learned from drawn dogs of other kinds" in text
    assert "--source stanford" in text
    assert "--data DIR" in text
    assert drawn.licence == "Apache-2.0 (drawn by finetune-dogbreeds)"
