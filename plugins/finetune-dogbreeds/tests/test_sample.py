from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.errors import DataError, ResourceError
from finetune_dogbreeds import sample
from finetune_dogbreeds.anatomy import _EARS, _TAILS
from finetune_dogbreeds.breeds import BREEDS
from finetune_dogbreeds.dataset import load
from finetune_dogbreeds.picture import draw, jpeg


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The whole sample, drawn once for this file."""
    from finetune_dogbreeds.sample import load_sample

    return load_sample(tmp_path_factory.mktemp("cache"), Silent())


class Silent:
    def note(self, text): ...
    def begin(self, title, total=None): ...
    def advance(self, steps=1, detail=""): ...
    def end(self): ...


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(sample, "PER_BREED", 1)
    monkeypatch.setattr(sample, "BREEDS", BREEDS[:2])


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
    assert sample.PER_BREED >= 60
    assert Counter(example.label for example in drawn.examples) == dict.fromkeys(drawn.labels, sample.PER_BREED)
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
    assert "--source stanford" in text
    assert "--data DIR" in text
    assert drawn.licence == "Apache-2.0 (drawn by finetune-dogbreeds)"


def test_the_cache_is_used_again(few, request_for):
    first = load(request_for("sample"))
    marked = first.examples[0].path
    marked.write_bytes(b"untouched")
    assert load(request_for("sample")) == first
    assert marked.read_bytes() == b"untouched"


def test_progress_is_reported(few, request_for, reporter):
    load(request_for("sample"))
    assert reporter.titles == ["Drawing the sample of dogs"]
    assert reporter.steps == 2


def test_an_interrupted_drawing_leaves_nothing(few, request_for, monkeypatch, tmp_path):
    def interrupted(picture):
        raise KeyboardInterrupt

    monkeypatch.setattr(sample, "jpeg", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(request_for("sample"))
    assert names_in(tmp_path / "cache") == []


def test_a_killed_drawing_never_has_the_final_name_and_is_swept_later(few, request_for, tmp_path):
    killed = tmp_path / "cache" / f".sample-v{sample.VERSION}-killed"
    killed.mkdir(parents=True)
    (killed / "000.jpg").write_bytes(b"half")
    for path in (killed / "000.jpg", killed):
        os.utime(path, (0, 0))
    load(request_for("sample"))
    assert names_in(tmp_path / "cache") == [f"sample-v{sample.VERSION}"]


def test_a_drawing_that_another_process_is_at_is_left_alone(few, request_for, tmp_path):
    other = tmp_path / "cache" / f".sample-v{sample.VERSION}-other"
    other.mkdir(parents=True)
    load(request_for("sample"))
    assert other.is_dir()


def test_of_two_processes_the_second_uses_the_pictures_of_the_first(few, request_for, monkeypatch, tmp_path):
    def slower(folder, reporter):
        draw_all(folder, reporter)
        monkeypatch.setattr(sample, "_draw_all", draw_all)
        load(request_for("sample"))

    draw_all = sample._draw_all
    monkeypatch.setattr(sample, "_draw_all", slower)
    assert len(load(request_for("sample")).examples) == 2
    assert names_in(tmp_path / "cache") == [f"sample-v{sample.VERSION}"]


def test_lost_pictures_are_named_with_the_remedy(few, request_for):
    lost = load(request_for("sample")).examples[0].path
    lost.unlink()
    with pytest.raises(DataError, match=r"1 of 2 pictures have gone from .*sample-v1\. Delete that folder"):
        load(request_for("sample"))


def test_a_cache_that_is_a_file_is_refused_in_one_line(few, request_for, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(ResourceError, match=r"Cannot write to .*sample-v1: File exists"):
        load(request_for("sample"))
