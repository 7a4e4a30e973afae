from __future__ import annotations

import subprocess
import sys

import pytest

from finetune.config import resolve
from finetune.errors import ConfigError
from finetune.intent import discover
from finetune.plugins import load_function, load_plugins
from finetune.types import DatasetSpec
from finetune_classics import cats_dogs, cifar10, hooks, hymenoptera


def registered_specs() -> list[DatasetSpec]:
    specs: list[DatasetSpec] = []
    hooks.finetune_register_datasets(specs.append)
    return specs


RECIPES = [(spec, recipe) for spec in registered_specs() for recipe in spec.recipes]
ids = pytest.mark.parametrize(("spec", "recipe"), RECIPES, ids=lambda item: item.name)


def config_of(plugin: str, recipe: str):
    return discover({"plugin": plugin, "recipe": recipe}).config


def test_importing_the_hooks_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'PIL', 'scipy', 'fastai'}"
    code = f"import sys, finetune_classics.hooks; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_modules_that_read_import_nothing_heavy_either():
    heavy = "{'torch', 'numpy', 'PIL', 'scipy', 'fastai'}"
    modules = "finetune_classics.cifar10, finetune_classics.cats_dogs, finetune_classics.hymenoptera"
    code = f"import sys, {modules}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_three_data_sets_are_found_and_whole(registered):
    found = load_plugins()
    (info,) = (info for info in found.infos if info.name == "classics")
    assert (info.problem, info.offers["dataset"]) == (None, ("hymenoptera", "cats-dogs", "cifar10"))


@pytest.mark.parametrize("spec", registered_specs(), ids=lambda spec: spec.name)
def test_load_is_found_where_the_registration_says(spec):
    module = {"hymenoptera": hymenoptera, "cats-dogs": cats_dogs, "cifar10": cifar10}[spec.name]
    assert load_function(spec.load, spec.name) is module.load
    assert module.PUBLISHED.name == spec.name


@pytest.mark.parametrize("spec", registered_specs(), ids=lambda spec: spec.name)
def test_the_only_source_takes_a_copy_at_hand_and_states_the_size_of_the_download(spec):
    module = {"hymenoptera": hymenoptera, "cats-dogs": cats_dogs, "cifar10": cifar10}[spec.name]
    (source,) = spec.sources
    assert source.accepts_data
    assert f"({module.PUBLISHED.archive.size / 1e6:.0f} MB download" in source.summary


@ids
def test_every_recipe_resolves(spec, recipe):
    assert resolve(spec.sources[0].recipe, recipe.options).weights == "pretrained"


@ids
def test_every_recipe_can_be_asked_for(spec, recipe, registered):
    config = config_of(spec.name, recipe.name)
    assert {name: getattr(config, name) for name in recipe.options} == recipe.options


def test_the_frozen_resnet18_is_the_tutorials(registered):
    config = config_of("hymenoptera", "resnet18-frozen")
    assert (config.backbone, config.strategy, config.head) == ("resnet18", "probe", "linear")
    assert (config.optimizer, config.lr, config.momentum, config.weight_decay) == ("SGD", 0.001, 0.9, 0)
    assert (config.schedule, config.step_epochs, config.gamma) == ("StepLR", 7, 0.1)
    assert (config.batch_size, config.freeze_epochs) == (4, 25)


def test_model_a_trains_the_head_and_model_b_every_layer_at_a_ten_thousandth(registered):
    a, b = (config_of("hymenoptera", f"resnet18-{model}") for model in "ab")
    assert (a.strategy, a.freeze_epochs > 0) == ("probe", True)
    assert (b.strategy, b.freeze_epochs, b.unfreeze, b.unfrozen_lr) == ("finetune", 0, None, 1e-4)


def test_resnet50_learns_with_adam_at_a_ten_thousandth(registered):
    config = config_of("cats-dogs", "resnet50")
    assert (config.backbone, config.optimizer, config.unfrozen_lr) == ("resnet50", "Adam", 1e-4)
    assert (config.strategy, config.freeze_epochs) == ("finetune", 0)


@pytest.mark.parametrize("recipe", [recipe for _, recipe in RECIPES if recipe.name != "resnet18-frozen"])
def test_the_plain_loops_keep_their_rate(recipe):
    config = resolve(recipe.options)
    assert (config.schedule, config.gamma) == ("StepLR", 1)


def test_cifar10_is_learned_with_sgd(registered):
    config = config_of("cifar10", "resnet18")
    assert (config.optimizer, config.unfrozen_lr, config.momentum) == ("SGD", 0.001, 0.9)


def test_a_recipe_lies_over_the_sources_own_options_and_under_yours(registered):
    assert config_of("cats-dogs", "resnet50").max_unreadable == 0.08
    assert config_of("cifar10", "resnet18").crop_fraction == 1.0
    said = {"plugin": "cifar10", "recipe": "resnet18", "epochs": 1, "crop_fraction": 0.5}
    config = discover(said).config
    assert (config.epochs, config.crop_fraction, config.backbone) == (1, 0.5, "resnet18")


def test_an_unknown_recipe_names_the_nearest(registered):
    with pytest.raises(ConfigError, match=r"Unknown recipe of 'cifar10' 'resnet81'\. Did you mean 'resnet18'\?"):
        config_of("cifar10", "resnet81")
