"""Loading one plugin: its module is imported, its hooks are called, and all that comes of it is kept."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pluggy

from finetune import hookspecs
from finetune.errors import PluginError
from finetune.plugins.calling import comes_from_the_user, reason
from finetune.plugins.kinds import KINDS, Kind, check
from finetune.plugins.surroundings import PluginWarning, kept_surroundings
from finetune.plugins.time_limit import time_limit
from finetune.plugins.tracing import HookCall, Tracer
from finetune.plugins.versions import needed_api

OWN_DISTRIBUTION = "finetune"
"""The distribution of what is built in."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A plugin that was found and not yet loaded; ``load`` imports its module.

    ``licence`` is the distribution's, as it states it; ``origin`` is where it comes from, a URL as a rule.
    """

    name: str
    distribution: str
    version: str
    load: Callable[[], object]
    licence: str = "unknown"
    origin: str = "unknown"


@dataclass(kw_only=True)
class Admission:
    """What came of loading a plugin: what it ``offered``, by kind, and the ``problem`` that rules it out, if any."""

    offered: list[tuple[str, Any]] = field(default_factory=list)
    calls: list[HookCall] = field(default_factory=list)
    warnings: tuple[str, ...] = ()
    api: str | None = None
    problem: str | None = None


def admit(candidate: Candidate, specs: ModuleType | type, limit_s: float) -> Admission:
    """Load a plugin by itself, against the hooks of ``specs``; what it raises, whatever it is, is the ``problem``.

    Only a Ctrl-C and a signal to end pass.
    """
    found = Admission()
    with _kept_warnings(found):
        try:
            with kept_surroundings(), time_limit(limit_s, candidate.distribution):
                plugin = candidate.load()
                found.api = needed_api(plugin, candidate.distribution)
                _call_hooks(plugin, specs, found)
        except BaseException as error:  # SystemExit included: a plugin must not end the host
            if comes_from_the_user(error):
                raise
            found.problem = reason(error)
    return found


@contextlib.contextmanager
def _kept_warnings(found: Admission) -> Iterator[None]:
    """Keep every warning for the record; none is an error, none is lost."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ResourceWarning)  # drawn by collecting garbage, which may be anybody's
        yield
    texts = (w.message if isinstance(w.message, Warning) else w.category(w.message) for w in caught)
    found.warnings = tuple(dict.fromkeys(str(w) if isinstance(w, PluginWarning) else reason(w) for w in texts))


def _call_hooks(plugin: object, specs: ModuleType | type, found: Admission) -> None:
    """Call the hooks of one plugin, in a manager of its own, so that its faults are its own."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(specs)
    manager.register(plugin)  # raises for a wrong signature
    manager.check_pending()  # raises for a misspelt hook
    if not manager.get_hookcallers(plugin):
        raise PluginError(f"it implements no hook; known: {', '.join(sorted(kind.hook for kind in KINDS.values()))}")
    Tracer(manager, found.offered, found.calls)
    for kind in KINDS.values():
        if getattr(manager.hook, kind.hook)(register=_register(kind, found.offered)):  # what is returned would be lost
            raise PluginError(f"{kind.hook} returns something; it has to call register(...) instead")


def _register(kind: Kind, offered: list[tuple[str, Any]]) -> Callable[[Any], None]:
    def register(item: Any) -> None:
        check(kind, item)
        offered.append((kind.name, item))

    return register
