"""The README's commands parse, its tables are what is registered, and what it states of the archives is in the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from finetune.cli import app
from finetune.intent import discover
from finetune_classics import cats_dogs, cifar10, hooks, hymenoptera

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
LINES = [
    line.split("#")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
COMMANDS = [line for line in LINES if line.startswith("finetune")]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_parses(line):
    command, bound, _ = app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)
    assert command.__module__.startswith("finetune.cli")
    assert bound.arguments


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("finetune run")])
def test_every_run_resolves(line, registered):
    _, bound, _ = app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)
    options = {**bound.kwargs, **bound.kwargs.get("options", {})}
    options = {name: value for name, value in options.items() if name not in ("dry_run", "options")}
    assert discover(options).spec.name in ("hymenoptera", "cats-dogs", "cifar10")


def test_the_table_of_recipes_is_what_is_registered():
    rows = re.findall(r"^\| (`[^|]*`) \| `([\w-]+)` \| .* \| .* \|$", README.split("## Recipes")[1], re.MULTILINE)
    stated = {(name, recipe) for names, recipe in rows for name in re.findall(r"`([\w-]+)`", names)}
    specs = (hooks.HYMENOPTERA, hooks.CATS_DOGS, hooks.CIFAR10)
    assert stated == {(spec.name, recipe.name) for spec in specs for recipe in spec.recipes}


@pytest.mark.parametrize("module", [hymenoptera, cats_dogs, cifar10], ids=lambda module: module.PUBLISHED.name)
def test_archive_mirror_and_licence_of_each_are_stated(module):
    published = module.PUBLISHED
    assert f"`{published.archive.name}`" in README
    assert f"`{published.variable}`" in README
    assert f"{published.archive.size / 1e6:.0f} MB" in README
    assert f"- **{published.name}**:" in README.split("## Licences")[1]


def test_the_checksums_are_whole():
    for module in (hymenoptera, cats_dogs, cifar10):
        assert re.fullmatch(r"[0-9a-f]{64}", module.PUBLISHED.archive.sha256)
