"""What is said to people who ask a plugin for what it does not have."""

from __future__ import annotations

from typing import Any

import pytest

from finetune import __version__
from finetune.config import RunOptions
from finetune.errors import ConfigError
from finetune.plugins import KINDS, OWN_COMMANDS, Plugins, load_plugins
from finetune.types import (
    Backbone,
    Command,
    ExportTarget,
    Metric,
    Recipe,
    ReportSection,
    Source,
    TrainingCallback,
    Weights,
)

from .conftest import HOOKS, Site, candidate, dataset, offering, plugin

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
TASKS = "is not a tuple of at least one of 'single-label', 'multi-label', 'regression'"
PLAIN = "has control characters; it has to be one line of plain text"


def weights(**facts: Any) -> Weights:
    return Weights(**{"name": "w", "url": "", "sha256": "0" * 64, "licence": "MIT", "source": ""} | facts)


def recipe(**facts: Any) -> Recipe:
    return Recipe(**{"name": "r", "summary": "", "options": RunOptions()} | facts)


def source(**facts: Any) -> Source:
    return Source(**{"name": "web", "summary": ""} | facts)


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

    assert info.problem == f"the command name '{name}' is taken by finetune {__version__}"


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
        ("metric", {"tasks": None}, f"TypeError: tasks=None of metric 'x' {TASKS}"),
        ("metric", {"tasks": "regression"}, f"TypeError: tasks='regression' of metric 'x' {TASKS}"),
        ("metric", {"tasks": ()}, f"TypeError: tasks=() of metric 'x' {TASKS}"),
        ("metric", {"tasks": ("ranking",)}, f"TypeError: tasks=('ranking',) of metric 'x' {TASKS}"),
        ("metric", {"tasks": ["regression"]}, f"TypeError: tasks=['regression'] of metric 'x' {TASKS}"),
        ("target", {"judged_by": "eye"}, "TypeError: judged_by='eye' of target 'x' is not 'answers' or 'metric'"),
        ("dataset", {"recipes": (recipe(name=3),)}, "TypeError: name=3 of a recipe of dataset 'x' is not str"),
        (
            "dataset",
            {"recipes": (recipe(summary=None),)},
            "TypeError: summary=None of a recipe of dataset 'x' is not str",
        ),
        ("backbone", {"weights": "w"}, "TypeError: weights='w' of backbone 'x' is not a Weights"),
        ("backbone", {"weights": weights(licence=None)}, "TypeError: licence=None of the weights of 'x' is not str"),
        (
            "backbone",
            {"weights": weights(fetch=print)},
            "TypeError: fetch=<built-in function print> of the weights of 'x' is not str",
        ),
        ("command", {"summary": "\x1b[2Jgone"}, f"TypeError: summary='\\x1b[2Jgone' of command 'x' {PLAIN}"),
        ("section", {"title": "a\nb"}, f"TypeError: title='a\\nb' of section 'x' {PLAIN}"),
        ("callback", {"summary": "\x9b31m"}, f"TypeError: summary='\\x9b31m' of callback 'x' {PLAIN}"),
        ("backbone", {"family": "\u202ex"}, f"TypeError: family='\\u202ex' of backbone 'x' {PLAIN}"),
        ("backbone", {"weights": weights(licence="\x07")}, f"TypeError: licence='\\x07' of the weights of 'x' {PLAIN}"),
        (
            "dataset",
            {"sources": (source(summary="\x08"),)},
            f"TypeError: summary='\\x08' of a source of dataset 'x' {PLAIN}",
        ),
        (
            "dataset",
            {"recipes": (recipe(summary="\r"),)},
            f"TypeError: summary='\\r' of a recipe of dataset 'x' {PLAIN}",
        ),
    ],
    ids=str,
)
def test_a_value_that_would_break_a_list_sets_the_plugin_aside(kind: str, facts: dict[str, Any], problem: str) -> None:
    thing = type(THINGS[kind]("x"))(**vars(THINGS[kind]("x")) | facts)

    (info,) = Plugins([candidate(lambda: plugin(**{f"{kind}s": lambda register: register(thing)}))]).infos

    assert info.problem == problem


def test_text_in_any_script_is_plain() -> None:
    command = Command(name="x", summary="Größe, 尺寸, اندازه‌ها, 👩‍🔬", run="a:b")

    assert Plugins([candidate(lambda: plugin(commands=lambda register: register(command)))]).broken == []


@pytest.mark.parametrize(("length", "known"), [(200, True), (201, False)])
def test_a_name_has_two_hundred_characters_at_most(length: int, known: bool) -> None:
    assert bool(offered(metric=("x" * length,)).metrics) == known


def test_a_distribution_whose_name_is_written_in_two_ways_counts_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("gems", HOOKS.format(name="gems"))
    other = site.path / "Finetune.Gems-1.1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.4\nName: Finetune.Gems\nVersion: 1.1\n")
    (other / "entry_points.txt").write_text("[finetune]\ngems = finetune_gems\n")
    monkeypatch.setenv("FINETUNE_PLUGINS", "gems")

    assert [info.name for info in load_plugins().infos if info.distribution != "finetune"] == ["gems"]
