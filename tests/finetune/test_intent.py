"""What the user asked for, resolved: who is heard over whom, and which registered things are meant."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import ConfigError
from finetune.intent import discover

WEEDS = """
from finetune.hookspecs import hookimpl
from finetune.types import DatasetSpec, Recipe, Source


@hookimpl
def finetune_register_datasets(register):
    sources = (
        Source(name="web", summary="", recipe={"epochs": 1, "views": 3, "seed": 1}),
        Source(name="copy", summary="", accepts_data=True, recipe={"epochs": 2}),
        Source(name="hub", summary="", accepts_name=True),
    )
    recipes = (
        Recipe(name="slow", summary="", options={"epochs": 9, "seed": 2, "strategy": "partial"}),
        Recipe(name="from-a-copy", summary="", options={"source": "copy", "lr": "find"}),
    )
    register(DatasetSpec(name="weeds", summary="", sources=sources, load="weeds:load", recipes=recipes))
"""


@pytest.fixture(autouse=True)
def _weeds(install: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install("weeds", WEEDS))
    monkeypatch.delitem(sys.modules, "finetune_weeds", raising=False)
    monkeypatch.setenv("FINETUNE_PLUGINS", "weeds")


def said(config_file: Path | None = None, **options: Any) -> Any:
    return discover({"plugin": "weeds", **options}, config_file)


def refusal(**options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        discover(options)
    return str(caught.value)


def test_the_recipe_of_the_source_lies_over_the_defaults() -> None:
    config = said().config

    assert (config.epochs, config.views, config.seed, config.strategy) == (1, 3, 1, "auto")


def test_the_recipe_that_is_asked_for_lies_over_the_sources() -> None:
    config = said(recipe="slow").config

    assert (config.epochs, config.views, config.seed, config.strategy) == (9, 3, 2, "partial")


def test_a_file_lies_over_the_recipe_and_options_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("epochs = 5\nseed = 5\n")

    config = said(tmp_path / "run.toml", recipe="slow", seed=6).config

    assert (config.epochs, config.seed, config.strategy) == (5, 6, "partial")


def test_a_file_may_name_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('plugin = "weeds"\nrecipe = "slow"\n')

    config = discover({}, tmp_path / "run.toml").config

    assert (config.recipe, config.epochs) == ("slow", 9)


def test_a_recipe_may_choose_the_source_with_its_own_recipe_below() -> None:
    found = said(recipe="from-a-copy")

    assert (found.source.name, found.config.epochs, found.config.lr) == ("copy", 2, "find")


def test_the_source_that_is_asked_for_wins_over_the_recipes() -> None:
    assert said(recipe="from-a-copy", source="web").source.name == "web"


def test_data_at_hand_choose_the_source_that_takes_them(tmp_path: Path) -> None:
    assert said(data=tmp_path).source.name == "copy"


def test_data_for_a_source_that_takes_none_are_refused(tmp_path: Path) -> None:
    assert refusal(plugin="weeds", source="web", data=tmp_path) == (
        "The source 'web' of 'weeds' takes no --data; leave out one of the two."
    )


@pytest.mark.parametrize("name", ["pets.csv", "pets.tsv", "pets.parquet", "pets.PQ", "no/such.csv"])
def test_data_with_the_name_of_a_table_are_a_table(name: str) -> None:
    assert discover({"data": name}).spec.name == "table"


def test_a_folder_is_a_folder_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "pets.csv").mkdir()

    assert discover({"data": tmp_path / "pets.csv"}).spec.name == "folder"
    assert discover({"data": tmp_path / "pets.v1"}).spec.name == "folder"


@pytest.mark.parametrize(
    ("said", "option"),
    [
        ({"image_col": "a"}, "--image-col"),
        ({"label_col": ("a",)}, "--label-col"),
        ({"label_separator": "|"}, "--label-separator"),
        ({"split_col": "a"}, "--split-col"),
        ({"group_col": "a"}, "--group-col"),
        ({"skip_missing": True}, "--skip-missing"),
    ],
)
def test_columns_are_asked_of_tables_only(tmp_path: Path, said: dict[str, Any], option: str) -> None:
    assert discover({"data": "pets.csv", **said}).spec.name == "table"
    assert refusal(data=tmp_path, **said) == (
        f"{option} is for tables, and the source 'local' of 'folder' is none; leave it out, or give --data a .csv, "
        ".tsv or .parquet file."
    )


def test_a_name_is_for_sources_that_fetch_by_name() -> None:
    assert discover({"plugin": "weeds", "source": "hub", "name": "user/set"}).config.name == "user/set"
    assert refusal(plugin="weeds", name="user/set") == ("The source 'web' of 'weeds' takes no --name; leave it out.")


def test_an_unknown_recipe_is_refused_with_the_nearest() -> None:
    assert refusal(plugin="weeds", recipe="slwo") == (
        "Unknown recipe of 'weeds' 'slwo'. Did you mean 'slow'? Known: from-a-copy, slow."
    )


def test_a_recipe_of_a_data_set_without_any_is_refused(tmp_path: Path) -> None:
    assert refusal(data=tmp_path, recipe="slow") == (
        "Unknown recipe of 'folder' 'slow'. No recipe of 'folder' is known."
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "Nothing to train on; give --plugin NAME or --data DIR."),
        ({"plugin": "weds"}, "Unknown dataset 'weds'. Did you mean 'weeds'?"),
        ({"plugin": "folder"}, "The data set 'folder' needs --data DIR."),
        ({"plugin": "table"}, "The data set 'table' needs --data FILE."),
        ({"plugin": "weeds", "source": "wep"}, "Unknown source of 'weeds' 'wep'. Did you mean 'web'?"),
        ({"plugin": "weeds", "strategy": "prob"}, "Unknown --strategy 'prob'. Did you mean 'probe'?"),
        ({"plugin": "weeds", "backbone": "resnet81"}, "Unknown backbone 'resnet81'. Did you mean 'resnet18'?"),
        ({"plugin": "weeds", "target": ("onx",)}, "Unknown target 'onx'. Did you mean 'onnx'?"),
    ],
)
def test_what_is_not_known_is_refused(options: dict[str, Any], text: str) -> None:
    assert refusal(**options).startswith(text)


def test_scratch_with_a_file_of_weights_is_refused_and_not_decided_in_silence(pictures: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        discover({"data": pictures, "strategy": "scratch", "weights": "mine.safetensors"})

    assert str(caught.value) == (
        "--strategy scratch starts from random weights, and --weights mine.safetensors is a file; leave out one."
    )
