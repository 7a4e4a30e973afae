from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest

from finetune.config import resolve
from finetune.errors import ConfigError
from finetune.intent import discover, discover_pretraining
from finetune.types import DatasetSpec
from finetune.weight_record import read_record
from finetune_dogbreeds import hooks, sets
from finetune_dogbreeds.dataset import load
from finetune_dogbreeds.drawn import LICENCE


def registered() -> DatasetSpec:
    specs: list[DatasetSpec] = []
    hooks.finetune_register_datasets(specs.append)
    (spec,) = specs
    return spec


def test_importing_the_hooks_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'PIL', 'scipy', 'fastai'}"
    code = f"import sys, finetune_dogbreeds.hooks; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_entry_point_names_the_hooks():
    points = importlib.metadata.entry_points(group="finetune", name="dogbreeds")
    assert [point.load() for point in points] == [hooks]


def test_the_sample_is_the_default_source():
    assert [source.name for source in registered().sources] == ["sample", "stanford", "kinds"]


def test_load_is_found_where_the_registration_says():
    assert registered().load == f"{load.__module__}:{load.__name__}"


def test_the_summaries_count_what_is_drawn_rightly():
    sample, kinds = sets.SAMPLE, sets.KINDS
    assert f"{len(sample.tasks()):,} drawn dogs of {len(sample.breeds)} breeds" in hooks.SAMPLE.summary
    assert f"{len(kinds.breeds)} drawn kinds of dogs that are no breeds" in hooks.KINDS.summary


@pytest.mark.parametrize("source", registered().sources, ids=lambda source: source.name)
def test_every_recipe_is_a_valid_configuration(source):
    resolve(source.recipe)


def test_the_sample_goes_as_far_as_it_pays_and_stanford_takes_two_phases():
    sample_run, stanford_run = resolve(hooks.SAMPLE.recipe), resolve(hooks.STANFORD.recipe)
    assert (sample_run.weights, sample_run.strategy) == ("pretrained", "auto")
    assert min(sample_run.freeze_epochs, sample_run.epochs) > 0
    assert (stanford_run.weights, stanford_run.freeze_epochs, stanford_run.unfreeze) == ("pretrained", 3, 2)
    assert stanford_run.unfrozen_lr == 1e-4


def test_the_sample_starts_from_weights_that_came_with_the_starter():
    intent = discover({"plugin": "dogbreeds"})
    weights = intent.backbone.weights
    assert weights is not None
    assert (intent.backbone.name, intent.source.name) == ("starter", "sample")
    assert weights.url.startswith("file://")
    assert Path(url2pathname(urlparse(weights.url).path)).is_file()


def test_the_starter_has_learned_the_kinds_as_they_are_drawn_now():
    record = read_record(Path(url2pathname(urlparse(discover({"plugin": "dogbreeds"}).backbone.weights.url).path)))
    assert (record.dataset, record.source) == ("dogbreeds", "kinds")
    assert record.labels == tuple(kind.name for kind in sets.KINDS.breeds)
    assert record.dataset_licence == LICENCE


def test_the_kinds_take_a_small_network_from_scratch_with_smoothed_labels():
    config = resolve(hooks.KINDS.recipe)
    assert (config.backbone, config.weights, config.strategy) == ("resnet18_half", "none", "scratch")
    assert (config.image_size, config.label_smoothing) == (64, 0.1)


@pytest.mark.parametrize("begun", [discover, discover_pretraining], ids=["run", "pretrain"])
def test_a_run_and_a_pretraining_on_the_kinds_follow_their_recipe(begun):
    intent = begun({"plugin": "dogbreeds", "source": "kinds"})
    recipe = hooks.KINDS.recipe
    assert (intent.source.name, intent.backbone.name) == ("kinds", "resnet18_half")
    assert {name: getattr(intent.config, name) for name in recipe} == recipe


def test_weights_that_are_asked_for_are_not_left_unused():
    intent = discover({"plugin": "dogbreeds", "backbone": "resnet18", "weights": "pretrained"})
    assert (intent.source.name, intent.config.weights, intent.config.strategy) == ("sample", "pretrained", "auto")


def test_the_breeds_in_two_stages_are_a_recipe_of_the_photos():
    (recipe,) = registered().recipes
    intent = discover({"plugin": "dogbreeds", "recipe": recipe.name})
    assert (recipe.name, intent.source.name) == ("two-stage", "stanford")
    assert (intent.config.strategy, intent.config.freeze_epochs, intent.config.epochs) == ("partial", 3, 3)
    assert (intent.config.unfreeze, intent.config.unfrozen_lr) == (2, 1e-4)


def test_two_stages_are_two_stages_on_the_drawn_dogs_as_well():
    config = discover({"plugin": "dogbreeds", "recipe": "two-stage", "source": "sample"}).config
    assert (config.source, config.weights, config.strategy, config.unfreeze) == ("sample", "pretrained", "partial", 2)


def test_an_unknown_source_names_the_nearest(request_for):
    with pytest.raises(ConfigError, match=r"Unknown source of dogbreeds 'stamford'\. Did you mean 'stanford'\?"):
        load(request_for("stamford"))
