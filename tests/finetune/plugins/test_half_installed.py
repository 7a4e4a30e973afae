"""Plugins of which only a part is there: what is missing is told apart, with the way out."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.errors import PluginError
from finetune.plugins import PluginInfo, load_function, load_plugins

from .conftest import HOOKS, Site

WAY_OUT = "pip install --force-reinstall finetune_fleas, or pip uninstall finetune_fleas"
GOOD = HOOKS.format(name="fleas")


def test_metadata_without_the_module_is_half_uninstalled(installed: Callable[..., PluginInfo]) -> None:
    assert installed("fleas", None).problem == (
        f"its module 'finetune_fleas' is not there: half uninstalled? {WAY_OUT}"
    )


def test_a_package_that_lost_the_module_of_its_hooks_is_half_uninstalled(
    installed: Callable[..., PluginInfo], site: Site
) -> None:
    (site.path / "finetune_fleas").mkdir()
    (site.path / "finetune_fleas" / "__init__.py").touch()

    info = installed("fleas", None, points="[finetune]\nfleas = finetune_fleas.hooks\n")

    assert info.problem == f"its module 'finetune_fleas.hooks' is not there: half uninstalled? {WAY_OUT}"


def test_a_folder_that_lost_its_modules_is_half_uninstalled(installed: Callable[..., PluginInfo], site: Site) -> None:
    (site.path / "finetune_fleas" / "data").mkdir(parents=True)

    assert installed("fleas", None).problem == (
        f"its module 'finetune_fleas' is not there: half uninstalled? {WAY_OUT}"
    )


def test_a_plugin_that_misses_what_it_needs_is_not_taken_for_half_uninstalled(
    installed: Callable[..., PluginInfo],
) -> None:
    assert installed("fleas", "import cv3.sky").problem == "ModuleNotFoundError: No module named 'cv3'"


def test_a_plugin_that_misses_a_module_of_its_own_is_half_uninstalled(installed: Callable[..., PluginInfo]) -> None:
    broken = installed("fleas", "import finetune_fleas.pictures").problem

    assert broken
    assert "finetune_fleas.pictures" in broken
    assert broken.endswith(WAY_OUT)


@pytest.mark.parametrize("points", ["[finetune]\nfleas finetune_fleas\n", "[finetune]\n= finetune_fleas\nx"], ids=repr)
def test_a_damaged_list_of_entry_points_is_told_by_the_name_of_the_distribution(
    points: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("fleas", GOOD, points=points)
    site.install("sound", HOOKS.format(name="sound"))
    monkeypatch.setenv("FINETUNE_PLUGINS", "finetune_fleas,sound")

    found = load_plugins()

    assert [(info.name, info.problem) for info in found.broken] == [
        ("finetune_fleas", f"its entry_points.txt is damaged (TypeError); {WAY_OUT}")
    ]
    assert "sound" in found.datasets


def test_entry_points_that_cannot_be_read_as_text_are_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (site.install("fleas", GOOD) / "entry_points.txt").write_bytes(b"[finetune]\nfl\xffas = finetune_fleas")
    monkeypatch.setenv("FINETUNE_PLUGINS", "finetune_fleas")

    (info,) = load_plugins().broken

    assert info.problem == f"its entry_points.txt is damaged (UnicodeDecodeError); {WAY_OUT}"


def test_damaged_entry_points_of_what_is_no_plugin_are_nobody_s_business(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("fleas", None, points="[console_scripts]\nfleas\n")
    monkeypatch.setenv("FINETUNE_PLUGINS", "fleas")

    (info,) = load_plugins().broken

    assert info.problem == "FINETUNE_PLUGINS names it, but it is not installed"


@pytest.mark.parametrize("value", ["finetune-fleas", "a b", ":x", ""])
def test_an_entry_point_that_names_no_module_is_told(value: str, installed: Callable[..., PluginInfo]) -> None:
    told = installed("fleas", GOOD, points=f"[finetune]\nfleas = {value}\n").problem

    assert told == f"its entry point {value!r} is not 'package.module'; {WAY_OUT}"


def test_a_plugin_without_metadata_works_and_comes_with_a_warning(installed: Callable[..., PluginInfo]) -> None:
    info = installed("fleas", GOOD, metadata=None)

    assert (info.distribution, info.version, info.licence, info.problem) == ("unknown", "unknown", "unknown", None)
    assert info.offers == {"dataset": ("fleas",)}
    assert info.warnings == (
        "its METADATA is missing: half uninstalled? Install it again, or remove its .dist-info folder",
    )


# ── removed while the process runs ──────────────────────────────────────────────────────────────────


def removed(site: Site) -> None:
    for path in site.path.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    importlib.invalidate_caches()


def test_a_plugin_that_was_removed_after_it_was_listed_is_told_when_it_is_used(
    installed: Callable[..., PluginInfo], site: Site
) -> None:
    assert installed("fleas", GOOD + "\n").problem is None
    removed(site)

    with pytest.raises(PluginError) as caught:
        load_function("finetune_fleas_data:load", "The data set 'fleas'")

    assert str(caught.value) == (
        "The data set 'fleas' cannot be loaded from 'finetune_fleas_data:load': "
        "ModuleNotFoundError: No module named 'finetune_fleas_data'"
    )


def test_a_plugin_that_was_removed_is_gone_from_the_next_list(installed: Callable[..., PluginInfo], site: Site) -> None:
    assert installed("fleas", GOOD).problem is None
    removed(site)

    assert load_plugins().infos[-1].problem == "FINETUNE_PLUGINS names it, but it is not installed"


def test_a_plugin_whose_files_are_removed_while_another_is_loaded_is_set_aside_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("ant", f"import pathlib\npathlib.Path({str(site.path / 'finetune_bee.py')!r}).unlink()")
    site.install("bee", HOOKS.format(name="bee"))
    site.install("cow", HOOKS.format(name="cow"))
    monkeypatch.setenv("FINETUNE_PLUGINS", "ant,bee,cow")

    problems = {info.name: info.problem for info in load_plugins().infos}

    assert "its module 'finetune_bee' is not there: half uninstalled?" in str(problems["bee"])
    assert problems["cow"] is None


def test_a_copy_that_comes_later_on_the_path_is_not_taken_for_a_second_plugin(
    installed: Callable[..., PluginInfo], site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Site(tmp_path / "other")
    other.path.mkdir()
    other.install("fleas", GOOD)
    monkeypatch.setattr(sys, "path", [*sys.path, str(other.path)])

    assert installed("fleas", GOOD).problem is None
    assert [info.name for info in load_plugins().infos].count("fleas") == 1
