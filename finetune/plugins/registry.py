"""What was found, by kind and name: each plugin admitted by itself, or set aside with its reason."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import pluggy

from finetune import hookspecs
from finetune.errors import ConfigError, PluginError
from finetune.names import unknown_name
from finetune.plugins.calling import comes_from_the_user, reason
from finetune.plugins.kinds import KINDS, Kind, check
from finetune.types import Backbone, Command, DatasetSpec, ExportTarget, Metric, ReportSection, TrainingCallback


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
    def metrics(self) -> dict[str, Metric]:
        """The registered metrics by name."""
        return self._items["metric"]

    @property
    def callbacks(self) -> dict[str, TrainingCallback]:
        """The registered training callbacks by name."""
        return self._items["callback"]

    @property
    def sections(self) -> dict[str, ReportSection]:
        """The registered report sections by name."""
        return self._items["section"]

    @property
    def commands(self) -> dict[str, Command]:
        """The registered commands by name."""
        return self._items["command"]

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

    def find_callback(self, name: str) -> TrainingCallback:
        """Return the training callback of that name; raise as ``find`` does."""
        return cast(TrainingCallback, self.find("callback", name))

    def find_metric(self, name: str) -> Metric:
        """Return the metric of that name; raise as ``find`` does."""
        return cast(Metric, self.find("metric", name))

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
            if comes_from_the_user(error):
                raise
            return PluginInfo(**facts, problem=reason(error))
        for kind, item in offered:
            self._items[kind][item.name] = item
            self._owners[kind, item.name] = candidate
        return PluginInfo(**facts, offers=_names_by_kind(offered))

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


def _names_by_kind(offered: list[tuple[str, Any]]) -> dict[str, tuple[str, ...]]:
    names = {kind: tuple(item.name for of, item in offered if of == kind) for kind in KINDS}
    return {kind: found for kind, found in names.items() if found}


def _offers(plugin: object) -> list[tuple[str, Any]]:
    """Return what one plugin registers, in a manager of its own, so that its faults are its own."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin)  # raises for a wrong signature
    manager.check_pending()  # raises for a misspelt hook
    if not manager.get_hookcallers(plugin):
        raise PluginError(f"it implements no hook; known: {', '.join(sorted(kind.hook for kind in KINDS.values()))}")
    offered: list[tuple[str, Any]] = []
    for kind in KINDS.values():
        if getattr(manager.hook, kind.hook)(register=_register(kind, offered)):  # what is returned would be lost
            raise PluginError(f"{kind.hook} returns something; it has to call register(...) instead")
    return offered


def _register(kind: Kind, offered: list[tuple[str, Any]]) -> Callable[[Any], None]:
    def register(item: Any) -> None:
        check(kind, item)
        offered.append((kind.name, item))

    return register
