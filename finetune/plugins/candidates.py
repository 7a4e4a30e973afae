"""Where plugins come from: built-ins, and installed distributions with an entry point in our group."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from finetune import __version__, hookspecs
from finetune.errors import PluginError
from finetune.plugins.registry import Candidate, Plugins

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

BUILTIN_MODULES = ("folder", "table", "torchvision_backbones", "targets")


def load_plugins() -> Plugins:
    """Load the built-ins and every installed plugin.

    ``FINETUNE_DISABLE_PLUGINS=1`` loads the built-ins alone; ``FINETUNE_PLUGINS=a,b`` only the strangers named.
    """
    return Plugins([*_builtin_candidates(), *_installed_candidates()])


def _builtin_candidates() -> Iterator[Candidate]:
    for module in BUILTIN_MODULES:
        # Dotted names stay out of the way of strangers' plugin names.
        yield Candidate(
            name=f"finetune.{module}",
            distribution="finetune",
            version=__version__,
            load=lambda name=f"finetune.builtin.{module}": _import(name),  # type: ignore[misc]
        )


def _import(name: str) -> ModuleType:
    return importlib.import_module(name)


def _installed_candidates() -> Iterator[Candidate]:
    if os.environ.get("FINETUNE_DISABLE_PLUGINS", "") not in ("", "0"):
        return
    from importlib.metadata import entry_points  # 50 ms, and not needed for the built-ins

    wanted = {name.strip() for name in os.environ.get("FINETUNE_PLUGINS", "").split(",")} - {""}
    found = [(point, *_published_by(point)) for point in entry_points(group=hookspecs.PROJECT)]
    for point, distribution, version in sorted(found, key=lambda f: (f[0].name, *f[1:])):
        if not wanted or point.name in wanted:
            yield Candidate(name=point.name, distribution=distribution, version=version, load=point.load)
    for name in sorted(wanted - {point.name for point, *_ in found}):
        yield Candidate(name=name, distribution="unknown", version="unknown", load=_not_installed)


def _published_by(point: EntryPoint) -> tuple[str, str]:
    # Damaged metadata has neither; what it publishes is still worth a try.
    dist = point.dist
    return (dist.name or "unknown", dist.version or "unknown") if dist else ("unknown", "unknown")


def _not_installed() -> object:
    raise PluginError("FINETUNE_PLUGINS names it, but it is not installed")
