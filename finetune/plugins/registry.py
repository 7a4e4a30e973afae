"""What was found, by kind and name: each plugin admitted by itself, or set aside with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, cast

from finetune import __version__, hookspecs
from finetune.errors import ConfigError, PluginError
from finetune.names import unknown_name
from finetune.plugins.admission import Admission, Candidate, admit
from finetune.plugins.kinds import KINDS, OWN_COMMANDS
from finetune.plugins.metadata import UNKNOWN, normalised
from finetune.plugins.time_limit import LOADING_LIMIT_S
from finetune.plugins.tracing import HookCall
from finetune.types import Backbone, Command, DatasetSpec, ExportTarget, Metric, ReportSection, TrainingCallback


@dataclass(frozen=True, kw_only=True)
class PluginInfo:
    """A plugin after loading: the names it offers by kind, or the ``problem`` it was set aside for.

    ``licence`` and ``origin`` are its distribution's; ``api`` is the version of the plugin API that it states it needs.
    ``warnings`` are what its user should know, deprecated hooks for one; ``calls`` are those of its hooks.
    """

    name: str
    distribution: str
    version: str
    licence: str = "unknown"
    origin: str = "unknown"
    api: str | None = None
    offers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problem: str | None = None
    warnings: tuple[str, ...] = ()
    calls: tuple[HookCall, ...] = ()

    @property
    def refusal(self) -> str:
        """The sentence on a plugin that was set aside, for who asked for it."""
        return f"The plugin '{self.name}' ({self.distribution} {self.version}) was set aside: {self.problem}"


MOST_NAMED = 4


class Plugins:
    """Everything that was found, by kind and name.

    Built-ins come first and strangers after, in the order of their entry-point names, so that what is set
    aside for a taken name does not depend on the order of installation.
    """

    def __init__(
        self, candidates: Iterable[Candidate], *, specs: ModuleType | type = hookspecs, limit_s: float = LOADING_LIMIT_S
    ) -> None:
        """Load each candidate, strangers within ``limit_s`` seconds, and hold it against the hooks of ``specs``."""
        self._specs, self._limit_s = specs, limit_s
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

    def find(self, kind: str, name: str) -> Any:
        """Return what is registered under ``name``.

        Raises ``PluginError`` as ``refuse_broken`` does, otherwise ``ConfigError`` with what the plugin
        of that name offers instead, or with the nearest name.
        """
        if name in self._items[kind]:
            return self._items[kind][name]
        self.refuse_broken(name)
        namesake = next((info for info in self.infos if info.name == name and info.offers), None)
        if namesake and kind not in namesake.offers:
            raise ConfigError(_offers_others(kind, namesake))
        raise ConfigError(unknown_name(kind, name, self._items[kind], f"See 'finetune list {kind}s'.{self.aside()}"))

    def refuse_broken(self, name: str) -> None:
        """Raise ``PluginError`` when a plugin of that name, or else of a distribution of that name, was set aside."""
        named = [info for info in self.infos if info.name == name]
        for info in named or [info for info in self.infos if _is_distribution(name, info)]:
            if info.problem:
                raise PluginError(info.refusal)

    def aside(self) -> str:
        """Return a sentence, after a space, on the plugins that were set aside; nothing where none was."""
        names = ", ".join(info.name for info in self.broken)
        return f" Set aside as broken: {names}; see 'finetune plugins'." if names else ""

    def owner(self, kind: str, name: str) -> Candidate:
        """Return the plugin that offers ``name``."""
        return self._owners[kind, name]

    def origin(self, kind: str, name: str) -> str:
        """Return the distribution and version that offer ``name``, for the record."""
        owner = self.owner(kind, name)
        return f"{owner.distribution} {owner.version}"

    def _admit(self, candidate: Candidate) -> PluginInfo:
        taken = self._taken_plugin(candidate)
        found = Admission(problem=taken) if taken else admit(candidate, self._specs, self._limit_s)
        problem = found.problem or self._taken_name(found.offered)
        if not problem:
            for kind, item in found.offered:
                self._items[kind][item.name] = item
                self._owners[kind, item.name] = candidate
        return PluginInfo(
            name=candidate.name,
            distribution=candidate.distribution,
            version=candidate.version,
            licence=candidate.licence,
            origin=candidate.origin,
            api=found.api,
            offers={} if problem else _names_by_kind(found.offered),
            problem=problem,
            warnings=found.warnings,
            calls=tuple(found.calls),
        )

    def _taken_plugin(self, candidate: Candidate) -> str | None:
        for info in self.infos:
            if info.name == candidate.name:
                by = f"{info.distribution} {info.version}"
                return f"the plugin name '{info.name}' is taken by {by}; uninstall one of the two"
        return None

    def _taken_name(self, offered: list[tuple[str, Any]]) -> str | None:
        seen: set[tuple[str, str]] = set()
        for kind, item in offered:
            name = (kind, item.name)
            if owner := self._taken_by(*name) or ("itself" if name in seen else ""):
                return f"the {kind} name '{item.name}' is taken by {owner}"
            seen.add(name)
        return None

    def _taken_by(self, kind: str, name: str) -> str:
        if kind == "command" and name in OWN_COMMANDS:
            return f"finetune {__version__}"
        return self.origin(kind, name) if (kind, name) in self._owners else ""


def _is_distribution(name: str, info: PluginInfo) -> bool:
    """Whether a plugin comes from the distribution of that name, as installers compare names (PEP 503)."""
    return info.distribution != UNKNOWN and normalised(name) == normalised(info.distribution)


def _names_by_kind(offered: list[tuple[str, Any]]) -> dict[str, tuple[str, ...]]:
    names = {kind: tuple(item.name for of, item in offered if of == kind) for kind in KINDS}
    return {kind: found for kind, found in names.items() if found}


def _offers_others(kind: str, info: PluginInfo) -> str:
    """Return what a plugin offers instead of a thing of this kind, and how the first of these is asked for."""
    others = [_some(KINDS[other].words, names) for other, names in info.offers.items()]
    first, (name, *_) = next(iter(info.offers.items()))
    asked = KINDS[first].asked.format(name=name)
    return f"The plugin '{info.name}' offers no {KINDS[kind].words}, but {' and '.join(others)}; say {asked}"


def _some(words: str, names: tuple[str, ...]) -> str:
    quoted = ", ".join(f"'{name}'" for name in names[:MOST_NAMED])
    return f"the {words}{'s' if len(names) > 1 else ''} {quoted}{', …' if len(names) > MOST_NAMED else ''}"
