"""A run that starts from a weight record, from the file to the contract of the model; and the record shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from finetune import resuming, run
from finetune.cli.verify import verify
from finetune.errors import ConfigError, ModelError
from finetune.intent import discover
from finetune.networks.network import assemble, build_backbone
from finetune.networks.weight_files import record_bytes
from finetune.plugins import load_plugins
from finetune.run_folder import RunFolder, sha256_of
from finetune.types import WeightRecord
from finetune_export import read_contract

from .conftest import Notes
from .recording import RECORD

SIZE_PX = 32


@dataclass(frozen=True)
class Started:
    """A finished run that was given a record by ``--backbone``, and what it said meanwhile."""

    result: Any
    record: Path
    notes: list[str]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Image.Image]) -> Started:
    root, notes = tmp_path_factory.mktemp("from a record"), Notes()
    for kind, label in enumerate(("cat", "dog")):
        (root / "pictures" / label).mkdir(parents=True)
        for i in range(8):
            picture(kind, seed=i).save(root / "pictures" / label / f"{i}.png")
    torch.manual_seed(7)
    model = build_backbone(load_plugins().find_backbone("resnet18_half"), SIZE_PX)
    network = assemble(model, len(RECORD.labels), SIZE_PX)
    record: WeightRecord = replace(RECORD, image_size_px=SIZE_PX)
    (root / "dogs.safetensors").write_bytes(record_bytes(network, record))
    options: dict[str, Any] = {"strategy": "probe", "freeze_epochs": 2, "views": 1, "augment": "none", "batch_size": 8}
    result = run(
        data=root / "pictures", backbone=str(root / "dogs.safetensors"), out=root / "runs", reporter=notes, **options
    )
    return Started(result, root / "dogs.safetensors", notes.said)


def test_the_model_says_which_weights_it_began_with_under_which_licence(started: Started) -> None:
    contract = read_contract(started.result.onnx)

    origin = contract.backbone
    assert (origin.name, origin.weights, origin.licence) == ("resnet18_half", "dogs-resnet18_half", "CC-BY-4.0")
    assert origin.sha256 == sha256_of(started.record)
    assert (started.result.backbone, started.result.weights) == ("resnet18_half", "dogs-resnet18_half")


def test_the_model_prepares_pictures_as_the_record_says(started: Started) -> None:
    seen = read_contract(started.result.onnx).preprocessing

    assert (seen.image_size_px, seen.crop_fraction, seen.mean, seen.std) == (SIZE_PX, 0.9, RECORD.mean, RECORD.std)


def test_the_user_is_told_what_the_weights_were_pretrained_on(started: Started) -> None:
    assert (
        f"resnet18_half starts from {started.record}: pretrained on dogs: kinds (1200 pictures of 3 classes, accuracy "
        "93.1%), licence CC-BY-4.0."
    ) in started.notes


def test_the_frozen_body_of_the_run_is_the_records_to_the_last_bit(started: Started) -> None:
    given, kept = load_file(started.record), load_file(started.result.run / "weights.safetensors")

    body = [key for key in kept if not key.startswith("head.")]
    assert body
    assert all(torch.equal(given[key].to(kept[key].dtype), kept[key]) for key in body)


def test_the_run_goes_on_and_is_repeated_from_the_same_record(started: Started) -> None:
    folder = started.result.run

    for intent in (discover({}, folder / "config.toml"), resuming.intent_of(RunFolder(folder), {})):
        assert (intent.config.backbone, intent.config.weights) == ("resnet18_half", str(started.record))
        assert (intent.backbone.image_size_px, intent.backbone.mean) == (SIZE_PX, RECORD.mean)


# ── the record itself ───────────────────────────────────────────────────────────────────────────────


def test_a_record_is_verified_and_shown(started: Started, capsys: pytest.CaptureFixture[str]) -> None:
    verify(started.record)
    rows = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())

    assert (rows["architecture"], rows["labels"]) == ("resnet18_half", "collie, pug, Käfer 甲")
    assert (rows["metrics"], rows["licence"]) == ("accuracy 0.931, f1 0.9", "CC-BY-4.0")

    verify(started.record, json=True)
    assert json.loads(capsys.readouterr().out)["sha256"] == rows["sha256"]


def test_weights_without_a_record_are_not_verified(started: Started, tmp_path: Path) -> None:
    path = started.result.run / "weights.safetensors"

    with pytest.raises(ModelError) as caught:
        verify(path)
    assert str(caught.value) == (
        f"{path} has no weight record. Give the pretrained.safetensors of a 'finetune pretrain'."
    )
    with pytest.raises(ConfigError, match=r"--run and --data are for models, and .* holds weights; leave them out"):
        verify(started.record, data=tmp_path)
