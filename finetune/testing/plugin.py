"""What a plugin as a whole promises, before anything it offers is used.

Its module is imported by every ``finetune --help`` and by every run, beside other plugins. So it comes quickly, loads
no library that is heavy, says nothing, starts nothing, writes nothing, and leaves the process as it was: it only
registers facts, and the same ones each time. Its distribution says what it is, and under which licence.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import Distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from finetune import hookspecs
from finetune.errors import PluginError
from finetune.plugins import KINDS, PluginInfo, Plugins, load_function
from finetune.plugins.time_limit import LOADING_LIMIT_S
from finetune.testing.entry_points import entry_point
from finetune.testing.processes import Told, ask
from finetune.testing.rules import Broken, NotChecked, Rule

_STARTING_S = 60.0
"""So long an interpreter may take to start on a machine that is busy."""
_MOST_NAMED = 3
_TAKEN = re.compile(r"is taken by (?P<owner>[^;]+)")
"""As the registry words it."""
WORDS: Mapping[str, str] = {"dataset": "data set"}
"""What kinds are called in a sentence, where that is not the kind's own name."""


@cache
def probe(name: str, limit_s: float = LOADING_LIMIT_S) -> Told:
    """Return what importing a plugin does, in a process of its own; once for each plugin."""
    return ask("finetune.testing.probe", name, str(limit_s), limit_s=limit_s + _STARTING_S)


@dataclass(frozen=True)
class PluginSubject:
    """A plugin as a whole; ``plugins`` is None where it cannot be loaded into this process."""

    name: str
    plugins: Plugins | None = None
    limit_s: float = LOADING_LIMIT_S

    @property
    def probe(self) -> Told:
        """What importing it did, in a process of its own."""
        return probe(self.name, self.limit_s)

    @property
    def facts(self) -> dict[str, Any]:
        """What the probe saw; raises ``NotChecked`` where it saw nothing."""
        if self.probe.answer is None:
            raise NotChecked("it could not be imported")
        facts: dict[str, Any] = self.probe.answer
        return facts

    @cached_property
    def distribution(self) -> Distribution:
        """The metadata of its distribution; raises ``Broken`` where there are none."""
        point = entry_point(self.name)
        if point is None or point.dist is None or not point.dist.metadata:
            raise Broken("a distribution without metadata")
        return point.dist

    @property
    def info(self) -> PluginInfo:
        """What it offers, as it was loaded into this process."""
        return next(info for info in self._loaded.infos if info.name == self.name)

    @property
    def _loaded(self) -> Plugins:
        if self.plugins is None:
            raise NotChecked("it could not be imported")
        return self.plugins

    @property
    def offered(self) -> Iterator[tuple[str, Any]]:
        """Everything it offers, with its kind."""
        for kind, names in self.info.offers.items():
            for name in names:
                yield kind, self._loaded.find(kind, name)

    @property
    def others(self) -> list[PluginInfo]:
        """The other plugins that were found."""
        own = self.info
        return [info for info in self._loaded.infos if info is not own]


def called(kind: str, name: str) -> str:
    """Return what people call a thing: data set 'pets'."""
    return f"{WORDS.get(kind, kind)} '{name}'"


def _comes_in_time(subject: PluginSubject) -> None:
    told = subject.probe
    if told.answer is not None:
        return
    where = f", in {told.place}" if told.place else ""
    if "Timeout (" in told.stderr or told.status is None:
        raise Broken(f"that it was not done after {subject.limit_s:g} s{where}")
    raise Broken(f"that it took the process with it: {told.ending}{where}")


def _is_light(subject: PluginSubject) -> None:
    if heavy := subject.facts["heavy"]:
        raise Broken(f"that it imports {', '.join(heavy)}")


def _prints_nothing(subject: PluginSubject) -> None:
    if subject.facts and (printed := subject.probe.printed):
        raise Broken(f"'{printed}'")


def _leaves_the_process_alone(subject: PluginSubject) -> None:
    if changed := subject.facts["changed"]:
        raise Broken(f"that it changes {_some(changed)}")


def _starts_nothing(subject: PluginSubject) -> None:
    facts = subject.facts
    started = [
        *(f"the thread '{name}'" for name in facts["threads"]),
        *(f"the process '{words}'" for words in facts["children"]),
    ]
    if started:
        raise Broken(_some(started))


def _reaches_for_nothing(subject: PluginSubject) -> None:
    facts = subject.facts
    if facts["written"]:
        raise Broken(f"that it writes {_some(facts['written'])}")
    if facts["asked"]:
        raise Broken(f"that it asks for {_some(facts['asked'])}")


def _draws_no_warnings(subject: PluginSubject) -> None:
    if warnings := [*subject.facts["warnings"], *subject.facts["first"]["warnings"]]:
        raise Broken(f"'{warnings[0]}'")


def _registers_the_same_twice(subject: PluginSubject) -> None:
    first, second = subject.facts["first"], subject.facts["second"]
    if second["problem"] and not first["problem"]:
        raise Broken(f"that the second time it is set aside: {second['problem']}")
    if first["offers"] != second["offers"]:
        raise Broken(f"{_names(first['offers'])}, and then {_names(second['offers'])}")


def _states_its_api(subject: PluginSubject) -> None:
    point = entry_point(subject.name)
    if subject.info and point and getattr(point.load(), "FINETUNE_API", None) is None:
        raise Broken("a module that states none")


def _states_its_licence(subject: PluginSubject) -> None:
    metadata = subject.distribution.metadata
    classifiers = [line for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]
    if not (_said(metadata, "License-Expression") or _said(metadata, "License") or classifiers):
        raise Broken("none")


def _has_a_summary(subject: PluginSubject) -> None:
    if not _said(subject.distribution.metadata, "Summary"):
        raise Broken("none")


def _requires_finetune(subject: PluginSubject) -> None:
    required = subject.distribution.requires or []
    if not any(_project(line) == hookspecs.PROJECT for line in required):
        raise Broken(", ".join(required) or "no requirements")


def _ships_its_types(subject: PluginSubject) -> None:
    point = entry_point(subject.name)
    package = find_spec(point.module.partition(".")[0]) if point else None
    folders = (package.submodule_search_locations or []) if package else []
    if not any(Path(folder, "py.typed").is_file() for folder in folders):
        raise NotChecked("its package has no py.typed; add one where it is typed")


def _functions_can_be_called(subject: PluginSubject) -> None:
    for kind, item in subject.offered:
        what = called(kind, item.name)
        reference = getattr(item, KINDS[kind].function)
        try:
            function = load_function(reference, f"the {what}")
        except PluginError as error:
            raise Broken(f"that {error}") from error
        # A command's parameters are its options; every other function is given one thing.
        if kind != "command" and (problem := _refusal(function, 2 if kind == "backbone" else 1)):
            raise Broken(f"that {reference} of the {what} cannot be called: {problem}")


def _refusal(function: Callable[..., Any], arguments: int) -> str:
    """Return why a function does not take so many arguments, '' where it does."""
    try:
        inspect.signature(function).bind(*[None] * arguments)
    except TypeError as error:
        return str(error)
    return ""


def _names_are_its_own(subject: PluginSubject) -> None:
    own = subject.info
    for other in subject.others:
        owner = _TAKEN.search(other.problem or "")
        if owner and owner["owner"] == f"{own.distribution} {own.version}":
            raise Broken(f"that {other.distribution} {other.version} is set aside: {other.problem}")


def _summaries_are_one_line(subject: PluginSubject) -> None:
    """Find empty ones: those with line breaks or other control characters are refused when they are registered."""
    for kind, item in subject.offered:
        parts = [(called(kind, item.name), getattr(item, "summary", getattr(item, "title", "")))]
        if kind == "dataset":
            parts += [(f"source '{s.name}' of {called(kind, item.name)}", s.summary) for s in item.sources]
            parts += [(f"recipe '{r.name}' of {called(kind, item.name)}", r.summary) for r in item.recipes]
        for what, summary in parts:
            if not summary.strip():
                raise Broken(f"{summary!r} for the {what}")


def _some(things: list[str]) -> str:
    more = f" and {len(things) - _MOST_NAMED} more" if len(things) > _MOST_NAMED else ""
    return ", ".join(things[:_MOST_NAMED]) + more


def _names(offers: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{WORDS.get(kind, kind)}s {', '.join(names)}" for kind, names in offers.items()) or "nothing"


def _said(metadata: Any, field: str) -> str:
    value = (metadata.get(field) or "").strip()
    return "" if value.upper() == "UNKNOWN" else value


def _project(requirement: str) -> str:
    """Return the name at the beginning of a requirement, such as 'finetune>=0.1; extra == "all"'."""
    return re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0].lower().replace("_", "-")


_HERE = "finetune.testing.plugin"
_RULES = (
    ("comes-in-time", f"to be imported within {LOADING_LIMIT_S:g} s", "finetune.hookspecs", _comes_in_time),
    ("is-light", "a module that loads no heavy library", "finetune.hookspecs", _is_light),
    ("prints-nothing", "that importing it prints nothing", _HERE, _prints_nothing),
    (
        "leaves-the-process-alone",
        "that importing it changes nothing but its own modules",
        "finetune.testing.surroundings",
        _leaves_the_process_alone,
    ),
    ("starts-nothing", "that importing it starts no thread and no process", _HERE, _starts_nothing),
    ("reaches-for-nothing", "that importing it writes no file and asks for no address", _HERE, _reaches_for_nothing),
    ("draws-no-warnings", "to be loaded without a warning", "finetune.hookspecs", _draws_no_warnings),
    ("registers-the-same-twice", "the same things each time its hooks are called", _HERE, _registers_the_same_twice),
    (
        "states-its-api",
        f'the version of the contract that it needs, such as FINETUNE_API = "{hookspecs.API_VERSION}"',
        "finetune.hookspecs",
        _states_its_api,
    ),
    ("states-its-licence", "a licence in the metadata of its distribution", _HERE, _states_its_licence),
    ("has-a-summary", "a summary in the metadata of its distribution", _HERE, _has_a_summary),
    ("requires-finetune", "'finetune' among the requirements of its distribution", _HERE, _requires_finetune),
    ("ships-its-types", "a py.typed in its package", _HERE, _ships_its_types),
    (
        "functions-can-be-called",
        "functions that can be imported and take what they are given",
        "finetune.types",
        _functions_can_be_called,
    ),
    ("names-are-its-own", "names that no other plugin has", "finetune.plugins", _names_are_its_own),
    ("summaries-are-one-line", "summaries of one line", "finetune.types", _summaries_are_one_line),
)
RULES = tuple(
    Rule(name=name, kind="plugin", expects=expects, read=read, hold=hold) for name, expects, read, hold in _RULES
)
"""What every plugin is held against."""
