"""Weights into a network of timm: as they are, resampled for another image size, and refused by their names."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from finetune.errors import ModelError
from finetune.networks.network import BackboneModel, assemble, build_backbone
from finetune.networks.weight_files import serialised
from finetune.networks.weights import load_weights
from finetune.types import Backbone
from finetune_timm.hooks import finetune_register_backbones

VIT = "timm:test_vit.r160_in1k"
POSITIONS = "pos_embed"


@cache
def backbones() -> dict[str, Backbone]:
    found: dict[str, Backbone] = {}
    finetune_register_backbones(lambda backbone: found.__setitem__(backbone.name, backbone))
    return found


def vit(size: int) -> BackboneModel:
    return build_backbone(backbones()[VIT], size)


def published(folder: Path) -> tuple[str, dict[str, Tensor]]:
    """Write a file as timm publishes it for its own image size, with a classifier of its own; return its content."""
    state = {key: torch.randn_like(tensor) for key, tensor in vit(160).model.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    return str(folder / "model.safetensors"), state


def test_published_weights_fill_the_body_as_they_are(tmp_path: Path) -> None:
    path, state = published(tmp_path)
    model = vit(160)
    head = nn.Module.get_submodule(model.model, "head").weight.clone()  # type: ignore[operator,union-attr]

    load_weights(model, backbones()[VIT], path)

    own = model.model.state_dict()
    assert all(torch.equal(own[key], tensor) for key, tensor in state.items() if not key.startswith("head."))
    assert torch.equal(own["head.weight"], head)


def test_positions_are_resampled_for_another_image_size(tmp_path: Path) -> None:
    path, state = published(tmp_path)
    model = vit(64)

    load_weights(model, backbones()[VIT], path)

    own = model.model.state_dict()
    assert own[POSITIONS].shape[1] == 1 + (64 // 16) ** 2
    assert torch.equal(own["blocks.0.attn.qkv.weight"], state["blocks.0.attn.qkv.weight"])
    torch.testing.assert_close(own[POSITIONS][:, 0], state[POSITIONS][:, 0])


@pytest.mark.parametrize("size", [160, 64])
def test_a_runs_own_weights_start_another_run_at_any_size(tmp_path: Path, size: int) -> None:
    network = assemble(vit(160), 3, 160)
    (tmp_path / "weights.safetensors").write_bytes(serialised(network, licence="MIT"))
    model = vit(size)

    used = load_weights(model, backbones()[VIT], str(tmp_path / "weights.safetensors"))

    own, ran = model.model.state_dict(), load_file(tmp_path / "weights.safetensors")
    assert torch.equal(own["blocks.1.mlp.fc1.weight"], ran["blocks.1.mlp.fc1.weight"])
    assert used.licence == "MIT"


def test_a_file_of_another_network_is_refused_by_what_is_missing(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "other.safetensors")

    with pytest.raises(ModelError) as refused:
        load_weights(vit(160), backbones()[VIT], str(tmp_path / "other.safetensors"))

    assert f"do not fit the backbone '{VIT}': missing keys: " in str(refused.value)
    assert "unknown keys: 1, first 'conv1.weight'" in str(refused.value)
