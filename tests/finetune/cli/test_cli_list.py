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
from finetune.types import DatasetSpec, Recipe, Source


@hookimpl
def finetune_register_datasets(register):
    slow = Recipe(name="slow", summary="As published.", options={"backbone": "resnet18", "optimizer": "SGD"})
    source = Source(name="web", summary="Pressed plants.")
    register(DatasetSpec(name="weeds", summary="", sources=(source,), load="weeds:load", recipes=(slow,)))
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
        "higher_is_better": False,
    }
