"""Where plugins come from: built-ins, and installed distributions with an entry point in our group."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

from finetune import __version__, hookspecs
from finetune.errors import PluginError
from finetune.plugins.admission import OWN_DISTRIBUTION, Candidate
from finetune.plugins.metadata import UNKNOWN, Facts, facts_of, normalised
from finetune.plugins.registry import Plugins
from finetune.plugins.surroundings import PluginWarning
from finetune.plugins.time_limit import LOADING_LIMIT_S

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint

BUILTIN_MODULES = ("folder", "table", "torchvision_backbones", "small_resnet", "targets", "metrics", "sections")
BUILTIN_LICENCE, BUILTIN_ORIGIN = "Apache-2.0", "built in"


def load_plugins(limit_s: float = LOADING_LIMIT_S) -> Plugins:
    """Load the built-ins and every installed plugin, each of these within ``limit_s`` seconds.

    ``FINETUNE_DISABLE_PLUGINS=1`` loads the built-ins alone; ``FINETUNE_PLUGINS=a,b`` only the strangers named.
    """
    return Plugins([*_builtin_candidates(), *_installed_candidates()], limit_s=limit_s)


def _builtin_candidates() -> Iterator[Candidate]:
    for module in BUILTIN_MODULES:
        # Dotted names stay out of the way of strangers' plugin names.
        yield Candidate(
            name=f"finetune.{module}",
            distribution=OWN_DISTRIBUTION,
            version=__version__,
            licence=BUILTIN_LICENCE,
            origin=BUILTIN_ORIGIN,
            load=lambda name=f"finetune.builtin.{module}": _import(name),  # type: ignore[misc]
        )


def _import(name: str) -> ModuleType:
    return importlib.import_module(name)


def _installed_candidates() -> Iterator[Candidate]:
    if os.environ.get("FINETUNE_DISABLE_PLUGINS", "") not in ("", "0"):
        return
    wanted = {name.strip() for name in os.environ.get("FINETUNE_PLUGINS", "").split(",")} - {""}
    found = sorted(found_candidates(), key=lambda each: (each.name, each.distribution, each.version))
    yield from (each for each in found if not wanted or each.name in wanted)
    for name in sorted(wanted - {each.name for each in found}):
        yield _refused(name, Facts(), "FINETUNE_PLUGINS names it, but it is not installed")


def found_candidates() -> Iterator[Candidate]:
    """Yield what installed distributions publish in our group; a damaged one under its own name, to be refused."""
    for distribution, facts in publishers():
        yield from _published(distribution, facts)


def publishers() -> Iterator[tuple[Distribution, Facts]]:
    """Yield the installed distributions that may publish in our group, each by itself, for one may be damaged."""
    from importlib.metadata import distributions  # 50 ms, and not needed for the built-ins

    seen: set[str] = set()
    for distribution in distributions():
        if _may_publish(distribution):
            facts = facts_of(distribution)
            name = normalised(facts.name)
            if name not in seen:  # what comes first on the path is what is imported
                seen |= {name} - {UNKNOWN}
                yield distribution, facts


def _may_publish(distribution: Distribution) -> bool:
    try:
        return hookspecs.PROJECT in (distribution.read_text("entry_points.txt") or "")
    except (OSError, ValueError):  # unreadable: nobody knows whether it does
        return True


def points_of(distribution: Distribution) -> list[EntryPoint]:
    """Return the entry points in our group; raises whatever the parser makes of a damaged ``entry_points.txt``."""
    return [point for point in distribution.entry_points if point.group == hookspecs.PROJECT]


def _published(distribution: Distribution, facts: Facts) -> Iterator[Candidate]:
    try:
        points = points_of(distribution)
    except Exception as error:  # whatever the parser makes of it
        damage = f"its entry_points.txt is damaged ({type(error).__name__})"
        yield _refused(facts.name, facts, f"{damage}; {_way_out(facts.name)}")
        return
    for point in points:
        yield _candidate(point.name, facts, _importing(point, facts), point.value.partition(":")[0].strip())


def _candidate(name: str, facts: Facts, load: Callable[[], object], module: str = "") -> Candidate:
    return Candidate(
        name=name,
        distribution=facts.name,
        version=facts.version,
        licence=facts.licence,
        origin=facts.origin,
        load=load,
        module=module,
    )


def _refused(name: str, facts: Facts, why: str) -> Candidate:
    def refuse() -> NoReturn:
        raise PluginError(why)

    return _candidate(name, facts, refuse)


def _importing(point: EntryPoint, facts: Facts) -> Callable[[], object]:
    """Return what imports an entry point, and tells apart what is missing: the plugin itself, or what it needs."""

    def load() -> object:
        if facts.name == UNKNOWN:
            warnings.warn(
                f"its METADATA is missing: half uninstalled? {_way_out(UNKNOWN)}", PluginWarning, stacklevel=1
            )
        if not point.pattern.match(point.value):
            raise PluginError(f"its entry point {point.value!r} is not 'package.module'; {_way_out(facts.name)}")
        try:
            plugin: object = point.load()
        except ModuleNotFoundError as error:
            if _package(error.name or "") != _package(point.module):
                raise  # of its own needs
            raise PluginError(_gone(error.name or "", facts.name)) from error
        if _is_empty_folder(plugin):
            raise PluginError(_gone(point.module, facts.name))
        return plugin

    return load


def _package(module: str) -> str:
    return module.partition(".")[0]


def _is_empty_folder(plugin: object) -> bool:
    """Whether it is a folder without ``__init__.py``, which Python imports, too: what an uninstaller left behind."""
    return isinstance(plugin, ModuleType) and hasattr(plugin, "__path__") and getattr(plugin, "__file__", None) is None


def _gone(module: str, distribution: str) -> str:
    return f"its module '{module}' is not there: half uninstalled? {_way_out(distribution)}"


def _way_out(distribution: str) -> str:
    if distribution == UNKNOWN:
        return "Install it again, or remove its .dist-info folder"
    return f"pip install --force-reinstall {distribution}, or pip uninstall {distribution}"
