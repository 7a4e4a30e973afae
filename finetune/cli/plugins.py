"""``finetune plugins``: what is installed, what it offers, and what is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from finetune_export.cli.output import print_json, print_table

if TYPE_CHECKING:
    from finetune.plugins import PluginInfo

MOST_NAMES = 4


def plugins(*, json: Annotated[bool, Parameter(negative=(), help="Print a JSON array.")] = False) -> None:
    """List the plugins that were found, what they offer, and why broken ones were set aside.

    Examples:
      finetune plugins --json
    """
    from finetune.plugins import load_plugins

    infos = load_plugins().infos
    if json:
        print_json(infos)
    else:
        header = ("plugin", "distribution", "version", "offers")
        print_table([header, *((i.name, i.distribution, i.version, _offers(i)) for i in infos)])


def _offers(info: PluginInfo) -> str:
    if info.problem:
        return f"BROKEN, set aside: {info.problem}"
    return "; ".join(f"{kind}s: {_some(names)}" for kind, names in info.offers.items() if names) or "nothing"


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"
