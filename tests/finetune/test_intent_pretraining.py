"""What was said of a pretraining, resolved: its own defaults, what is fixed, and what counts of a recipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.config import FROM_SCRATCH, PRETRAINING, RunConfig
from finetune.errors import ConfigError
from finetune.intent import discover, discover_pretraining

HERBS = """
from finetune.hookspecs import hookimpl
from finetune.types import DatasetSpec, Recipe, Source

TRANSFER = {"epochs": 1, "lr": 0.1, "backbone": "resnet18", "image_size": 48, "valid_share": 0.3, "target": ("int8",)}


@hookimpl
def finetune_register_datasets(register):
    sources = (
        Source(name="dried", summary="", recipe=TRANSFER),
        Source(name="fresh", summary="", recipe={**TRANSFER, "strategy": "scratch", "layer": "layer2"}),
    )
    recipes = (
        Recipe(name="slow", summary="", options={"epochs": 9, "crop_fraction": 0.5}),
        Recipe(name="deep", summary="", options={"epochs": 99, "strategy": "scratch"}),
    )
    register(DatasetSpec(name="herbs", summary="", sources=sources, load="herbs:load", recipes=recipes))
"""


@pytest.fixture(autouse=True)
def _herbs(install: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install("herbs", HERBS))
    monkeypatch.delitem(sys.modules, "finetune_herbs", raising=False)
    monkeypatch.setenv("FINETUNE_PLUGINS", "herbs")


def said(config_file: Path | None = None, **options: Any) -> RunConfig:
    return discover_pretraining({"plugin": "herbs", **options}, config_file).config


def test_a_pretraining_has_defaults_of_its_own(tmp_path: Path) -> None:
    config = discover_pretraining({"data": tmp_path}).config

    assert {name: getattr(config, name) for name in PRETRAINING} == PRETRAINING
    assert (config.backbone, config.seed) == ("resnet18_half", RunConfig.seed)


def test_a_recipe_for_transferring_counts_for_the_pictures_alone() -> None:
    config = said()

    assert (config.image_size, config.valid_share) == (48, 0.3)
    assert (config.epochs, config.lr, config.backbone) == (PRETRAINING["epochs"], RunConfig.lr, PRETRAINING["backbone"])


def test_a_recipe_from_scratch_counts_in_full_but_for_what_is_fixed() -> None:
    config = said(source="fresh")

    assert (config.image_size, config.epochs, config.lr, config.backbone) == (48, 1, 0.1, "resnet18")
    assert {name: getattr(config, name) for name in FROM_SCRATCH} == FROM_SCRATCH


def test_the_same_goes_for_a_recipe_that_is_asked_for() -> None:
    slow, deep = said(recipe="slow"), said(recipe="deep")

    assert (slow.epochs, slow.crop_fraction) == (PRETRAINING["epochs"], 0.5)
    assert deep.epochs == 99


def test_a_file_and_options_lie_over_all_of_that(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("epochs = 5\nlr = 0.5\n")

    config = said(tmp_path / "run.toml", source="fresh", lr=0.25)

    assert (config.epochs, config.lr, config.backbone) == (5, 0.25, "resnet18")


def test_a_file_of_a_run_changes_nothing_that_is_fixed(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('weights = "pretrained"\nstrategy = "probe"\nfolds = 3\ntarget = ["int8"]\n')

    config = said(tmp_path / "run.toml")

    assert {name: getattr(config, name) for name in FROM_SCRATCH} == FROM_SCRATCH


@pytest.mark.parametrize("option", ["weights", "strategy", "freeze_epochs", "target", "folds"])
def test_options_of_networks_that_have_learned_before_are_refused(option: str) -> None:
    with pytest.raises(ConfigError) as caught:
        said(**{option: None})

    assert str(caught.value) == (
        f"--{option.replace('_', '-')} is for networks that have learned before, and a pretraining starts from random "
        "weights; leave it out, or use 'finetune run'."
    )


def test_a_run_hears_all_of_a_recipe() -> None:
    config = discover({"plugin": "herbs"}).config

    assert (config.epochs, config.lr, config.backbone, config.target) == (1, 0.1, "resnet18", ("int8",))


def test_a_recipe_that_is_asked_for_in_vain_is_told_of() -> None:
    from finetune.pretraining import _of_another_strategy

    slow, deep = (discover_pretraining({"plugin": "herbs", "recipe": name}) for name in ("slow", "deep"))

    assert [*_of_another_strategy(slow)] == [
        "The recipe 'slow' is for networks that have learned before: a pretraining takes from it which pictures there "
        "are, and how large they are seen."
    ]
    assert not [*_of_another_strategy(deep)]
