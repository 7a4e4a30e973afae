"""What is said to people who ask a plugin for what it does not have."""

from __future__ import annotations

from typing import Any

import pytest

from finetune.errors import ConfigError
from finetune.plugins import KINDS, OWN_COMMANDS, Plugins
from finetune.types import Backbone, Command, ExportTarget, Metric, ReportSection, TrainingCallback

from .conftest import candidate, dataset, offering, plugin

THINGS: dict[str, Any] = {
    "dataset": dataset,
    "backbone": lambda name: Backbone(name=name, family="", summary="", build="a:b", parameters=1),
    "target": lambda name: ExportTarget(name=name, summary="", export="a:b"),
    "metric": lambda name: Metric(name=name, summary="", tasks=("regression",), measure="a:b"),
    "callback": lambda name: TrainingCallback(name=name, summary="", build="a:b"),
    "section": lambda name: ReportSection(name=name, title="", build="a:b"),
    "command": lambda name: Command(name=name, summary="", run="a:b"),
}
ASKED = {
    "dataset": "the data set 'x'; say finetune run --plugin x",
    "backbone": "the backbone 'x'; say finetune run --data DIR --backbone x",
    "target": "the target 'x'; say finetune run --data DIR --target x",
    "metric": "the metric 'x'; say finetune run --data DIR --monitor x",
    "callback": "the callback 'x'; say finetune run --data DIR --callback x",
    "section": "the report section 'x'; say finetune report RUN",
    "command": "the command 'x'; say finetune x",
}


def offered(**names: tuple[str, ...]) -> Plugins:
    """Return what is found where the plugin ``gems`` offers these names by kind."""

    def hook(kind: str) -> Any:
        return lambda register: [register(THINGS[kind](name)) for name in names[kind]] and None

    return Plugins([candidate(lambda: plugin(**{f"{kind}s": hook(kind) for kind in names}), "gems")])


def refusal(found: Plugins, kind: str) -> str:
    with pytest.raises(ConfigError) as caught:
        found.find(kind, "gems")
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_plugin_that_offers_something_else_is_told_with_how_to_ask_for_it(kind: str) -> None:
    other = "dataset" if kind != "dataset" else "backbone"

    told = refusal(offered(**{kind: ("x",)}), other)

    assert told == f"The plugin 'gems' offers no {KINDS[other].words}, but {ASKED[kind]}"


def test_asking_for_a_data_set_says_what_the_plugin_has_instead() -> None:
    with pytest.raises(ConfigError) as caught:
        offered(backbone=("ruby", "opal"), target=("ring",)).find_dataset("gems")

    assert str(caught.value) == (
        "The plugin 'gems' offers no data set, but the backbones 'ruby', 'opal' and the target 'ring'; "
        "say finetune run --data DIR --backbone ruby"
    )


def test_of_many_things_the_first_few_are_named() -> None:
    told = refusal(offered(backbone=tuple("abcdef")), "dataset")

    assert "the backbones 'a', 'b', 'c', 'd', …; say finetune run --data DIR --backbone a" in told


def test_a_plugin_with_several_data_sets_is_not_told_that_it_has_none() -> None:
    assert refusal(offered(dataset=("a", "b")), "dataset").startswith("Unknown dataset 'gems'.")


def test_a_plugin_that_offers_nothing_is_no_answer() -> None:
    found = Plugins([candidate(lambda: plugin(datasets=lambda: None), "gems")])

    assert refusal(found, "dataset").startswith("Unknown dataset 'gems'. No dataset is known.")


def test_the_owner_of_a_thing_is_the_plugin_with_what_it_says_about_itself() -> None:
    found = Plugins([candidate(offering, "gems", licence="MIT", origin="https://gems.example")])

    owner = found.owner("dataset", "pets")
    assert (owner.name, owner.licence, owner.origin) == ("gems", "MIT", "https://gems.example")
    assert found.infos[0].licence == "MIT"


@pytest.mark.parametrize("name", sorted(OWN_COMMANDS))
def test_a_plugin_cannot_take_the_name_of_one_of_our_commands(name: str) -> None:
    (info,) = offered(command=(name,)).infos

    assert info.problem == f"the command name '{name}' is taken by finetune 0.1.0"


@pytest.mark.parametrize("name", sorted(OWN_COMMANDS))
def test_other_things_may_be_called_as_our_commands_are(name: str) -> None:
    assert offered(dataset=(name,)).broken == []


@pytest.mark.parametrize(
    ("kind", "facts", "problem"),
    [
        ("dataset", {"summary": None}, "TypeError: summary=None of dataset 'x' is not str"),
        ("backbone", {"parameters": "7 M"}, "TypeError: parameters='7 M' of backbone 'x' is not int"),
        ("backbone", {"crop_fraction": "all"}, "TypeError: crop_fraction='all' of backbone 'x' is not float"),
        ("target", {"summary": 3}, "TypeError: summary=3 of target 'x' is not str"),
        ("metric", {"higher_is_better": "yes"}, "TypeError: higher_is_better='yes' of metric 'x' is not bool"),
        ("section", {"title": b"x"}, "TypeError: title=b'x' of section 'x' is not str"),
        ("command", {"summary": ["a"]}, "TypeError: summary=['a'] of command 'x' is not str"),
    ],
    ids=str,
)
def test_a_value_of_the_wrong_type_sets_the_plugin_aside(kind: str, facts: dict[str, Any], problem: str) -> None:
    thing = type(THINGS[kind]("x"))(**vars(THINGS[kind]("x")) | facts)

    (info,) = Plugins([candidate(lambda: plugin(**{f"{kind}s": lambda register: register(thing)}))]).infos

    assert info.problem == problem
