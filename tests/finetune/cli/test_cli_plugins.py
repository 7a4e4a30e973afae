"""``finetune plugins``: the gallery, its trace, and the commands of the group."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune import __version__
from finetune.cli import OF_PLUGINS

from .conftest import Said, refusal

GEMS = """
import warnings
from finetune.hookspecs import hookimpl
from finetune.types import ExportTarget

FINETUNE_API = "1.0"
warnings.warn("polish me")

@hookimpl
def finetune_register_targets(register):
    for name in ("ring", "crown", "chain", "watch", "brooch"):
        register(ExportTarget(name=name, summary="", export="finetune_gems:export"))

@hookimpl
def finetune_register_backbones(register):
    if BROKEN:
        raise ValueError("too heavy")
"""


@pytest.fixture
def gems(process: Callable[..., Said], install: Callable[[str, str], Path]) -> Callable[..., Said]:
    """Say ``finetune plugins`` where ``gems`` is installed, and nothing else."""

    def said(*words: str, broken: bool = False) -> Said:
        site = install("gems", GEMS.replace("BROKEN", str(broken)))
        metadata = site / "finetune_gems-1.2.dist-info" / "METADATA"
        metadata.write_text(f"{metadata.read_text()}License-Expression: MIT\nHome-page: https://gems.example\n")
        return process("plugins", *words, PYTHONPATH=str(site), FINETUNE_PLUGINS="gems")

    return said


def cells(line: str) -> list[str]:
    return re.split(r"  +", line.strip())


def test_the_gallery_shows_what_each_offers_its_licence_its_api_and_that_it_works(gems: Callable[..., Said]) -> None:
    said = gems()

    lines = said.out.splitlines()
    assert (said.status, said.err) == (0, "")
    assert cells(lines[0]) == ["plugin", "distribution", "licence", "API", "status", "offers"]
    assert cells(lines[1]) == [
        "finetune.folder",
        f"finetune {__version__}",
        "Apache-2.0",
        "-",
        "ok",
        "datasets: folder",
    ]
    offers = "targets: ring, crown, chain, watch and 1 more"
    assert cells(lines[-2]) == ["gems", "finetune_gems 1.2", "MIT", "1.0", "ok", offers]
    assert cells(lines[-1]) == ["WARNING: UserWarning: polish me"]


def test_the_gallery_shows_why_a_plugin_was_set_aside(gems: Callable[..., Said]) -> None:
    line = gems(broken=True).out.splitlines()[-2]

    assert cells(line)[:1] + cells(line)[-2:] == ["gems", "set aside", "BROKEN: ValueError: too heavy"]


def test_a_script_can_read_all_of_it(gems: Callable[..., Said]) -> None:
    assert json.loads(gems("--json").out)[-1] == {
        "name": "gems",
        "distribution": "finetune_gems",
        "version": "1.2",
        "licence": "MIT",
        "origin": "https://gems.example",
        "api": "1.0",
        "offers": {"target": ["ring", "crown", "chain", "watch", "brooch"]},
        "problem": None,
        "warnings": ["UserWarning: polish me"],
    }


def test_the_trace_shows_each_call_its_function_and_what_it_registered_or_raised(gems: Callable[..., Said]) -> None:
    trace = gems("--trace", broken=True).out.split("\n\n")[1].splitlines()

    assert cells(trace[0]) == ["plugin", "hook", "ms", "implementation", "came of it"]
    name, hook, milliseconds, implementation, came = cells(trace[-1])
    assert (name, hook, came) == ("gems", "finetune_register_backbones", "ValueError: too heavy")
    assert float(milliseconds) >= 0
    assert re.fullmatch(r"finetune_gems:finetune_register_backbones \(\S*finetune_gems.py:14\)", implementation)
    assert cells(trace[1])[:2] + cells(trace[1])[-1:] == [
        "finetune.folder",
        "finetune_register_datasets",
        "registered folder",
    ]


def test_the_trace_can_be_read_by_a_script(gems: Callable[..., Said]) -> None:
    calls = json.loads(gems("--trace", "--json").out)[-1]["calls"]

    assert [(call["hook"], call["registered"], call["error"]) for call in calls] == [
        ("finetune_register_backbones", [], None),
        ("finetune_register_targets", ["ring", "crown", "chain", "watch", "brooch"], None),
    ]


@pytest.mark.parametrize("name", OF_PLUGINS)
def test_every_command_of_the_group_is_listed_and_shows_examples_of_itself(name: str, cli: Callable[..., Said]) -> None:
    said = cli("plugins", name, "--help")

    _, _, examples = said.out.partition("\nExamples:\n")
    assert f"│ {name} " in cli("plugins", "--help").out
    assert (said.status, said.err) == (0, "")
    assert all(line.startswith(f"  finetune plugins {name} ") for line in examples.strip("\n").splitlines())


def test_a_word_that_is_none_of_the_groups_commands_is_refused(cli: Callable[..., Said]) -> None:
    assert "chekc" in refusal(cli("plugins", "chekc"), 2)


def test_a_check_counts_every_verdict_for_scripts_those_that_never_came_as_well(
    cli: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune.testing.checks_of", lambda _: [])

    assert json.loads(cli("plugins", "check", "gems", "--json").out)["counts"] == {
        "ok": 0,
        "failed": 0,
        "not checked": 0,
    }
