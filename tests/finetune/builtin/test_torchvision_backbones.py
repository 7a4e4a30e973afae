"""The facts about torchvision's classifiers agree with what torchvision itself says, and cost no import of torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
from torchvision import models
from torchvision.models import WeightsEnum

from finetune.builtin.torchvision_backbones import finetune_register_backbones
from finetune.types import Backbone

BACKBONES: dict[str, Backbone] = {}
finetune_register_backbones(register=lambda backbone: BACKBONES.__setitem__(backbone.name, backbone))


def published(name: str) -> WeightsEnum:
    return models.get_model_weights(name).DEFAULT


def test_every_classifier_of_torchvision_is_offered_once_and_in_order():
    names = []
    finetune_register_backbones(register=lambda backbone: names.append(backbone.name))
    assert names == models.list_models(module=models)
    assert len(names) >= 65


@pytest.mark.parametrize("name", BACKBONES)
def test_the_weight_record_is_torchvisions_own(name):
    weights, theirs = BACKBONES[name].weights, published(name)
    assert weights is not None
    assert (weights.name, weights.url) == (theirs.name, theirs.url)
    assert len(weights.sha256) >= 8
    assert theirs.url.endswith(f"-{weights.sha256}.pth")
    licence = theirs.meta.get("license")  # stated only where it is not the library's own
    assert weights.licence == ("BSD-3-Clause" if licence is None else "CC-BY-NC-4.0")
    assert ("SWAG" in weights.source) == (licence is not None)


def test_the_swag_weights_are_known_as_not_for_commercial_use():
    restricted = {name for name, backbone in BACKBONES.items() if backbone.weights.licence == "CC-BY-NC-4.0"}
    assert restricted == {"regnet_y_128gf", "vit_h_14"}


@pytest.mark.parametrize("name", BACKBONES)
def test_sizes_and_normalisation_are_those_of_the_weights(name):
    backbone, preset = BACKBONES[name], published(name).transforms()
    assert preset.crop_size == [backbone.image_size_px]
    assert backbone.crop_fraction == preset.crop_size[0] / preset.resize_size[0]
    assert backbone.image_size_px % backbone.image_size_multiple_px == 0
    assert backbone.min_image_size_px <= backbone.image_size_px
    if name in ("googlenet", "inception_v3"):  # whose pretrained networks normalise once more; see test_..._families
        assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)
    else:
        assert (list(backbone.mean), list(backbone.std)) == (preset.mean, preset.std)


@pytest.mark.parametrize("name", BACKBONES)
def test_parameters_and_accuracy_are_those_that_torchvision_states(name):
    backbone, meta = BACKBONES[name], published(name).meta
    assert backbone.parameters == meta["num_params"]
    assert f" {meta['_metrics']['ImageNet-1K']['acc@1']:.1f} % top-1" in backbone.summary


FIND_HEAVY = "import sys; sys.exit(', '.join(sorted({'torch', 'torchvision', 'fastai'} & set(sys.modules))) or None)"


def heavy_imports(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", f"{code}; {FIND_HEAVY}"], capture_output=True, text=True, check=False)
    return done.stderr.strip()


def test_registering_imports_neither_torch_nor_torchvision():
    code = "from finetune.builtin import torchvision_backbones as t; t.finetune_register_backbones(register=print)"
    assert heavy_imports(code) == ""


def test_the_guard_against_heavy_imports_can_fail():
    assert heavy_imports("import torchvision, finetune.builtin.torchvision_backbones") == "torch, torchvision"
