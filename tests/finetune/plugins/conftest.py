"""Plugins in memory, and plugins as they are installed: modules with the metadata of a distribution."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from finetune.hookspecs import hookimpl
from finetune.plugins import Candidate, PluginInfo, Plugins, load_plugins
from finetune.types import DatasetSpec, Source


def dataset(name: str = "pets", **facts: Any) -> DatasetSpec:
    sources = (Source(name="web", summary="Somewhere."),)
    return DatasetSpec(**{"name": name, "summary": "", "sources": sources, "load": "pets.data:load"} | facts)


def plugin(**hooks: Callable[..., object]) -> ModuleType:
    """Make a plugin module of functions; ``datasets=f`` is the hook ``finetune_register_datasets``."""
    module = ModuleType("a_plugin")
    for name, hook in hooks.items():
        setattr(module, f"finetune_register_{name}", hookimpl(hook))
    return module


def offering(name: str = "pets") -> ModuleType:
    """Make a plugin that registers one data set."""
    return plugin(datasets=lambda register: register(dataset(name)))


def candidate(load: Callable[[], object], name: str = "stranger", **facts: Any) -> Candidate:
    return Candidate(**{"name": name, "distribution": f"finetune-{name}", "version": "1.0", "load": load} | facts)


def only(load: Callable[[], object], **options: Any) -> PluginInfo:
    """Return what becomes of a plugin that is loaded between two sound ones, having seen that these work."""
    before, after = candidate(lambda: offering("cats"), "before"), candidate(lambda: offering("cars"), "after")
    found = Plugins([before, candidate(load), after], **options)
    assert {"cats", "cars"} <= found.datasets.keys()
    return found.infos[1]


@dataclass(frozen=True)
class Site:
    """A folder that distributions are installed into."""

    path: Path

    def install(
        self,
        name: str,
        source: str | None,
        *,
        metadata: str | None = "",
        points: str | None = None,
        files: dict[str, str] | None = None,
    ) -> Path:
        """Install ``finetune_NAME`` 1.2 with one module, and return the folder with its metadata.

        ``metadata`` are more lines of METADATA, None for no such file; ``points`` is another entry_points.txt;
        ``files`` lie beside METADATA.
        """
        distribution = f"finetune_{name}"
        sys.modules.pop(distribution, None)  # another test's, of the same name
        if source is not None:
            (self.path / f"{distribution}.py").write_text(source)
        facts = self.path / f"{distribution}-1.2.dist-info"
        facts.mkdir()
        (facts / "entry_points.txt").write_text(points or f"[finetune]\n{name} = {distribution}\n")
        if metadata is not None:
            head = f"Metadata-Version: 2.4\nName: {distribution}\nVersion: 1.2\n"
            (facts / "METADATA").write_text(f"{head}{metadata}\n\nA plugin.\n")
        for file, text in (files or {}).items():
            (facts / file).write_text(text)
        return facts


HOOKS = """
from finetune.hookspecs import hookimpl
from finetune.types import DatasetSpec, Source

@hookimpl
def finetune_register_datasets(register):
    source = Source(name="web", summary="")
    register(DatasetSpec(name="{name}", summary="", sources=(source,), load="pets:load"))
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Return a folder whose distributions this very process sees; what it imports from there is forgotten."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield Site(folder)
    for name in set(sys.modules) - before:
        if name.startswith("finetune_"):
            del sys.modules[name]


@pytest.fixture
def installed(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PluginInfo]:
    """Install a plugin as ``Site.install`` does, and return what becomes of it."""

    def loaded(name: str, source: str | None, **options: Any) -> PluginInfo:
        site.install(name, source, **options)
        importlib.invalidate_caches()
        monkeypatch.setenv("FINETUNE_PLUGINS", name)
        return load_plugins().infos[-1]

    return loaded
