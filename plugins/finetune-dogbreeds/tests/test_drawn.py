"""Drawn sets in the cache: whole or not there, drawn once, checked."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from finetune.errors import DataError, ResourceError
from finetune_dogbreeds import drawn, processes, sets
from finetune_dogbreeds.dataset import load
from finetune_dogbreeds.drawn import load_drawn
from finetune_dogbreeds.picture import draw, jpeg

SOURCES = tuple(sets.DRAWN)


@pytest.fixture(params=SOURCES)
def source(request, monkeypatch) -> str:
    """A drawn source, of which there are two labels with a picture each."""
    whole = sets.DRAWN[request.param]
    monkeypatch.setitem(sets.DRAWN, whole.source, replace(whole, breeds=whole.breeds[:2], per_breed=1))
    return whole.source


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_sources_are_the_sample_and_the_kinds():
    assert SOURCES == ("sample", "kinds")


def test_every_label_has_its_pictures_in_its_own_folder(source, request_for, tmp_path):
    dataset = load(request_for(source))
    first, second = (breed.name for breed in sets.DRAWN[source].breeds)
    assert dataset.source == source
    assert dataset.labels == (first, second)
    places = [example.path.relative_to(tmp_path / "cache").as_posix() for example in dataset.examples]
    assert places == [f"{source}-v1/{first}/000.jpg", f"{source}-v1/{second}/000.jpg"]
    assert [example.label for example in dataset.examples] == [first, second]
    assert dataset.licence == "Apache-2.0 (drawn by finetune-dogbreeds)"


def test_the_cache_is_used_again(source, request_for):
    first = load(request_for(source))
    marked = first.examples[0].path
    marked.write_bytes(b"untouched")
    assert load(request_for(source)) == first
    assert marked.read_bytes() == b"untouched"


def test_progress_is_reported_by_label(source, request_for, reporter):
    load(request_for(source))
    assert reporter.titles == [f"Drawing {sets.DRAWN[source].what}"]
    assert (reporter.total, reporter.steps, reporter.detail) == (2, 2, sets.DRAWN[source].breeds[1].name)


def test_an_interrupted_drawing_leaves_nothing(source, request_for, monkeypatch, tmp_path):
    def interrupted(picture):
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "jpeg", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(request_for(source))
    assert names_in(tmp_path / "cache") == []


def test_a_killed_drawing_never_has_the_final_name_and_is_swept_later(source, request_for, tmp_path):
    killed = tmp_path / "cache" / f".{source}-v1-killed"
    killed.mkdir(parents=True)
    (killed / "000.jpg").write_bytes(b"half")
    for path in (killed / "000.jpg", killed):
        os.utime(path, (0, 0))
    load(request_for(source))
    assert names_in(tmp_path / "cache") == [f"{source}-v1"]


def test_a_drawing_that_another_process_is_at_is_left_alone(source, request_for, tmp_path):
    other = tmp_path / "cache" / f".{source}-v1-other"
    other.mkdir(parents=True)
    load(request_for(source))
    assert other.is_dir()


def test_of_two_processes_the_second_uses_the_pictures_of_the_first(source, request_for, monkeypatch, tmp_path):
    def slower(*arguments):
        draw_all(*arguments)
        monkeypatch.setattr(drawn, "_draw_all", draw_all)
        load(request_for(source))

    draw_all = drawn._draw_all
    monkeypatch.setattr(drawn, "_draw_all", slower)
    assert len(load(request_for(source)).examples) == 2
    assert names_in(tmp_path / "cache") == [f"{source}-v1"]


def test_lost_pictures_are_named_with_the_remedy(source, request_for):
    lost = load(request_for(source)).examples[0].path
    lost.unlink()
    with pytest.raises(DataError, match=rf"1 of 2 pictures have gone from .*{source}-v1\. Delete that folder"):
        load(request_for(source))


def test_a_cache_that_is_a_file_is_refused_in_one_line(source, request_for, tmp_path):
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(ResourceError, match=rf"Cannot write to .*{source}-v1: File exists"):
        load(request_for(source))


def test_a_large_set_is_drawn_by_several_processes_as_by_one(monkeypatch, reporter, tmp_path):
    few = replace(sets.SAMPLE, breeds=sets.SAMPLE.breeds[:3], per_breed=3)
    monkeypatch.setattr(drawn, "cores", lambda: 2)
    monkeypatch.setattr(drawn, "WORTH_A_PROCESS", 3)
    examples = load_drawn(few, tmp_path, reporter).examples
    assert [example.path.read_bytes() for example in examples] == [
        jpeg(draw(breed, index, few.seed)) for breed, index in few.tasks()
    ]
    assert reporter.steps == 9


def test_an_interrupted_drawing_of_several_processes_leaves_neither_pictures_nor_processes(
    monkeypatch, reporter, tmp_path
):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    begun: list[processes.Artist] = []
    start = processes._started
    monkeypatch.setattr(processes, "_started", lambda: begun.append(start()) or begun[-1])
    monkeypatch.setattr(drawn, "cores", lambda: 2)
    monkeypatch.setattr(reporter, "advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_drawn(sets.KINDS, tmp_path, reporter)
    assert [artist.returncode is not None for artist in begun] == [True, True]
    assert names_in(tmp_path) == []
