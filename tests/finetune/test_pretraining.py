"""A pretraining, from a folder of pictures to a record that others start from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import finetune
from finetune import pretraining, record_writing
from finetune.config import read_file
from finetune.errors import ConfigError, DataError, ModelError
from finetune.intent import discover, discover_pretraining
from finetune.networks.network import Network
from finetune.preparation import prepare
from finetune.record_writing import command_of
from finetune.records import versions
from finetune.training.history import Epoch
from finetune.training.journal import Outcome
from finetune.types import Pretrained
from finetune.weight_record import check_record, read_record

from .conftest import Notes

LABELS = ("ant", "bee")
TINY: dict[str, Any] = {"backbone": "squeezenet1_1", "image_size": 32, "batch_size": 8, "epochs": 4, "lr": 0.001}


@dataclass(frozen=True)
class Made:
    """What a pretraining came to, the pictures, and what it said."""

    result: Pretrained
    pictures: Path
    said: tuple[str, ...]

    @property
    def record(self) -> Any:
        return read_record(self.result.record)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Image.Image]) -> Made:
    """Pretrain on two classes of 24 pictures, a quarter of them to test with."""
    root = tmp_path_factory.mktemp("pretrained")
    for kind, label in enumerate(LABELS):
        (root / "insects" / label).mkdir(parents=True)
        for i in range(24):
            picture(kind, seed=i).save(root / "insects" / label / f"{i}.png")
    notes = Notes()
    result = finetune.pretrain(
        data=root / "insects", out=root / "runs", test_share=0.25, valid_share=0.25, reporter=notes, **TINY
    )
    return Made(result, root / "insects", tuple(notes.said))


def pretrain(pictures: Path, tmp_path: Path, **options: Any) -> Pretrained:
    return finetune.pretrain(data=pictures, out=tmp_path / "runs", **{**TINY, "epochs": 1, **options})


# ── the record ──────────────────────────────────────────────────────────────────────────────────────


def test_the_record_is_whole_and_says_what_was_trained_on_what(made: Made) -> None:
    record = made.record

    check_record(made.result.record, record)
    assert (record.name, record.architecture, record.offered_by) == (
        "insects-squeezenet1_1",
        "squeezenet1_1",
        "finetune",
    )
    assert (record.labels, record.task, record.head) == (LABELS, "single-label", "linear")
    assert (record.image_size_px, record.train_images, record.valid_images) == (32, 24, 12)
    assert (record.dataset, record.source, record.dataset_licence) == ("insects", "a local folder", "unknown")
    assert record.versions == {**versions(), "finetune": finetune.__version__}
    assert record.fingerprint == json.loads((made.result.run / "data.json").read_text())["fingerprint"]


def test_the_result_says_the_same(made: Made) -> None:
    result, record = made.result, made.record

    assert (result.sha256, result.licence, result.backbone) == (record.sha256, record.licence, record.architecture)
    assert (result.labels, result.train_images, result.valid_images, result.test_images) == (2, 24, 12, 12)
    assert result.record == result.run / "pretrained.safetensors"
    assert result.record_bytes == result.record.stat().st_size
    assert result.scores == record.metrics
    assert result.package is None


def test_the_record_holds_no_path_of_this_machine(made: Made) -> None:
    content = made.result.record.read_bytes()

    assert str(made.pictures.parent).encode() not in content
    assert b"data insects" in content


def test_the_parameters_are_in_half_precision(made: Made) -> None:
    assert {tensor.dtype for tensor in load_file(made.result.record).values()} == {torch.float16}


def test_a_run_starts_from_the_record_with_the_very_weights(made: Made) -> None:
    intent = discover({"data": made.pictures, "weights": str(made.result.record)})
    job = prepare(intent, Notes())
    state = load_file(made.result.record)

    assert (intent.backbone.name, job.preprocessing.image_size_px) == ("squeezenet1_1", 32)
    assert "pretrained on insects" in job.weights.note
    for key, tensor in job.network.body.state_dict().items():
        assert torch.equal(tensor, state[job.network.original_keys[key]].float())


def test_what_was_measured_is_what_the_file_answers(made: Made) -> None:
    answers = np.load(made.result.run / "answers.npy")
    rows = [line.split(",") for line in (made.result.run / "split.csv").read_text().splitlines()]
    labels = [row[1] for row in rows if row[0] == "valid"]

    right = np.mean([LABELS[answer] == label for answer, label in zip(answers.argmax(axis=1), labels, strict=True)])

    assert made.record.metrics["accuracy"] == made.result.value == right


def test_the_test_part_is_scored_apart(made: Made) -> None:
    metrics = json.loads((made.result.run / "metrics.json").read_text())

    assert metrics["test"]["values"] == made.result.test_scores
    assert metrics["test"]["pictures"] == made.result.test_images
    assert metrics["valid"]["values"] == made.result.scores


def test_the_best_epoch_is_kept(made: Made) -> None:
    header, *lines = (line.split(",") for line in (made.result.run / "history.csv").read_text().splitlines())
    epochs = [dict(zip(header, line, strict=True)) for line in lines]
    best = max(epochs, key=lambda epoch: (float(epoch["accuracy"]), -float(epoch["valid_loss"])))

    assert (made.result.best_epoch, made.result.epochs, made.result.kept) == (int(best["epoch"]), 4, "best epoch")
    assert made.result.full_precision_value == float(best["accuracy"])
    assert {epoch["phase"] for epoch in epochs} == {"from scratch"}


def test_the_run_says_which_job_it_was_and_is_repeated_by_its_file(made: Made) -> None:
    config = made.result.run / "config.toml"

    assert json.loads((made.result.run / "run.json").read_text())["job"] == "pretrain"
    assert config.read_text().startswith("# Everything that decided this run; repeat it with: finetune pretrain ")
    assert read_file(config)["label_smoothing"] == 0.1


def test_nothing_is_left_of_checkpoints_and_staging(made: Made) -> None:
    assert not [path for path in made.result.run.iterdir() if path.name in ("checkpoints", ".unverified", ".lock")]


# ── the command ─────────────────────────────────────────────────────────────────────────────────────


def test_the_command_repeats_what_was_said_and_of_paths_the_last_name() -> None:
    options = {
        "lr": 0.1,
        "label_col": ["is cat", "is dog"],
        "group_pattern": "/home/(.*)",
        "skip_missing": True,
        "data": "/home/me/my pets.csv",
        "out": "/home/me/runs",
        "licence": "CC0-1.0",
    }

    assert command_of(options) == (
        "finetune pretrain --data 'my pets.csv' --label-col 'is cat' --label-col 'is dog' "
        "--group-pattern '/home/(.*)' --skip-missing --lr 0.1 --licence CC0-1.0"
    )


def test_a_place_that_is_here_goes_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pets").mkdir()
    monkeypatch.chdir(tmp_path / "pets")

    assert command_of({"data": Path()}) == "finetune pretrain --data pets"


# ── what is told ────────────────────────────────────────────────────────────────────────────────────


def test_there_is_no_word_of_a_probe(made: Made) -> None:
    assert not [note for note in made.said if "probe" in note]


def test_few_pictures_are_told_with_numbers_and_what_to_do_instead(made: Made) -> None:
    (note,) = (note for note in made.said if "few to pretrain on" in note)

    assert note == (
        "24 training pictures of 2 classes are few to pretrain on: ImageNet-1k has 1.28 million of 1000 classes, and "
        "CIFAR-10, a small set for this, 50 000 of 10. With so few, a network that starts from published weights is "
        f"usually better: finetune run --data {made.pictures} --valid-share 0.25 --test-share 0.25"
    )
    assert note in made.result.notes


def test_enough_pictures_are_not_told_of(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    job = prepare(discover({"data": made.pictures, "weights": "none", **TINY}), Notes())
    monkeypatch.setattr(pretraining, "FEW_PICTURES", len(job.split.train))

    monkeypatch.setattr(pretraining, "FEW_PER_CLASS", len(job.split.train) // 2 + 1)
    assert [*pretraining._few(job)]
    monkeypatch.setattr(pretraining, "FEW_PER_CLASS", len(job.split.train) // 2)
    assert not [*pretraining._few(job)]


def test_what_a_file_says_in_vain_is_told(made: Made, tmp_path: Path, notes: Notes) -> None:
    file = tmp_path / "run.toml"
    file.write_text('weights = "pretrained"\nstrategy = "scratch"\ntarget = ["int8"]\nepochs = 0\n')

    with pytest.raises(ConfigError, match="Nothing would be trained; give --epochs at least 1"):
        finetune.pretrain(data=made.pictures, config_file=file, reporter=notes, backbone="squeezenet1_1", image_size=32)
    assert [*pretraining._overruled(file)] == [
        "A pretraining trains one whole network from random weights, and exports nothing: weights, target of "
        f"{file} have no effect."
    ]


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────


def test_one_class_is_nothing_to_learn_from(picture_folder: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds one class, 'cat'; at least two are needed"):
        pretrain(picture_folder(("cat",)), tmp_path)
    assert not (tmp_path / "runs").exists()


def test_a_package_that_exists_is_refused_before_anything_is_read(tmp_path: Path, notes: Notes) -> None:
    (tmp_path / "mine").mkdir()

    with pytest.raises(ConfigError, match="mine exists already"):
        pretrain(tmp_path / "gone", tmp_path, package=tmp_path / "mine", reporter=notes)
    assert notes.said == []


def test_a_package_without_a_licence_is_refused_before_training(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="states no licence of its weights"):
        pretrain(pictures, tmp_path, package=tmp_path / "mine")
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "mine").exists()


def zeroed(network: Network) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()


def test_a_network_that_half_precision_costs_too_much_is_refused(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_writing, "in_half_precision", zeroed)

    with pytest.raises(ModelError) as caught:
        pretrain(made.pictures, tmp_path, epochs=4)

    (run,) = (tmp_path / "runs").iterdir()
    assert str(caught.value) == (
        "Half precision costs too much: accuracy is 1.0000 in full precision and 0.5000 as the record would hold it, "
        f"and 0.1000 may be lost. The network in full precision is {run / 'weights.safetensors'}; train with a lower "
        "--lr, or a higher --weight-decay."
    )
    assert caught.value.exit_code == 4
    assert (run / "weights.safetensors").exists()
    assert not (run / "pretrained.safetensors").exists()
    assert json.loads((run / "run.json").read_text())["status"] == "failed"


def test_a_file_that_answers_otherwise_never_gets_its_name(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = record_writing.record_bytes

    def damaged(network: Network, record: Any) -> bytes:
        with torch.no_grad():
            next(network.head.parameters()).mul_(1.5)
        return written(network, record)

    monkeypatch.setattr(record_writing, "record_bytes", damaged)

    with pytest.raises(ModelError, match="answers differently from the trained network: the largest difference is"):
        pretrain(made.pictures, tmp_path)
    (run,) = (tmp_path / "runs").iterdir()
    assert not (run / "pretrained.safetensors").exists()
    assert not (run / ".unverified").exists()


# ── the package ─────────────────────────────────────────────────────────────────────────────────────


def test_a_package_carries_the_record_under_the_licence_that_was_given(pictures: Path, tmp_path: Path) -> None:
    result = pretrain(pictures, tmp_path, package=tmp_path / "finetune-mine", licence="CC-BY-4.0")

    carried = tmp_path / "finetune-mine" / "finetune_mine" / "mine.safetensors"
    record = read_record(carried)
    assert record is not None
    assert (result.package, result.licence, record.licence) == (tmp_path / "finetune-mine", "CC-BY-4.0", "CC-BY-4.0")
    assert carried.read_bytes() == result.record.read_bytes()
    assert record.command.endswith("--licence CC-BY-4.0")
    assert (result.run / "config.toml").read_text().split("\n")[0].endswith("THIS_FILE --licence CC-BY-4.0")


# ── from another record ─────────────────────────────────────────────────────────────────────────────


def test_a_record_as_backbone_is_its_architecture_with_random_weights(made: Made, tmp_path: Path) -> None:
    options = {name: value for name, value in TINY.items() if name not in ("backbone", "image_size")}

    result = finetune.pretrain(
        data=made.pictures, out=tmp_path / "runs", **{**options, "epochs": 1, "backbone": str(made.result.record)}
    )

    record = read_record(result.record)
    assert record is not None
    assert (record.architecture, record.image_size_px) == ("squeezenet1_1", 32)
    assert record.sha256 != made.record.sha256
    assert " --backbone squeezenet1_1 --image-size 32 --crop-fraction " in record.command
    assert "safetensors" not in record.command


PLUGIN = """
from pathlib import Path
from finetune.hookspecs import hookimpl
from finetune.weight_record import backbone_of


@hookimpl
def finetune_register_backbones(register):
    register(backbone_of(Path({path!r}), name="buzzing", sha256="0" * 64))
"""


def test_a_backbone_that_a_plugin_pretrained_is_its_architecture_as_well(
    made: Made, install: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(install("buzzing", PLUGIN.format(path=str(made.result.record))))
    monkeypatch.setenv("FINETUNE_PLUGINS", "buzzing")

    intent = discover_pretraining({"data": made.pictures, "backbone": "buzzing"})

    assert (intent.backbone.name, intent.config.backbone) == ("squeezenet1_1", "squeezenet1_1")
    assert (intent.config.image_size, intent.config.crop_fraction) == (32, made.record.crop_fraction)
    assert intent.plugins.find_backbone("buzzing").image_size_px == 32


PICTURES = """
from finetune.hookspecs import hookimpl
from finetune.types import DatasetSpec, Source


@hookimpl
def finetune_register_datasets(register):
    here = Source(name="here", summary="", accepts_data=True)
    register(DatasetSpec(name="clovers", summary="", sources=(here,), load="finetune.builtin.folder:load"))
"""


def test_a_record_names_the_version_of_whoever_offered_its_pictures(
    made: Made, install: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(install("clovers", PICTURES))
    monkeypatch.setenv("FINETUNE_PLUGINS", "clovers")

    result = pretrain(made.pictures, tmp_path, plugin="clovers")

    record = read_record(result.record)
    assert record is not None
    assert record.versions["finetune_clovers"] == "1.2"


@pytest.mark.parametrize(("reached", "kept"), [(0.5, "best epoch"), (0.75, "average")])
def test_an_average_that_was_better_is_what_was_kept(reached: float, kept: str) -> None:
    scores = {"phase": "p", "train_loss": 1.0, "valid_loss": 1.0, "lr": 0.1, "seconds": 1.0}
    history = [Epoch(**scores, epoch=number, score=score) for number, score in ((1, 0.25), (2, 0.5), (3, 0.5))]
    trainer = SimpleNamespace(history=history, objective=SimpleNamespace(merit=float, monitor="accuracy"))

    found = pretraining._of_training(trainer, Outcome(scores={"p": reached}, kept="p"))  # type: ignore[arg-type]

    assert found == {"monitor": "accuracy", "best_epoch": 2, "epochs": 3, "kept": kept}
