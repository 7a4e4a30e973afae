"""Loading one plugin: its module is imported, its hooks are called, and all that comes of it is kept."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pluggy

from finetune import hookspecs
from finetune.errors import PluginError
from finetune.names import unknown_name
from finetune.plugins.calling import comes_from_the_user, reason
from finetune.plugins.kinds import KINDS, Kind, check
from finetune.plugins.surroundings import PluginWarning, kept_surroundings
from finetune.plugins.time_limit import HalfImportedError, time_limit
from finetune.plugins.tracing import HookCall, Tracer
from finetune.plugins.versions import needed_api

OWN_DISTRIBUTION = "finetune"
"""The distribution of what is built in."""
HOOKS = tuple(sorted(kind.hook for kind in KINDS.values()))
HOOK_PREFIX = "finetune_register_"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A plugin that was found and not yet loaded; ``load`` imports its module.

    ``licence`` is the distribution's, as it states it; ``origin`` is where it comes from, a URL as a rule; ``module``
    is what ``load`` imports.
    """

    name: str
    distribution: str
    version: str
    load: Callable[[], object]
    licence: str = "unknown"
    origin: str = "unknown"
    module: str = ""


@dataclass(kw_only=True)
class Admission:
    """What came of loading a plugin: what it ``offered``, by kind, and the ``problem`` that rules it out, if any.

    ``changed`` are sentences about what it changed of the process; they end up among the ``warnings``.
    """

    offered: list[tuple[str, Any]] = field(default_factory=list)
    calls: list[HookCall] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    warnings: tuple[str, ...] = ()
    api: str | None = None
    problem: str | None = None


def admit(candidate: Candidate, specs: ModuleType | type, limit_s: float) -> Admission:
    """Load a plugin by itself, against the hooks of ``specs``; what it raises, whatever it is, is the ``problem``.

    Only a Ctrl-C and a signal to end pass. Raises ``PluginError``, which ends the command, where the limit left this
    process unfit to go on. What is built in has no limit.
    """
    found = Admission()
    with _kept_warnings(found):
        try:
            with kept_surroundings() as found.changed, _limit(candidate, limit_s):
                plugin = candidate.load()
                found.api = needed_api(plugin, candidate.distribution)
                _call_hooks(plugin, specs, found)
        except HalfImportedError as error:
            raise PluginError(f"The plugin '{candidate.name}' ends this command: {error}") from error
        except BaseException as error:  # SystemExit included: a plugin must not end the host
            if comes_from_the_user(error):
                raise
            found.problem = reason(error)
    return found


def _limit(candidate: Candidate, limit_s: float) -> contextlib.AbstractContextManager[None]:
    if candidate.distribution == OWN_DISTRIBUTION:
        return contextlib.nullcontext()
    return time_limit(limit_s, candidate.distribution, candidate.module)


@contextlib.contextmanager
def _kept_warnings(found: Admission) -> Iterator[None]:
    """Keep every warning for the record, and what was changed and put back; none is an error, none is lost."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ResourceWarning)  # drawn by collecting garbage, which may be anybody's
        yield
    texts = (w.message if isinstance(w.message, Warning) else w.category(w.message) for w in caught)
    said = (str(w) if isinstance(w, PluginWarning) else reason(w) for w in texts)
    found.warnings = tuple(dict.fromkeys((*said, *found.changed)))


def _call_hooks(plugin: object, specs: ModuleType | type, found: Admission) -> None:
    """Call the hooks of one plugin, in a manager of its own, so that its faults are its own."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(specs)
    _check_implementations(plugin, manager)
    manager.register(plugin)
    Tracer(manager, found.offered, found.calls)
    for kind in KINDS.values():
        if getattr(manager.hook, kind.hook)(register=_register(kind, found.offered)):  # what is returned would be lost
            raise PluginError(f"{kind.hook} returns something; it has to call register(...) instead")


def _check_implementations(plugin: object, manager: pluggy.PluginManager) -> None:
    """Refuse hooks that the manager does not know, and arguments that they do not have, before pluggy does."""
    implementations = _implementations(plugin)
    if not implementations:
        raise PluginError(_no_hook(plugin))
    for name, implementation in implementations:
        spec = hook.spec if (hook := getattr(manager.hook, name, None)) else None
        if spec:
            _check_arguments(name, (*spec.argnames, *spec.kwargnames), implementation.argnames)
        elif not implementation.optionalhook:
            raise PluginError("u" + unknown_name("hook", name, HOOKS)[1:])  # it follows a colon


def _implementations(plugin: object) -> list[tuple[str, pluggy.HookImpl]]:
    """Return each function that is marked, with the name of its hook."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)  # without specifications it takes whatever is marked
    manager.register(plugin)
    return [(hook.name, each) for hook in manager.get_hookcallers(plugin) or () for each in hook.get_hookimpls()]


def _check_arguments(hook: str, known: Sequence[str], asked: Sequence[str]) -> None:
    if strange := [name for name in asked if name not in known]:
        raise PluginError(f"{hook} takes {_quoted(known)}, and its implementation asks for {_quoted(strange)}")


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _no_hook(plugin: object) -> str:
    named = (name for name in dir(plugin) if name.startswith(HOOK_PREFIX))
    if unmarked := [name for name in named if inspect.isroutine(getattr(plugin, name))]:
        return f"it implements no hook: mark {', '.join(unmarked)} with @hookimpl (finetune.hookspecs)"
    return f"it implements no hook; known: {', '.join(HOOKS)}"


def _register(kind: Kind, offered: list[tuple[str, Any]]) -> Callable[[Any], None]:
    def register(item: Any) -> None:
        check(kind, item)
        offered.append((kind.name, item))

    return register
