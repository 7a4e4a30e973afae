"""Discovery: find installed plugins, load each by itself, and keep what they offer under unique names.

One broken plugin never takes the others down: it is set aside with its reason, and ``finetune plugins`` shows
it. Installed code is trusted code, though: nothing here is a sandbox.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import pluggy

from finetune import __version__, hookspecs
from finetune.config import resolve
from finetune.errors import ConfigError, FinetuneError, PluginError
from finetune.names import unknown_name
from finetune.types import Backbone, DatasetSpec, ExportTarget, Recipe, Source

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

BUILTIN_MODULES = ("folder", "table", "torchvision_backbones", "targets")
KINDS: dict[str, type[Any]] = {"dataset": DatasetSpec, "backbone": Backbone, "target": ExportTarget}
REFERENCE = re.compile(r"\w+(\.\w+)*:\w+")
NAME = re.compile(r"\w[\w.:+-]*")
_LOADED_BY = {"dataset": "load", "backbone": "build", "target": "export"}
_TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A plugin that was found and not yet loaded; ``load`` imports its module."""

    name: str
    distribution: str
    version: str
    load: Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class PluginInfo:
    """A plugin after loading: the names it offers by kind, or the ``problem`` it was set aside for."""

    name: str
    distribution: str
    version: str
    offers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problem: str | None = None


class Plugins:
    """Everything that was found, by kind and name.

    Built-ins come first and strangers after, in the order of their entry-point names, so that what is set
    aside for a taken name does not depend on the order of installation.
    """

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        self.infos: list[PluginInfo] = []
        self._items: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
        self._owners: dict[tuple[str, str], Candidate] = {}
        for candidate in candidates:
            self.infos.append(self._admit(candidate))

    @property
    def datasets(self) -> dict[str, DatasetSpec]:
        """The registered data sets by name."""
        return self._items["dataset"]

    @property
    def backbones(self) -> dict[str, Backbone]:
        """The registered backbones by name."""
        return self._items["backbone"]

    @property
    def targets(self) -> dict[str, ExportTarget]:
        """The registered export targets by name."""
        return self._items["target"]

    @property
    def broken(self) -> list[PluginInfo]:
        """The plugins that were set aside."""
        return [info for info in self.infos if info.problem]

    def find_dataset(self, name: str) -> DatasetSpec:
        """Return the data set of that name, or the only one of the plugin of that name; raise as ``find`` does."""
        offered = next((info.offers.get("dataset", ()) for info in self.infos if info.name == name), ())
        known = name if name in self.datasets or len(offered) != 1 else offered[0]
        return cast(DatasetSpec, self.find("dataset", known))

    def find_backbone(self, name: str) -> Backbone:
        """Return the backbone of that name; raise as ``find`` does."""
        return cast(Backbone, self.find("backbone", name))

    def find_target(self, name: str) -> ExportTarget:
        """Return the export target of that name; raise as ``find`` does."""
        return cast(ExportTarget, self.find("target", name))

    def find(self, kind: str, name: str) -> Any:
        """Return what is registered under ``name``.

        Raises ``PluginError`` when a plugin of that name was set aside, otherwise ``ConfigError`` with the
        nearest name.
        """
        if name in self._items[kind]:
            return self._items[kind][name]
        culprit = next((info for info in self.broken if info.name == name), None)
        if culprit:
            raise PluginError(
                f"The plugin '{name}' ({culprit.distribution} {culprit.version}) was set aside: {culprit.problem}"
            )
        aside = ", ".join(info.name for info in self.broken)
        more = f"See 'finetune list {kind}s'." + (
            f" Set aside as broken: {aside}; see 'finetune plugins'." if aside else ""
        )
        raise ConfigError(unknown_name(kind, name, self._items[kind], more))

    def origin(self, kind: str, name: str) -> str:
        """Return the distribution and version that offer ``name``, for the record."""
        owner = self._owners[kind, name]
        return f"{owner.distribution} {owner.version}"

    def _admit(self, candidate: Candidate) -> PluginInfo:
        facts: dict[str, Any] = {
            "name": candidate.name,
            "distribution": candidate.distribution,
            "version": candidate.version,
        }
        try:
            self._refuse_taken_plugin(candidate)
            with contextlib.redirect_stdout(sys.stderr):  # stdout carries results only
                offered = _offers(candidate.load())
            self._refuse_taken_names(offered)
        except BaseException as error:  # a plugin may raise anything, SystemExit included, and must not end the host
            if _comes_from_the_user(error):
                raise
            return PluginInfo(**facts, problem=_reason(error))
        for kind, item in offered:
            self._items[kind][item.name] = item
            self._owners[kind, item.name] = candidate
        return PluginInfo(**facts, offers={k: tuple(i.name for kind, i in offered if kind == k) for k in KINDS})

    def _refuse_taken_plugin(self, candidate: Candidate) -> None:
        for info in self.infos:
            if info.name == candidate.name:
                raise PluginError(
                    f"the plugin name '{info.name}' is taken by {info.distribution} {info.version}; "
                    "uninstall one of the two"
                )

    def _refuse_taken_names(self, offered: list[tuple[str, Any]]) -> None:
        seen: set[tuple[str, str]] = set()
        for kind, item in offered:
            owner = self._owners.get((kind, item.name))
            if owner or (kind, item.name) in seen:
                by = f"{owner.distribution} {owner.version}" if owner else "itself"
                raise PluginError(f"the {kind} name '{item.name}' is taken by {by}")
            seen.add((kind, item.name))


def _offers(plugin: object) -> list[tuple[str, Any]]:
    """Return what one plugin registers, in a manager of its own, so that its faults are its own."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin)  # raises for a wrong signature
    manager.check_pending()  # raises for a misspelt hook
    if not manager.get_hookcallers(plugin):
        raise PluginError(
            f"it implements no hook; known: {', '.join(h for h in dir(hookspecs) if h.startswith('finetune_'))}"
        )
    offered: list[tuple[str, Any]] = []
    for kind in KINDS:
        hook = getattr(manager.hook, f"finetune_register_{kind}s")
        if hook(register=_register(kind, offered)):  # what is returned would be lost
            raise PluginError(f"finetune_register_{kind}s returns something; it has to call register(...) instead")
    return offered


def _register(kind: str, offered: list[tuple[str, Any]]) -> Callable[[Any], None]:
    def register(item: Any) -> None:
        if not isinstance(item, KINDS[kind]):
            raise TypeError(f"register() of {kind}s takes a {KINDS[kind].__name__}, got {type(item).__name__}")
        if not (isinstance(item.name, str) and NAME.fullmatch(item.name)):
            raise TypeError(f"name={item.name!r} of a {kind} is not a name: letters, digits and _ . : + - only")
        reference = getattr(item, _LOADED_BY[kind])
        if not (isinstance(reference, str) and REFERENCE.fullmatch(reference)):
            raise TypeError(
                f"{_LOADED_BY[kind]}={reference!r} of {kind} '{item.name}' is not 'package.module:function'"
            )
        if isinstance(item, DatasetSpec) and not _are_sources(item.sources):
            raise TypeError(f"sources={item.sources!r} of dataset '{item.name}' is not a tuple of at least one Source")
        if isinstance(item, DatasetSpec):
            _check_recipes(item)
        offered.append((kind, item))

    return register


def _check_recipes(spec: DatasetSpec) -> None:
    """Refuse now what would look like the user's mistake later."""
    if not (isinstance(spec.recipes, tuple) and all(isinstance(recipe, Recipe) for recipe in spec.recipes)):
        raise TypeError(f"recipes={spec.recipes!r} of dataset '{spec.name}' is not a tuple of Recipe")
    names = [recipe.name for recipe in spec.recipes]
    if len(set(names)) < len(names):
        raise TypeError(f"the recipes of dataset '{spec.name}' have no names of their own: {', '.join(names)}")
    for options in (*(source.recipe for source in spec.sources), *(recipe.options for recipe in spec.recipes)):
        resolve(options)


def _are_sources(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(source, Source) for source in value)


def _comes_from_the_user(error: BaseException) -> bool:
    """Whether it is a Ctrl-C or a signal to end, which only happened to arrive while a plugin was loading."""
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and error.code == _TERMINATED)


def _reason(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # an exception that cannot say what it is
        text = ""
    if isinstance(error, PluginError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def load_function(reference: str, what: str) -> Callable[..., Any]:
    """Import ``"package.module:function"``; raise ``PluginError`` naming ``what`` needed it when that fails."""
    module_name, _, function_name = reference.partition(":")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout carries results only
            function = getattr(importlib.import_module(module_name), function_name)
    except BaseException as error:  # as in loading: a module may raise anything while it is imported
        if _comes_from_the_user(error):
            raise
        raise PluginError(f"{what} cannot be loaded from '{reference}': {_reason(error)}") from error
    if not callable(function):
        raise PluginError(f"{what} cannot be loaded from '{reference}': it is not a function")
    return cast(Callable[..., Any], function)


@contextlib.contextmanager
def blaming(what: str) -> Iterator[None]:
    """Run a plugin's code: what it prints goes to stderr, and what it raises becomes a ``PluginError`` about ``what``.

    Errors that a user can act on pass as they are, and so does running out of memory.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout carries results only
            yield
    except (FinetuneError, MemoryError):
        raise
    except BaseException as error:  # SystemExit included
        if _comes_from_the_user(error):
            raise
        raise PluginError(f"{what} failed: {_reason(error)}. FINETUNE_DEBUG=1 shows where.") from error


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
