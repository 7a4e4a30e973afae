"""Weights that a plugin's own function fetches: loaded and recorded like all others, and nobody's but the plugin's."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from finetune.errors import FinetuneError, ModelError, PluginError, ResourceError
from finetune.networks.network import BackboneModel
from finetune.networks.published import is_at_hand
from finetune.networks.weights import load_weights
from finetune.plugins import KINDS
from finetune.plugins.kinds import check
from finetune.types import Backbone, Weights

WEIGHTS = Weights(
    name="V1",
    url="https://hub.example.org/user/tiny",
    sha256="",
    licence="MIT",
    source="the hub",
    fetch="tiny_hub:fetch",
    find="tiny_hub:find",
)
BACKBONE = Backbone(name="tiny", family="tiny", summary="", build="tiny_hub:build", parameters=1, weights=WEIGHTS)


def tiny() -> BackboneModel:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    return BackboneModel(model=model, stages=(("stem", model[0]),))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file({"0.weight": torch.ones(4, 3, 3, 3), "0.bias": torch.zeros(4)}, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, file: Path) -> ModuleType:
    """A plugin's module that has the file, and takes down what it is asked for."""
    module = ModuleType("tiny_hub")
    module.fetched = []  # type: ignore[attr-defined]
    module.fetch = lambda weights: module.fetched.append(weights) or file  # type: ignore[attr-defined]
    module.find = lambda _: file  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tiny_hub", module)
    return module


def refused(kind: type[FinetuneError]) -> str:
    with pytest.raises(kind) as caught:
        load_weights(tiny(), BACKBONE, "pretrained")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_the_plugin_fetches_fills_the_body_and_is_recorded(hub: ModuleType, file: Path) -> None:
    model = tiny()

    used = load_weights(model, BACKBONE, "pretrained")

    assert hub.fetched == [WEIGHTS]
    assert torch.equal(model.model[0].weight, torch.ones(4, 3, 3, 3))  # type: ignore[index]
    assert (used.name, used.licence) == ("V1", "MIT")
    assert used.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert used.note == (
        "tiny starts from the weights V1 of the hub (licence: MIT). Their hash is the one that hub.example.org stated "
        "itself."
    )


def test_a_hash_that_was_stated_beforehand_is_checked_as_well(hub: ModuleType, file: Path) -> None:
    stated = replace(BACKBONE, weights=replace(WEIGHTS, sha256="00c0ffee"))

    with pytest.raises(
        ModelError, match=r"model\.safetensors is not what https://hub\.example\.org/user/tiny publishes"
    ):
        load_weights(tiny(), stated, "pretrained")


def test_an_error_that_is_meant_for_the_user_passes(hub: ModuleType) -> None:
    def fetch(weights: Weights) -> Path:
        raise ResourceError("no network, or give --weights none.")

    hub.fetch = fetch  # type: ignore[attr-defined]
    assert refused(ResourceError) == "no network, or give --weights none."


def test_a_fault_of_the_function_is_the_plugins(hub: ModuleType) -> None:
    def fetch(weights: Weights) -> Path:
        raise KeyError("etag")

    hub.fetch = fetch  # type: ignore[attr-defined]
    assert refused(PluginError).startswith("What fetches the weights of the backbone 'tiny' failed: KeyError: 'etag'.")


@pytest.mark.parametrize("returned", [None, "model.safetensors", Path("nowhere")], ids=["none", "text", "nowhere"])
def test_a_function_that_returns_no_file_is_the_plugins_fault(hub: ModuleType, returned: object) -> None:
    hub.fetch = lambda _: returned  # type: ignore[attr-defined]

    assert refused(PluginError) == (
        f"The backbone 'tiny' is broken: tiny_hub:fetch returned {returned!r} instead of the path of a file. "
        "Report it to the plugin's author."
    )


def test_whether_they_are_at_hand_is_the_plugins_to_say_and_nothing_is_fetched(hub: ModuleType) -> None:
    assert is_at_hand(BACKBONE)

    hub.find = lambda _: None  # type: ignore[attr-defined]
    assert not is_at_hand(BACKBONE)
    assert hub.fetched == []


# ── what may be registered ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"fetch": "", "find": ""},
            "the weights of 'tiny' have no sha256; give it, or fetch and find, which check by themselves",
        ),
        ({"find": ""}, "the weights of 'tiny' have one of fetch and find; give both, or neither"),
        ({"fetch": "", "sha256": "0" * 64}, "the weights of 'tiny' have one of fetch and find; give both, or neither"),
        ({"fetch": "fetch"}, "fetch='fetch' of the weights of 'tiny' is not 'package.module:function'"),
    ],
    ids=["unchecked", "no-find", "no-fetch", "no-reference"],
)
def test_weights_that_nobody_can_check_or_fetch_are_not_registered(change: dict[str, str], problem: str) -> None:
    with pytest.raises(TypeError) as refusal:
        check(KINDS["backbone"], replace(BACKBONE, weights=replace(WEIGHTS, **change)))  # type: ignore[arg-type]
    assert str(refusal.value) == problem


@pytest.mark.parametrize("weights", [WEIGHTS, replace(WEIGHTS, sha256="00c0ffee", fetch="", find=""), None])
def test_weights_that_can_be_checked_are_registered(weights: Weights | None) -> None:
    check(KINDS["backbone"], replace(BACKBONE, weights=weights))
