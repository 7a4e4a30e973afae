"""Every bad plugin at once, installed, beside a sound one: the command line survives them all and says who did what."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune import __version__
from finetune.hookspecs import API_VERSION

from .conftest import HOOKS, Site

HEAD = "from finetune.hookspecs import hookimpl\nfrom finetune.types import *\n"
HOOK = HEAD + "@hookimpl\ndef finetune_register_datasets(register):\n    "
BAD = {
    "raises": (HOOK + "raise LookupError('no idea')", "LookupError: no idea"),
    "exits": ("import sys; sys.exit(0)", "SystemExit: 0"),
    "exits_later": (HOOK + "raise SystemExit('enough')", "SystemExit: enough"),
    "wrong_type": (HOOK + "register('pets')", "TypeError: register() of datasets takes a DatasetSpec, got str"),
    "returns": (HOOK + "return [1]", "finetune_register_datasets returns something; it has to call register(...)"),
    "misspelt": (
        HEAD + "@hookimpl\ndef finetune_register_dataset(register): ...",
        "unknown hook 'finetune_register_dataset'. Did you mean 'finetune_register_datasets'? Known: finetune_",
    ),
    "used_name": (HOOKS.format(name="folder"), f"the dataset name 'folder' is taken by finetune {__version__}"),
    "zz_used_by_stranger": (HOOKS.format(name="fleas"), "the dataset name 'fleas' is taken by finetune_sound 1.2"),
    "newer": ("FINETUNE_API = '999.0'", f"it needs plugin API 999.0, and finetune {__version__} has {API_VERSION}"),
    "older": ("FINETUNE_API = '0.1'", f"it was written for plugin API 0.1, and finetune {__version__} has"),
    "syntax": ("def hook(:", "SyntaxError: invalid syntax (finetune_syntax.py, line 1)"),
    "needy": ("import cv3", "ModuleNotFoundError: No module named 'cv3'"),
    "gone": (None, "its module 'finetune_gone' is not there: half uninstalled? pip install --force-reinstall"),
    "recursive": ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
}
RUDE = {
    "prints": ("print('[]')\n", ()),
    "moves": ("import os; os.chdir('/')\n", ("it changed the working directory while it was loaded, which was put",)),
    "seeds": ("import random; random.seed(1)\n", ("it changed the state of Python's random numbers while it was",)),
    "warns": ("import warnings; warnings.warn('old')\n", ("UserWarning: old",)),
}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Install them all into one folder."""
    site = Site(tmp_path_factory.mktemp("zoo"))
    for name, (source, _) in BAD.items():
        site.install(name, source)
    for name, (source, _) in RUDE.items():
        site.install(name, source + HOOKS.format(name=name))
    site.install("sound", HOOKS.format(name="fleas"))
    site.install("damaged", "", points="[finetune]\ndamaged\n")
    return site


def python(site: Site, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    names = ",".join((*BAD, *RUDE, "sound", "finetune_damaged"))
    surroundings = {**os.environ, "PYTHONPATH": str(site.path), "FINETUNE_PLUGINS": names, **environment}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=surroundings)


@pytest.fixture(scope="module")
def listed(zoo: Site) -> dict[str, dict[str, Any]]:
    """Return what ``finetune plugins --json`` says of each, with warnings as errors as if somebody asked for it."""
    done = python(zoo, "-W", "error", "-m", "finetune", "plugins", "--json", "--trace")
    assert done.returncode == 0, done.stderr
    return {info["name"]: info for info in json.loads(done.stdout)}  # pure, whatever plugins print


@pytest.mark.parametrize("name", BAD)
def test_a_bad_plugin_is_set_aside_with_what_it_did(name: str, listed: dict[str, dict[str, Any]]) -> None:
    info = listed[name]

    assert info["problem"].startswith(BAD[name][1])
    assert (info["distribution"], info["version"], info["offers"]) == (f"finetune_{name}", "1.2", {})


@pytest.mark.parametrize("name", RUDE)
def test_a_rude_plugin_works_and_is_told_of(name: str, listed: dict[str, dict[str, Any]]) -> None:
    info = listed[name]

    assert (info["problem"], info["offers"]) == (None, {"dataset": [name]})
    assert len(info["warnings"]) == len(RUDE[name][1])
    assert all(found.startswith(said) for found, said in zip(info["warnings"], RUDE[name][1], strict=True))


def test_a_damaged_distribution_is_set_aside(listed: dict[str, dict[str, Any]]) -> None:
    assert listed["finetune_damaged"]["problem"].startswith("its entry_points.txt is damaged (TypeError); pip install")


def test_the_sound_one_and_what_is_built_in_work_beside_them(listed: dict[str, dict[str, Any]]) -> None:
    sound = {name for name, info in listed.items() if not info["problem"]}

    assert sound - {name for name in sound if name.startswith("finetune.")} == {*RUDE, "sound"}
    assert "finetune.folder" in sound


def test_the_trace_shows_which_hook_failed(listed: dict[str, dict[str, Any]]) -> None:
    (call,) = listed["raises"]["calls"]

    assert (call["hook"], call["error"]) == ("finetune_register_datasets", "LookupError: no idea")
    assert call["implementation"] == "finetune_raises:finetune_register_datasets"


def test_help_is_shown_whatever_plugins_do(zoo: Site) -> None:
    done = python(zoo, "-m", "finetune", "--help")

    assert done.returncode == 0
    assert done.stdout.startswith("Usage: finetune COMMAND")


HANGING = """
import json, sys
from finetune.plugins import load_plugins
found = load_plugins(limit_s=1)
json.dump([{i.name: i.problem for i in found.broken}, sorted(found.datasets)], sys.stdout)
"""


def test_a_plugin_that_hangs_while_it_is_imported_is_set_aside_and_the_next_one_works(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.install("hangs", "import threading; threading.Event().wait()")
    site.install("sound", HOOKS.format(name="fleas"))

    done = python(site, "-c", HANGING, FINETUNE_PLUGINS="hangs,sound")

    problems, datasets = json.loads(done.stdout)
    assert problems["hangs"].startswith("importing it and calling its hooks took longer than 1 s;")
    assert problems["hangs"].endswith("or: pip uninstall finetune_hangs")
    assert "fleas" in datasets
