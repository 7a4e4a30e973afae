"""Drawing in several processes: the same files in the same order, and no process that stays."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from finetune.errors import ResourceError
from finetune_dogbreeds import processes
from finetune_dogbreeds.breeds import BREEDS
from finetune_dogbreeds.picture import draw, jpeg
from finetune_dogbreeds.processes import drawn_files

TASKS = [(breed, index) for breed in BREEDS[:3] for index in range(3)]
NO_DOG = replace(BREEDS[0], tail="forked")


@pytest.fixture
def artists(monkeypatch) -> list[processes.Artist]:
    """The processes that were started."""
    started: list[processes.Artist] = []
    start = processes._started
    monkeypatch.setattr(processes, "_started", lambda: started.append(start()) or started[-1])
    return started


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_the_files_are_the_same_whatever_the_number_of_processes(count, artists):
    assert list(drawn_files(TASKS, 5, count)) == [jpeg(draw(breed, index, 5)) for breed, index in TASKS]
    assert len(artists) == (count if count > 1 else 0)
    assert all(artist.returncode is not None for artist in artists)


def test_more_processes_than_pictures_do_no_harm():
    assert list(drawn_files(TASKS[:1], 0, 3)) == [jpeg(draw(*TASKS[0], 0))]


def test_whoever_stops_early_leaves_no_process(artists):
    files = drawn_files([(BREEDS[0], index) for index in range(10_000)], 0, 2)
    next(files)
    assert [artist.poll() for artist in artists] == [None, None]
    files.close()
    assert all(artist.returncode is not None for artist in artists)


def test_a_process_that_fails_ends_the_drawing_with_its_status(artists, capfd):
    with pytest.raises(ResourceError, match=r"ended early \(exit status 1\)\. Check the free memory, then run again\."):
        list(drawn_files([(BREEDS[0], 0), (NO_DOG, 0)], 0, 2))
    assert all(artist.returncode is not None for artist in artists)
    assert "KeyError: 'forked'" in capfd.readouterr().err


def test_a_process_that_is_killed_ends_the_drawing_with_the_signal(artists):
    files = drawn_files([(BREEDS[0], index) for index in range(10_000)], 0, 2)
    next(files)
    artists[1].kill()
    with pytest.raises(ResourceError, match=r"ended early \(killed by SIGKILL\)"):
        list(files)


def test_a_process_that_cannot_be_started_is_refused_with_the_cause(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    with pytest.raises(ResourceError, match=r"Cannot start a process to draw pictures with: No such file or directory"):
        next(drawn_files(TASKS, 0, 2))


def test_a_script_without_a_main_guard_can_draw(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from finetune_dogbreeds.breeds import BREEDS\n"
        "from finetune_dogbreeds.processes import drawn_files\n"
        "print(len(list(drawn_files([(BREEDS[0], 0), (BREEDS[0], 1)], 0, 2))))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"
