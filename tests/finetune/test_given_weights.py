"""A weight record decides the backbone and its preprocessing; what was said is refused where it contradicts that."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.config import read_file, to_toml
from finetune.errors import ConfigError, ModelError
from finetune.intent import Intent, discover

from .recording import RECORD, content, write

KENNEL = """
from finetune.hookspecs import hookimpl
from finetune.types import DatasetSpec, Recipe, Source


@hookimpl
def finetune_register_datasets(register):
    sources = (Source(name="web", summary="", recipe={"backbone": "resnet18", "image_size": 64, "weights": "none"}),)
    recipes = (Recipe(name="anew", summary="", options={"strategy": "scratch"}),)
    register(DatasetSpec(name="kennel", summary="", sources=sources, load="kennel:load", recipes=recipes))
"""


@pytest.fixture(autouse=True)
def _kennel(install: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install("kennel", KENNEL))
    monkeypatch.delitem(sys.modules, "finetune_kennel", raising=False)
    monkeypatch.setenv("FINETUNE_PLUGINS", "kennel")


@pytest.fixture
def record(tmp_path: Path) -> str:
    return str(write(tmp_path / "dogs.safetensors"))


def said(**options: Any) -> Intent:
    return discover({"plugin": "kennel", **options})


def refusal(**options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        said(**options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def facts(intent: Intent) -> tuple[object, ...]:
    """Return what a record decides: the options on the network, and how pictures are prepared."""
    config, backbone = intent.config, intent.backbone
    named = (config.backbone, config.weights, config.image_size, config.crop_fraction, backbone.name)
    return *named, backbone.image_size_px, backbone.crop_fraction, backbone.mean, backbone.std


# ── what it decides ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("option", ["weights", "backbone"])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_record_names_the_backbone_and_its_preprocessing_whatever_the_recipe_has(
    option: str, kind: type, record: str
) -> None:
    found = facts(said(**{option: kind(record)}))

    assert found == ("resnet18_half", record, None, None, "resnet18_half", 48, 0.9, RECORD.mean, RECORD.std)


@pytest.mark.parametrize("more", [{"weights": "pretrained"}, {"backbone": "resnet18_half"}], ids=["word", "name"])
def test_what_agrees_with_a_record_may_be_said_as_well(more: dict[str, str], record: str) -> None:
    both = {"weights": record, "backbone": record, **more}

    assert facts(said(**both)) == facts(said(weights=record))
    assert facts(said(weights=record, backbone=record)) == facts(said(weights=record))


def test_the_size_that_is_said_wins_over_the_records(record: str) -> None:
    config = said(weights=record, image_size=96, crop_fraction=1).config

    assert (config.image_size, config.crop_fraction) == (96, 1)


def test_a_record_with_weights_none_is_its_network_with_random_weights(record: str) -> None:
    found = facts(said(backbone=record, weights="none"))

    assert found[:5] == ("resnet18_half", "none", 48, 0.9, "resnet18_half")
    assert facts(said(backbone=record, weights="none", image_size=96))[2:4] == (96, 0.9)


def test_a_file_without_a_record_decides_nothing(tmp_path: Path) -> None:
    (tmp_path / "plain.safetensors").write_bytes(content({"format": "pt"}))

    found = said(weights=str(tmp_path / "plain.safetensors"))

    assert (found.config.backbone, found.config.image_size) == ("resnet18", 64)


# ── files ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "options", [{"weights": "none"}, {"image_size": 96}, {}, {"crop_fraction": 0.5, "weights": "pretrained"}], ids=str
)
def test_the_configuration_of_a_run_reads_back_to_the_same_run(
    options: dict[str, Any], record: str, tmp_path: Path
) -> None:
    first = said(backbone=record, **options)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text(to_toml(first.config))

    again = discover({}, tmp_path / "run" / "config.toml")

    assert to_toml(again.config) == to_toml(first.config)
    assert again.backbone.image_size_px == first.backbone.image_size_px
    assert (again.backbone.mean, again.backbone.crop_fraction) == (first.backbone.mean, first.backbone.crop_fraction)


@pytest.mark.parametrize("option", ["weights", "backbone"])
def test_a_path_in_a_file_is_relative_to_the_file(
    option: str, record: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.toml").write_text(f'plugin = "kennel"\n{option} = "dogs.safetensors"\n')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert read_file(tmp_path / "run.toml")[option] == record  # type: ignore[literal-required]
    assert discover({}, tmp_path / "run.toml").config.weights == record


def test_a_configuration_has_absolute_paths(record: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert f'weights = "{record}"' in to_toml(said(backbone="dogs.safetensors").config).splitlines()


# ── what contradicts it ─────────────────────────────────────────────────────────────────────────────


def test_another_backbone_that_is_said_is_refused_with_both_names_and_the_way_out(record: str) -> None:
    assert refusal(backbone="resnet18", weights=record) == (
        f"--backbone resnet18 is not what --weights {record} holds, which is 'resnet18_half'; leave out --backbone, or "
        "give the weights of a resnet18."
    )


def test_a_backbone_in_a_file_is_said_as_well(record: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('plugin = "kennel"\nbackbone = "resnet18"\n')

    with pytest.raises(ConfigError, match="--backbone resnet18 is not what --weights "):
        discover({"weights": record}, tmp_path / "run.toml")


def test_weights_of_another_file_are_refused(record: str) -> None:
    assert refusal(backbone=record, weights="mine.safetensors") == (
        f"--backbone {record} brings its own weights, and --weights mine.safetensors is another file; leave out one."
    )


@pytest.mark.parametrize("options", [{"strategy": "scratch"}, {"recipe": "anew"}], ids=["said", "recipe"])
def test_a_training_from_scratch_is_refused_and_not_begun_with_other_weights_in_silence(
    options: dict[str, str], record: str
) -> None:
    assert refusal(backbone=record, **options) == (
        f"--strategy scratch starts from random weights, and --backbone {record} brings its own; give another "
        "--strategy, or say --weights none."
    )
    assert said(backbone=record, weights="none", **options).config.strategy == "scratch"


def test_a_recipe_from_scratch_refuses_a_record_as_weights(record: str) -> None:
    assert refusal(weights=record, recipe="anew") == (
        f"--strategy scratch starts from random weights, and --weights {record} brings its own; give another "
        "--strategy, or leave out --weights."
    )


def test_a_path_that_leads_nowhere_is_no_backbone(tmp_path: Path) -> None:
    path = tmp_path / "gone.safetensors"

    assert refusal(backbone=str(path)) == (
        f"--backbone {path}: there is no such file. Check the path, or give a name; see 'finetune list backbones'."
    )


def test_a_file_without_a_record_is_no_backbone(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    path.write_bytes(content({"format": "pt"}))

    assert refusal(backbone=str(path)) == (
        f"--backbone {path} has no weight record that would say which network it is of; give --backbone NAME --weights "
        f"{path}."
    )


@pytest.mark.parametrize("option", ["weights", "backbone"])
def test_a_damaged_file_is_refused_before_anything_is_read(option: str, record: str) -> None:
    Path(record).write_bytes(Path(record).read_bytes()[:50])

    with pytest.raises(ModelError, match=r"dogs\.safetensors is damaged or no safetensors file: its header is not w"):
        said(**{option: record})


@pytest.mark.parametrize(
    ("owner", "missing"),
    [("finetune-nine", "finetune-nine where you trust it, or a newer one"), ("finetune", "a newer finetune")],
)
def test_an_architecture_that_nobody_offers_is_refused_with_what_to_install(
    owner: str, missing: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "dogs.safetensors", architecture="resnet18_hlf", offered_by=owner)

    with pytest.raises(ModelError) as caught:
        said(weights=str(path))
    assert str(caught.value) == (
        f"The weight record of {path} says that its architecture is 'resnet18_hlf' of {owner}, and nobody offers that "
        f"here. Install {missing}; see 'finetune plugins'."
    )


def test_a_size_in_a_record_that_no_run_may_have_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "dogs.safetensors", image_size_px=9999)

    with pytest.raises(ModelError, match="its image_size_px is not what --image-size may be"):
        said(backbone=str(path), weights="none")
