"""``finetune list``: the names that can be asked for, of the built-ins and of strangers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Said

HERBARIUM = """
from finetune.hookspecs import hookimpl
from finetune.types import Command, DatasetSpec, Metric, Recipe, ReportSection, Source, TrainingCallback


@hookimpl
def finetune_register_datasets(register):
    slow = Recipe(name="slow", summary="As published.", options={"backbone": "resnet18", "optimizer": "SGD"})
    source = Source(name="web", summary="Pressed plants.")
    register(DatasetSpec(name="weeds", summary="", sources=(source,), load="weeds:load", recipes=(slow,)))


@hookimpl
def finetune_register_metrics(register):
    register(Metric(name="wilt", summary="How dry they are.", tasks=("regression",), measure="weeds:wilt"))


@hookimpl
def finetune_register_callbacks(register):
    register(TrainingCallback(name="watering", summary="Every epoch.", build="weeds:watering"))


@hookimpl
def finetune_register_sections(register):
    register(ReportSection(name="roots", title="Roots and soil", build="weeds:roots"))


@hookimpl
def finetune_register_commands(register):
    register(Command(name="press", summary="Presses plants.", run="weeds:press"))
"""


@pytest.fixture
def listed(process: Callable[..., Said], install: Callable[[str, str], Path]) -> Callable[..., Said]:
    """List in a process that sees the built-ins and one stranger."""
    site = install("herbarium", HERBARIUM)

    def said(*arguments: str) -> Said:
        told = process("list", *arguments, PYTHONPATH=str(site), FINETUNE_PLUGINS="herbarium")
        assert (told.status, told.err) == (0, "")
        return told

    return said


def test_the_recipes_are_listed_with_the_data_set_they_belong_to(listed: Callable[..., Said]) -> None:
    assert listed("recipes").out.splitlines() == [
        "data set  recipe  what it is",
        "weeds     slow    As published.",
    ]


def test_the_recipes_can_be_read_by_a_script_with_their_options(listed: Callable[..., Said]) -> None:
    assert json.loads(listed("recipes", "--json").out) == [
        {
            "dataset": "weeds",
            "name": "slow",
            "summary": "As published.",
            "options": {"backbone": "resnet18", "optimizer": "SGD"},
        }
    ]


def test_the_data_sets_are_listed_with_their_sources(listed: Callable[..., Said]) -> None:
    rows = [line.split()[:2] for line in listed("datasets").out.splitlines()[1:]]

    assert [row for row in rows if row[0] in ("folder", "weeds")] == [["folder", "local"], ["weeds", "web"]]


@pytest.mark.parametrize(("kind", "name"), [("backbones", "resnet18"), ("targets", "onnx"), ("datasets", "weeds")])
def test_whatever_is_listed_can_be_read_by_a_script(kind: str, name: str, listed: Callable[..., Said]) -> None:
    assert name in [item["name"] for item in json.loads(listed(kind, "--json").out)]


def test_the_backbones_are_listed_with_where_their_weights_come_from_and_their_licence(
    listed: Callable[..., Said],
) -> None:
    rows = [re.split(r"  +", line) for line in listed("backbones").out.splitlines()]
    named = {row[0]: row for row in rows}

    assert rows[0] == [
        *("backbone", "family", "parameters", "size", "weights", "licence"),
        *("what it is", "weights from"),
    ]
    assert named["resnet18"][4:6] == ["IMAGENET1K_V1", "BSD-3-Clause"]
    assert named["resnet18"][7] == "torchvision, trained on ImageNet-1k"
    assert named["resnet18_half"][4] == "none"
    assert len(named["resnet18_half"]) == 6  # without weights there is no licence of theirs, and no source
    (item,) = json.loads(listed("backbones", "vit_h_14", "--json").out)
    assert item["weights"]["licence"] == "CC-BY-NC-4.0"
    assert item["weights"]["source"] == "SWAG by Meta, published by torchvision"


def test_without_recipes_the_heading_alone_is_shown(process: Callable[..., Said]) -> None:
    assert process("list", "recipes", FINETUNE_DISABLE_PLUGINS="1").out == "data set  recipe  what it is\n"
    assert json.loads(process("list", "recipes", "--json", FINETUNE_DISABLE_PLUGINS="1").out) == []


def test_the_metrics_are_listed_with_their_tasks_and_which_way_they_are_better(listed: Callable[..., Said]) -> None:
    rows = [re.split(r"  +", line) for line in listed("metrics").out.splitlines()]

    assert rows[0] == ["metric", "tasks", "better", "what it is"]
    assert rows[1] == [
        "accuracy",
        "single-label, multi-label",
        "higher",
        "share of pictures that are right, every label of them",
    ]
    assert ["mae", "regression", "lower", "mean absolute error, in the units of the values"] in rows


def test_the_metrics_can_be_read_by_a_script(listed: Callable[..., Said]) -> None:
    metrics = {metric["name"]: metric for metric in json.loads(listed("metrics", "--json").out)}

    assert metrics["rmse"] == {
        "name": "rmse",
        "summary": "root of the mean squared error, in the same units",
        "tasks": ["regression"],
        "measure": "finetune.evaluation.metrics:rmse",
        "higher_is_better": False,
        "is_share": False,
    }


def test_a_strangers_metric_is_listed_after_the_built_in_ones(listed: Callable[..., Said]) -> None:
    assert listed("metrics").out.splitlines()[-1].split() == [
        "wilt",
        "regression",
        "higher",
        "How",
        "dry",
        "they",
        "are.",
    ]


# ── what else plugins add ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "heading", "row"),
    [
        ("callbacks", "callback", ["watering", "finetune_herbarium 1.2", "Every epoch."]),
        ("sections", "section", ["roots", "finetune_herbarium 1.2", "Roots and soil"]),
        ("commands", "command", ["press", "finetune_herbarium 1.2", "Presses plants."]),
    ],
)
def test_callbacks_sections_and_commands_are_listed_with_the_distribution_they_come_from(
    kind: str, heading: str, row: list[str], listed: Callable[..., Said]
) -> None:
    rows = [re.split(r"  +", line) for line in listed(kind).out.splitlines()]

    assert rows[0] == [heading, "plugin", "what it is"]
    assert row in rows[1:]
    items = {item["name"]: item for item in json.loads(listed(kind, "--json").out)}
    assert items[row[0]]["plugin"] == row[1]


# ── some of them ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pattern", ["resnet10", "RESNET10", "resnet10*", "*net101", "[r]esnet1?1"])
def test_a_part_of_a_name_or_a_pattern_chooses_whatever_the_case(pattern: str, listed: Callable[..., Said]) -> None:
    heading, *rows = listed("backbones", pattern).out.splitlines()

    assert heading.startswith("backbone ")
    assert "resnet101" in [row.split()[0] for row in rows]
    assert "vgg11" not in [row.split()[0] for row in rows]


def test_a_pattern_is_for_the_whole_name(listed: Callable[..., Said]) -> None:
    assert [item["name"] for item in json.loads(listed("backbones", "--json", "resnet?01").out)] == ["resnet101"]
    assert [item["name"] for item in json.loads(listed("metrics", "*-loss", "--json").out)] == ["log-loss"]


def test_recipes_are_chosen_by_their_own_name_or_their_data_sets(listed: Callable[..., Said]) -> None:
    assert listed("recipes", "weed").out == listed("recipes", "SLOW").out == listed("recipes").out


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_pattern_that_fits_no_name_is_refused_with_how_many_there_are(
    form: tuple[str, ...], cli: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_DISABLE_PLUGINS", "1")

    said = cli("list", "targets", "onyx", *form)

    assert (said.status, said.out) == (2, "")
    assert said.err == (
        "finetune: None of the 6 targets has a name like 'onyx'. Give a part of one, or a pattern such as 'res*50'; "
        "'finetune list targets' shows all.\n"
    )
