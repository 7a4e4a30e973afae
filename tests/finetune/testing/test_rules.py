"""Every rule of the kit, and what comes of holding a thing against one."""

from __future__ import annotations

import pydoc
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import pytest

from finetune.hookspecs import hookimpl
from finetune.plugins import Candidate, Plugins
from finetune.testing import (
    Check,
    Rule,
    backbone_recorded,
    backbones,
    callbacks,
    commands,
    datasets,
    downloads,
    metrics,
    plugin,
    sections,
    targets,
)
from finetune.types import Command

RULES = (
    *plugin.RULES,
    *datasets.RULES,
    *datasets.RECIPE_RULES,
    *downloads.RULES,
    *backbones.RULES,
    *backbone_recorded.RULES,
    *targets.RULES,
    *metrics.RULES,
    *commands.RULES,
    *callbacks.RULES,
    *sections.RULES,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.kind}-{rule.name}")
def test_what_a_rule_points_to_can_be_read(rule: Rule) -> None:
    assert (getattr(pydoc.locate(rule.read), "__doc__", "") or "").strip()


def test_a_rule_is_named_once_for_each_kind_in_words() -> None:
    names = [(rule.kind, rule.name) for rule in RULES]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for _, name in names)


# ── one check ───────────────────────────────────────────────────────────────────────────────────────


def check(hold: Callable[[Kept], None], thing: object = None, *, is_last: bool = False) -> Check:
    rule = Rule(name="holds", kind="thing", expects="that it holds", read="finetune.testing.rules", hold=hold)
    return Check(rule=rule, subject="thing 'it'", thing=thing, is_last=is_last)


def raising(error: BaseException) -> Check:
    def hold(thing: object) -> None:
        raise error

    return check(hold)


@pytest.mark.parametrize(
    ("error", "found"),
    [(SystemExit(0), "SystemExit: 0"), (GeneratorExit(), "GeneratorExit"), (ValueError("a\nb"), "ValueError: a b")],
    ids=["exit", "no Exception", "two lines"],
)
def test_whatever_a_thing_raises_is_a_failure(error: BaseException, found: str) -> None:
    finding = raising(error).run()
    assert finding.verdict == "failed"
    assert finding.message == (
        f"thing 'it' breaks the rule 'holds': expected that it holds; found {found}. "
        "Read: python -m pydoc finetune.testing.rules"
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(128 + signal.SIGTERM)], ids=["Ctrl-C", "SIGTERM"])
def test_what_the_user_ends_ends(error: BaseException) -> None:
    with pytest.raises(type(error)):
        raising(error).run()


@dataclass(frozen=True)
class Kept:
    """A thing that keeps what is expensive."""

    name: str

    @cached_property
    def large(self) -> list[int]:
        return [0] * 1000


def test_what_a_thing_keeps_for_its_rules_goes_after_the_last_one() -> None:
    thing = Kept("it")

    check(lambda kept: kept.large.append(1), thing).run()
    assert len(vars(thing)["large"]) == 1001, "the next rule finds it"

    check(lambda kept: kept.large.append(1), thing, is_last=True).run()
    assert vars(thing) == {"name": "it"}


# ── names ───────────────────────────────────────────────────────────────────────────────────────────


def offering(name: str) -> Callable[[], object]:
    """Return what loads a plugin that offers a command of that name."""

    class Offering:
        FINETUNE_API = "1.0"

        @hookimpl
        def finetune_register_commands(self, register: Callable[[Command], None]) -> None:
            register(Command(name=name, summary="One", run="builtins:print"))

    return Offering


@pytest.mark.parametrize(("name", "verdict"), [("ours", "ok"), ("theirs", "failed")])
def test_a_name_that_another_version_has_taken_is_not_laid_at_ones_own_door(name: str, verdict: str) -> None:
    plugins = Plugins(
        [
            Candidate(name="ours", distribution="x", version="1.0", load=offering("first")),
            Candidate(name="theirs", distribution="x", version="1.0.1", load=offering("second")),
            Candidate(name="others", distribution="y", version="1.0", load=offering("second")),
        ]
    )
    (rule,) = (rule for rule in plugin.RULES if rule.name == "names-are-its-own")
    finding = Check(rule=rule, subject="it", thing=plugin.PluginSubject(name, plugins)).run()
    assert finding.verdict == verdict
