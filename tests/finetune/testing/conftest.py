"""A plugin that keeps every rule, really installed, with the defects that a test names."""

from __future__ import annotations

import itertools
import shutil
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from finetune.testing import Case, Check, Finding, checks_of
from finetune.testing import plugin as whole
from finetune.testing.plugin import PluginSubject

GOOD = Path(__file__).parent / "broken" / "finetune_pets"
METADATA = """Metadata-Version: 2.4
Name: finetune-pets
Version: 1.2
Summary: Pets for finetune.
License-Expression: Apache-2.0
Requires-Dist: finetune>=0.1
"""
NUMBERS = itertools.count()
Edits = Mapping[str, tuple[str, str]]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Install the plugin ``pets`` as a distribution into a folder of its own, with edits of its files."""

    def installed(edits: Edits | None = None, good: Path = GOOD, name: str = "pets") -> Path:
        site, number = tmp_path / f"site {name}", next(NUMBERS)
        package = f"finetune_{name}_{number}"  # a module is imported once per process, so no name comes twice
        shutil.copytree(good, site / package, ignore=shutil.ignore_patterns("__pycache__"))
        facts = site / f"finetune_{name}-1.2.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(METADATA.replace("pets", name))
        (facts / "entry_points.txt").write_text(f"[finetune]\n{name} = {package}.hooks\n")
        for file, (old, new) in (edits or {}).items():
            path = facts / file if file.isupper() else site / package / file
            assert old in path.read_text(), f"{file} has no {old!r}"
            path.write_text(path.read_text().replace(old, new, 1))
        for path in (site / package).glob("*.py"):
            path.write_text(path.read_text().replace(f"{good.name}.", f"{package}."))
        monkeypatch.syspath_prepend(str(site))
        whole.probe.cache_clear()  # it knows plugins by name, and there are many of this one
        return site

    return installed


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back what importing ``broken.heavy`` changes."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def probed() -> Callable[[str], Finding]:
    """Hold the plugin against a rule without letting it into this process."""

    def held(rule: str, limit_s: float = 10.0) -> Finding:
        (found,) = (each for each in whole.RULES if each.name == rule)
        return Check(rule=found, subject="plugin 'pets'", thing=PluginSubject("pets", limit_s=limit_s)).run()

    return held


@pytest.fixture
def held(case: Case) -> Callable[[str, str], Finding]:
    """Hold what the plugin offers against a rule."""

    def found(subject: str, rule: str) -> Finding:
        (check,) = (check for check in checks_of(case) if (check.subject, check.rule.name) == (subject, rule))
        return check.run()

    return found


@pytest.fixture
def case(tmp_path: Path, archive: Path, copy: Path) -> Case:
    """Give everything that its sources can be tried with."""
    return Case(plugin="pets", data=copy, archives={"pets.zip": archive})


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's copy of a few pets."""
    from .broken.finetune_pets.data import draw_into

    folder = tmp_path_factory.mktemp("a copy")
    draw_into(folder)
    return folder


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory, copy: Path) -> Path:
    """The same pets, in a stand-in for the published archive."""
    file = tmp_path_factory.mktemp("stand-ins") / "pets.zip"
    with zipfile.ZipFile(file, "w") as written:
        for path in sorted(copy.rglob("*.png")):
            written.write(path, path.relative_to(copy))
    return file
