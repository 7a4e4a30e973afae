"""``finetune plugins``: what is installed, what it offers, and what is broken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from finetune_export.cli.output import print_json, print_table

if TYPE_CHECKING:
    from finetune.plugins import HookCall, PluginInfo

MOST_NAMES = 4
HEADER = ("plugin", "distribution", "licence", "API", "status", "offers")
TRACE_HEADER = ("plugin", "hook", "ms", "implementation", "came of it")


def plugins(
    *,
    json: Annotated[bool, Parameter(negative=(), help="Print a JSON array.")] = False,
    trace: Annotated[bool, Parameter(negative=(), help="Show every call of a hook as well.")] = False,
) -> None:
    """List the plugins that were found, what they offer, and why broken ones were set aside.

    Examples:
      finetune plugins --json
      finetune plugins --trace
    """
    from finetune.plugins import load_plugins

    infos = load_plugins().infos
    if json:
        print_json([_facts(info, trace) for info in infos])
        return
    print_table([HEADER, *(row for info in infos for row in _rows(info))])
    if trace:
        print()
        print_table([TRACE_HEADER, *(_traced(info, call) for info in infos for call in info.calls)])


def _facts(info: PluginInfo, trace: bool) -> dict[str, object]:
    facts = asdict(info)
    return facts if trace else {name: value for name, value in facts.items() if name != "calls"}


def _rows(info: PluginInfo) -> Iterator[tuple[str, ...]]:
    whose = (info.name, f"{info.distribution} {info.version}", info.licence, info.api or "-")
    yield (*whose, *(("set aside", f"BROKEN: {info.problem}") if info.problem else ("ok", _offers(info))))
    for warning in info.warnings:
        yield ("", "", "", "", "", f"WARNING: {warning}")


def _offers(info: PluginInfo) -> str:
    return "; ".join(f"{kind}s: {_some(names)}" for kind, names in info.offers.items() if names) or "nothing"


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"


def _traced(info: PluginInfo, call: HookCall) -> tuple[str, ...]:
    came = call.error or (f"returned {call.returned}" if call.returned else f"registered {_some(call.registered)}")
    implementation = f"{call.implementation} ({call.place})"
    return info.name, call.hook, f"{call.milliseconds:.1f}", implementation, came
