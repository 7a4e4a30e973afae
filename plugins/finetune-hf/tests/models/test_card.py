"""What a card says of models that no small run makes: other tasks, weights and sets of the hub, plugins, odd names."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune_export.contract import Calibration, PluginOrigin, Scaling
from finetune_hf.card import card
from finetune_hf.finished import Finished, finished

Written = Callable[..., tuple[dict[str, Any], str]]


@pytest.fixture
def found(plain: Path) -> Finished:
    return finished(plain)


@pytest.fixture
def written(found: Finished) -> Written:
    """Return front matter and text of the card of a model with another contract."""

    def made(**changed: Any) -> tuple[dict[str, Any], str]:
        text = card(replace(found, contract=replace(found.contract, **changed)), "user/pets")
        return yaml.safe_load(text.split("---\n")[1]), text

    return made


def test_a_regression_names_no_pipeline_of_the_hub(written: Written) -> None:
    scaling = Scaling(offset=(0.0, 1.0), scale=(1.0, 2.0))
    stated, text = written(task="regression", scaling=scaling, calibration=Calibration(), metrics={"r2": 0.5})

    assert "pipeline_tag" not in stated
    assert "image-regression" in stated["tags"]
    assert "# Image regression (values: 2)" in text


def test_several_labels_are_told_from_single_ones(written: Written) -> None:
    stated, text = written(task="multi-label", metrics={"mean-average-precision": 0.75})

    assert {"image-classification", "multi-label"} <= set(stated["tags"])
    assert stated["model-index"][0]["results"][0]["metrics"] == [{"type": "mean-average-precision", "value": 0.75}]
    assert "any number at once" in text


def test_a_metric_that_is_undefined_is_not_stated(written: Written) -> None:
    stated, _ = written(metrics={"accuracy": 0.5, "mean-auroc": math.nan})

    assert stated["metrics"] == ["accuracy"]


@pytest.mark.parametrize(
    ("source", "datasets"),
    [
        ("Hugging Face: user/set", ["user/set"]),
        ("Hugging Face: user/set:clean", ["user/set"]),
        ("Hugging Face: a local copy", None),
        ("a local folder", None),
    ],
)
def test_a_set_of_the_hub_is_linked(written: Written, found: Finished, source: str, datasets: Any) -> None:
    stated, _ = written(dataset=replace(found.contract.dataset, source=source))

    assert stated.get("datasets") == datasets


def test_weights_of_the_hub_are_the_base_model_and_others_none(written: Written, found: Finished) -> None:
    backbone = replace(found.contract.backbone, licence="Apache-2.0")

    assert "base_model" not in written(backbone=replace(backbone, weights="IMAGENET1K_V1"))[0]
    stated, text = written(backbone=replace(backbone, weights="timm/resnet18.a1_in1k"))
    assert stated["base_model"] == "timm/resnet18.a1_in1k"
    assert stated["license_name"] == "weights-apache-2.0-data-unknown"
    assert '"weights": "timm/resnet18.a1_in1k: Apache-2.0"' in text


def test_the_plugins_that_took_part_are_named_with_licence_and_origin(written: Written) -> None:
    plugin = PluginOrigin(
        distribution="finetune-pets", version="1.2", licence="MIT", origin="a URL", used_for=("dataset pets",)
    )

    _, text = written(plugins=(plugin,))

    for fact in ('"distribution": "finetune-pets"', '"licence": "MIT"', '"origin": "a URL"'):
        assert fact in text


def test_names_that_are_markup_stay_in_their_code_block(written: Written, found: Finished) -> None:
    odd = "```\n# {x} <script> | ---"
    stated, text = written(labels=(odd, "dog"), dataset=replace(found.contract.dataset, name=odd, licence=odd))

    assert stated["model-index"][0]["results"][0]["dataset"]["name"] == odd
    body = text.split("\n---\n", 1)[1]
    fences = [line for line in body.splitlines() if line.startswith("```")]
    assert fences == ["```bash", "```", "```json", "```", "```json", "```"]
    assert "\n# {x}" not in body


def test_a_licence_that_somebody_wrote_into_the_target_s_card_is_kept(with_hf: Path) -> None:
    path = with_hf / "hf" / "README.md"
    path.write_text(path.read_text().replace("license: other", "license: mit", 1))

    stated = yaml.safe_load(card(finished(with_hf), "user/pets").split("---\n")[1])

    assert stated["license"] == "mit"
    assert "license_name" not in stated
