"""What belongs to the whole process, and is put back after a plugin was loaded."""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.plugins import Plugins

from .conftest import candidate, offering, only, plugin

MOVED = "it changed the working directory while it was loaded, which was put back"
SEEDED = "it changed the state of Python's random numbers while it was loaded, which was put back"


def moving(folder: Path) -> Callable[[], object]:
    def load() -> object:
        os.chdir(folder)
        return offering()

    return load


def seeding() -> object:
    random.seed(0)
    return offering()


def test_the_working_directory_is_put_back_and_the_plugin_works_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    info = only(moving(tmp_path))

    assert (info.problem, info.warnings, Path.cwd()) == (None, (MOVED,), here)


def test_the_random_state_is_put_back_and_the_plugin_works_with_a_warning() -> None:
    state = random.getstate()

    info = only(seeding)

    assert (info.problem, info.warnings) == (None, (SEEDED,))
    assert random.getstate() == state


def test_they_are_put_back_for_a_hook_and_for_a_plugin_that_fails_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = random.getstate()

    def hook(register: object) -> None:
        os.chdir("/")
        random.random()
        sys.exit("enough")

    info = only(lambda: plugin(datasets=hook))

    assert (info.problem, info.warnings) == ("SystemExit: enough", (MOVED, SEEDED))
    assert (Path.cwd(), random.getstate()) == (tmp_path, state)


def test_a_ctrl_c_in_the_middle_leaves_them_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def load() -> object:
        os.chdir("/")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Plugins([candidate(load)])

    assert Path.cwd() == tmp_path


def test_a_plugin_that_makes_warnings_errors_is_told_of_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = random.getstate()

    def load() -> object:
        warnings.simplefilter("error")
        os.chdir("/")
        return seeding()

    info = only(load)

    assert (info.problem, info.warnings) == (None, (MOVED, SEEDED))
    assert (Path.cwd(), random.getstate()) == (tmp_path, state)


def test_a_ctrl_c_passes_a_plugin_that_makes_warnings_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = random.getstate()

    def load() -> object:
        warnings.simplefilter("error")
        os.chdir("/")
        random.seed(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Plugins([candidate(load)])

    assert (Path.cwd(), random.getstate()) == (tmp_path, state)


def test_a_working_directory_that_a_plugin_removed_is_said_to_be_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    state = random.getstate()

    def load() -> object:
        os.chdir("/")
        here.rmdir()
        return seeding()

    info = only(load)

    gone = f"{MOVED.removesuffix('was put back')}could not be put back: No such file or directory: '{here}'"
    assert (info.problem, info.warnings) == (None, (gone, SEEDED))
    assert random.getstate() == state


def test_a_working_directory_that_is_gone_is_no_fault_of_a_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    info = only(offering)

    assert (info.problem, info.warnings) == (None, ())


def test_what_replaces_stdout_is_gone_afterwards() -> None:
    stdout = sys.stdout

    def load() -> object:
        sys.stdout = None  # type: ignore[assignment]
        return offering()

    info = only(load)

    assert (info.problem, sys.stdout) == (None, stdout)
