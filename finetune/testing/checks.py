"""Every rule and everything it is held against: what there is to check about one plugin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from finetune.errors import ConfigError, PluginError
from finetune.names import unknown_name
from finetune.plugins import PluginInfo, Plugins, load_plugins
from finetune.plugins.candidates import found_candidates
from finetune.testing import plugin as whole
from finetune.testing.entry_points import entry_point
from finetune.testing.plugin import PluginSubject, called
from finetune.testing.rules import Case, Check, NotChecked, Rule
from finetune.types import Backbone

MOST_BACKBONES = 12
"""So many backbones of a plugin are tried where ``only`` does not say which."""


def checks_of(case: Case) -> list[Check]:
    """Return every check of a plugin in a fixed order: of the plugin as a whole, then of each thing that it offers.

    It is imported in a process of its own first, and into this one only if it let that one live; what takes long
    happens where a check runs. Raises ``ConfigError`` for a plugin that is not installed and for names in ``only`` that
    it does not offer, ``PluginError`` for a plugin that is set aside.
    """
    _refuse_unknown(case.plugin)
    if entry_point(case.plugin) and PluginSubject(case.plugin).probe.answer is None:
        return _checks(whole.RULES, f"plugin '{case.plugin}'", PluginSubject(case.plugin))
    plugins = _loaded(case.plugin)
    return list(_of_plugin(case, plugins))


def _of_plugin(case: Case, plugins: Plugins) -> Iterator[Check]:
    subject = PluginSubject(case.plugin, plugins)
    offers = _chosen(case, subject.info)
    yield from _checks(whole.RULES, f"plugin '{case.plugin}'", subject)
    for kind, names in offers.items():
        items = [plugins.find(kind, name) for name in names]
        if kind == "backbone" and not case.only and len(items) > MOST_BACKBONES:
            yield _left_out(case.plugin, items)
            items = spread(items)
        for item in items:
            for rules, what, thing in _subjects(kind, item, case, plugins):
                yield from _checks(rules, what, thing)


def _checks(rules: Sequence[Rule], subject: str, thing: Any) -> list[Check]:
    return [Check(rule=rule, subject=subject, thing=thing, is_last=rule is rules[-1]) for rule in rules]


def _refuse_unknown(name: str) -> None:
    installed = {candidate.name for candidate in found_candidates()}
    if name not in installed:
        raise ConfigError(unknown_name("plugin", name, installed, "See 'finetune plugins'."))


def _loaded(name: str) -> Plugins:
    """Return all plugins; raise ``PluginError`` where the one that is meant was set aside."""
    plugins = load_plugins()
    info = next((info for info in plugins.infos if info.name == name), None)
    if info is None:
        raise PluginError(f"The plugin '{name}' is not loaded; check FINETUNE_PLUGINS and FINETUNE_DISABLE_PLUGINS.")
    if info.problem:
        raise PluginError(info.refusal)
    return plugins


def _chosen(case: Case, info: PluginInfo) -> Mapping[str, Sequence[str]]:
    """Return the names that are meant, by kind."""
    offered = [name for names in info.offers.values() for name in names]
    for name in case.only:
        if name not in offered:
            raise ConfigError(unknown_name("--only", name, offered, f"The plugin '{case.plugin}' offers these."))
    return {kind: [n for n in names if not case.only or n in case.only] for kind, names in info.offers.items()}


# ── a fixed few of many backbones ───────────────────────────────────────────────────────────────────


def spread(backbones: Sequence[Backbone], most: int = MOST_BACKBONES) -> list[Backbone]:
    """Return so many of the backbones, of families all through the alphabet, the smallest of each before the larger."""
    families: dict[str, list[Backbone]] = {}
    for backbone in sorted(backbones, key=lambda b: (b.parameters, b.name)):
        families.setdefault(backbone.family, []).append(backbone)
    names = sorted(families)
    apart = max(1, len(names) / most)
    turns = zip_longest(*(families[names[int(number * apart)]] for number in range(min(most, len(names)))))
    chosen = [backbone for turn in turns for backbone in turn if backbone is not None][:most]
    return [backbone for backbone in backbones if backbone in chosen]


@dataclass(frozen=True)
class _LeftOut:
    sentence: str


def _left_out(name: str, backbones: Sequence[Backbone]) -> Check:
    tried = ", ".join(backbone.name for backbone in spread(backbones))
    sentence = (
        f"{MOST_BACKBONES} of {len(backbones)} backbones are tried: {tried}. Name others with --only, or with only= of "
        "the Case"
    )
    rule = Rule(
        name="every-backbone-is-tried",
        kind="plugin",
        expects="that every backbone is tried",
        read="finetune.testing.checks",
        hold=_tell_left_out,
    )
    return Check(rule=rule, subject=f"plugin '{name}'", thing=_LeftOut(sentence))


def _tell_left_out(left_out: _LeftOut) -> None:
    raise NotChecked(left_out.sentence)


# ── what is tried of each kind; the rules of a kind are imported where a plugin offers it ───────────


def _subjects(kind: str, item: Any, case: Case, plugins: Plugins) -> Iterator[tuple[Sequence[Rule], str, Any]]:
    """Yield rules, what people call the thing that they are held against, and the thing."""
    what = called(kind, item.name)
    match kind:
        case "dataset":
            yield from _of_dataset(item, case, plugins)
        case "backbone":
            from finetune.testing import backbones

            yield backbones.rules_of(item), what, backbones.BackboneSubject(backbone=item, case=case)
        case "target":
            from finetune.testing import targets

            yield targets.RULES, what, targets.TargetSubject(target=item, plugins=plugins, case=case)
        case "metric":
            from finetune.testing import metrics

            for task in item.tasks:
                yield metrics.RULES, f"{what} of {task}", metrics.MetricSubject(item, task)
        case _:
            yield from _of_extra(kind, item, case, plugins)


def _of_dataset(item: Any, case: Case, plugins: Plugins) -> Iterator[tuple[Sequence[Rule], str, Any]]:
    from finetune.testing import datasets, downloads
    from finetune.testing.sources import SourceSubject

    what = called("dataset", item.name)
    yield datasets.RECIPE_RULES, what, datasets.SpecSubject(item, plugins)
    for source in item.sources:
        yield (*datasets.RULES, *downloads.RULES), f"{what} from '{source.name}'", SourceSubject(item, source, case)


def _of_extra(kind: str, item: Any, case: Case, plugins: Plugins) -> Iterator[tuple[Sequence[Rule], str, Any]]:
    what = called(kind, item.name)
    match kind:
        case "callback":
            from finetune.testing import callbacks

            yield callbacks.RULES, what, callbacks.CallbackSubject(item, case.plugin)
        case "section":
            from finetune.testing import sections

            yield sections.RULES, what, sections.SectionSubject(item, plugins)
        case "command":
            from finetune.testing import commands

            yield commands.RULES, what, commands.CommandSubject(item)
