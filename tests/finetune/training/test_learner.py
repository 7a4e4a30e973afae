from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastai.optimizer
import numpy as np
import pytest
import torch

import finetune
from finetune.errors import DataError, DivergedError
from finetune.intent import discover
from finetune.preparation import Job, prepare
from finetune.reporting import SILENT
from finetune.run import run
from finetune.training.learner import Trainer
from finetune.training.strategies import Phase, plan
from finetune_export.image import read_pixels

SMALL = {"backbone": "shufflenet_v2_x0_5", "weights": "none", "image_size": 32, "batch_size": 4}
"""A network with batch norms everywhere, which is what can go wrong while it is frozen."""

State = dict[str, torch.Tensor]


@pytest.fixture
def job(pictures: Path) -> Job:
    return job_of(pictures)


def job_of(pictures: Path, **options: Any) -> Job:
    return prepare(discover({"data": pictures, **SMALL, **options}), SILENT)


def phases_of(job: Job, lr: float = 0.01) -> tuple[Phase, ...]:
    """Plan as for pretrained weights: random ones are trained in one phase, with nothing frozen."""
    return plan(job.config, job.groups, lr, from_scratch=False)


def state_of(job: Job) -> State:
    return {key: tensor.clone() for key, tensor in job.network.state_dict().items()}


def changed(before: State, after: State) -> set[str]:
    return {key for key in before if not torch.equal(before[key], after[key])}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """Write down the learning rates of all parameter groups at every step of the optimiser."""
    rates: list[list[float]] = []
    step = fastai.optimizer.Optimizer.step

    def noted(self: Any, *args: Any, **options: Any) -> None:
        rates.append([float(hyper["lr"]) for hyper in self.hypers])
        step(self, *args, **options)

    monkeypatch.setattr(fastai.optimizer.Optimizer, "step", noted)
    return rates


# ── steps and rates ─────────────────────────────────────────────────────────────────────────────────


def test_every_batch_is_exactly_one_step_of_the_optimiser(
    picture_folder: Callable[..., Path], steps: list[list[float]]
) -> None:
    job = job_of(picture_folder(count=7), valid_share=0.14, freeze_epochs=3)  # 12 to train on: 3 batches of 4

    Trainer(job, SILENT).train(phases_of(job)[0])

    assert len(job.split.train) == 12
    assert len(steps) == 3 * 3


def test_every_group_learns_at_the_rates_of_the_phase(job: Job, steps: list[list[float]]) -> None:
    _, unfrozen = phases_of(job, lr=0.02)

    Trainer(job, SILENT).train(unfrozen)

    assert steps[0] == pytest.approx([rate / unfrozen.start_divisor for rate in unfrozen.rates])
    for rates in steps:
        assert np.array(rates) / rates[-1] == pytest.approx(np.array(unfrozen.rates) / unfrozen.rates[-1])
    assert max(rates[-1] for rates in steps) <= unfrozen.rates[-1]


def test_the_history_has_a_line_for_every_epoch_of_every_phase(job: Job) -> None:
    trainer = Trainer(job, SILENT)
    frozen, unfrozen = phases_of(job)

    trainer.train(frozen)
    accuracy = trainer.train(unfrozen)

    assert [(line.phase, line.epoch) for line in trainer.history] == [
        *(("frozen", epoch) for epoch in range(1, frozen.epochs + 1)),
        *(("unfrozen", epoch) for epoch in range(1, unfrozen.epochs + 1)),
    ]
    assert all(math.isfinite(line.train_loss) and math.isfinite(line.valid_loss) for line in trainer.history)
    assert accuracy == trainer.history[-1].accuracy == share_of_right_answers(job, trainer)


def share_of_right_answers(job: Job, trainer: Trainer) -> float:
    return float((trainer.probabilities().argmax(axis=1) == job.valid_targets).mean())


def test_one_picture_more_than_a_batch_holds_can_be_trained_on(
    picture_folder: Callable[..., Path], steps: list[list[float]]
) -> None:
    job = job_of(picture_folder(count=4, parts=("train", "valid")), batch_size=7, epochs=1)
    assert len(job.split.train) == 7 + 1

    Trainer(job, SILENT).train(phases_of(job)[1])

    assert len(steps) == 1


def test_fewer_pictures_than_a_batch_holds_can_be_trained_on(job: Job, steps: list[list[float]]) -> None:
    Trainer(job, SILENT).train(phases_of(job)[1])

    assert len(steps) == job.config.epochs * math.ceil(len(job.split.train) / 4)


# ── what is frozen stays frozen ─────────────────────────────────────────────────────────────────────


def test_while_the_body_is_frozen_neither_its_weights_nor_its_statistics_move(job: Job) -> None:
    trainer, before = Trainer(job, SILENT), state_of(job)

    trainer.train(phases_of(job)[0])

    moved = changed(before, state_of(job))
    assert moved == {key for key in before if key.startswith("head.")}


def test_after_a_partial_unfreeze_only_the_upper_stages_move(pictures: Path) -> None:
    job = job_of(pictures, unfreeze=2)
    trainer, before = Trainer(job, SILENT), state_of(job)

    trainer.train(phases_of(job)[1])

    stages = {".".join(key.split(".")[:2]) for key in changed(before, state_of(job)) if key.startswith("body.")}
    assert job.groups == ["stem", "stage2", "stage3", "stage4", "conv5", "head"]
    assert stages == {"body.stage4", "body.conv5"}


def test_after_unfreezing_every_parameter_moves(job: Job) -> None:
    trainer, before = Trainer(job, SILENT), state_of(job)

    trainer.train(phases_of(job)[1])

    assert {name for name, _ in job.network.named_parameters()} <= changed(before, state_of(job))


def test_a_snapshot_that_is_restored_brings_back_every_tensor(job: Job) -> None:
    trainer, before = Trainer(job, SILENT), state_of(job)
    snapshot = trainer.snapshot()
    trainer.train(phases_of(job)[1])

    trainer.restore(snapshot)

    assert changed(before, state_of(job)) == set()


# ── validation ──────────────────────────────────────────────────────────────────────────────────────


def test_validation_pictures_are_never_augmented(job: Job) -> None:
    trainer = Trainer(job, SILENT)

    assert np.array_equal(trainer.probabilities(), trainer.probabilities())


def test_validation_through_fastai_is_the_plain_network_on_the_deployed_pixels(job: Job) -> None:
    trainer = Trainer(job, SILENT)
    trainer.train(phases_of(job)[1])
    pixels = np.stack([read_pixels(example.path, job.preprocessing) for example in job.split.valid])  # (N, S, S, 3)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255  # (N, 3, S, S)
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (job.preprocessing.mean, job.preprocessing.std))

    with torch.inference_mode():
        expected = job.network.eval()((images - mean) / std).softmax(dim=1).numpy()

    assert np.abs(trainer.probabilities() - expected).max() < 1e-5


def test_training_pictures_are_augmented(pictures: Path) -> None:
    twice = job_of(pictures, epochs=2)
    trainer = Trainer(twice, SILENT)
    batches = []
    forward = twice.network.body.register_forward_pre_hook(
        lambda module, inputs: batches.append(inputs[0].clone()) if module.training else None
    )

    trainer.train(phases_of(twice)[1])
    forward.remove()

    rows = [row for batch in batches for row in batch]
    assert len({row.numpy().tobytes() for row in rows}) == len(rows) == 2 * len(twice.split.train)


# ── the learning rate ───────────────────────────────────────────────────────────────────────────────


def test_finding_the_rate_leaves_every_weight_as_it_was(job: Job) -> None:
    trainer, before = Trainer(job, SILENT), state_of(job)

    curve = trainer.find_rate(phases_of(job)[0])

    assert changed(before, state_of(job)) == set()
    assert 1e-7 <= curve.suggestion <= 10
    assert len(curve.rates) == len(curve.losses) > 10
    assert all(map(math.isfinite, (*curve.rates, *curve.losses)))


def test_training_after_the_rate_was_found_starts_with_a_fresh_optimiser(job: Job, steps: list[list[float]]) -> None:
    trainer = Trainer(job, SILENT)
    frozen, _ = phases_of(job)
    trainer.find_rate(frozen)
    steps.clear()

    trainer.train(frozen)

    assert len(steps) == frozen.epochs * math.ceil(len(job.split.train) / 4)
    assert steps[0][-1] == pytest.approx(frozen.rates[-1] / frozen.start_divisor)


def test_a_network_that_never_has_a_finite_loss_has_no_rate_to_find(job: Job) -> None:
    trainer = Trainer(job, SILENT)
    ruin(job)

    with pytest.raises(DivergedError, match=r"^No learning rate keeps the loss finite; check"):
        trainer.find_rate(phases_of(job)[1])


def ruin(job: Job) -> None:
    with torch.no_grad():
        next(job.network.head.parameters()).fill_(math.nan)


# ── divergence ──────────────────────────────────────────────────────────────────────────────────────

ADVICE = r"; try a lower --lr or --unfrozen-lr \('finetune lr-find' suggests one\)\.$"


def test_an_absurd_rate_ends_the_run_and_leaves_no_model(pictures: Path, tmp_path: Path) -> None:
    options = {**SMALL, "backbone": "squeezenet1_1", "lr": 10.0, "epochs": 20}  # without batch norms to hold it

    with pytest.raises(
        DivergedError, match=r"^The (validation )?loss became (nan|inf) in epoch \d+, step \d+" + ADVICE
    ):
        run(data=pictures, out=tmp_path / "runs", **options)

    (folder,) = (tmp_path / "runs").iterdir()
    assert DivergedError.exit_code == 7
    assert '"status": "failed"' in (folder / "run.json").read_text()
    assert not {"model.onnx", "weights.safetensors"} & {path.name for path in folder.iterdir()}


def test_a_loss_that_is_not_finite_ends_training_before_it_reaches_the_weights(
    job: Job, steps: list[list[float]]
) -> None:
    trainer = Trainer(job, SILENT)
    ruin(job)

    with pytest.raises(DivergedError, match="^The loss became nan in epoch 1, step 1" + ADVICE):
        trainer.train(phases_of(job)[1])

    assert steps == []


def test_weights_that_the_last_step_ruined_are_noticed_in_validation(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastai.optimizer.Optimizer, "step", lambda _: ruin(job))
    trainer = Trainer(job_with_one_batch(job), SILENT)

    with pytest.raises(DivergedError, match="^The validation loss became nan in epoch 1, step 1" + ADVICE):
        trainer.train(phases_of(job)[1])


def job_with_one_batch(job: Job) -> Job:
    object.__setattr__(job.config, "batch_size", len(job.split.train))
    return job


# ── pictures that go away ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [4, 32], ids=["decoded here", "decoded by processes"])
def test_a_picture_that_goes_away_while_training_is_a_data_error_of_one_line(
    count: int, picture_folder: Callable[..., Path]
) -> None:
    job = job_of(picture_folder(count=count, parts=("train", "valid")))
    trainer = Trainer(job, SILENT)
    gone = job.split.train[0].path
    gone.unlink()

    with pytest.raises(DataError) as caught:
        trainer.train(phases_of(job)[1])

    assert re.fullmatch(rf"{gone}: .+\. It was readable before; leave .+ alone while training\.", str(caught.value))


# ── repeatable, quiet, alone ────────────────────────────────────────────────────────────────────────


def trained(folder: Path, **options: Any) -> State:
    job = job_of(folder, epochs=1, **options)
    Trainer(job, SILENT).train(phases_of(job)[1])
    return state_of(job)


def test_the_same_seed_gives_the_same_weights_bit_for_bit(pictures: Path) -> None:
    assert changed(trained(pictures), trained(pictures)) == set()


def test_the_same_seed_gives_the_same_weights_when_processes_decode(picture_folder: Callable[..., Path]) -> None:
    many = picture_folder(count=32, parts=("train", "valid"))  # 64 to train on

    assert changed(trained(many, batch_size=16), trained(many, batch_size=16)) == set()


def test_another_seed_gives_other_weights(pictures: Path) -> None:
    assert changed(trained(pictures), trained(pictures, seed=1))


def test_nothing_is_printed_on_stdout(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    trainer = Trainer(job, SILENT)
    frozen, unfrozen = phases_of(job)
    trainer.find_rate(frozen)
    trainer.train(unfrozen)
    trainer.probabilities()

    assert capfd.readouterr().out == ""


def test_fastai_is_imported_by_the_learner_alone() -> None:
    package = Path(finetune.__file__).parent
    importing = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(r"^\s*(from|import) fastai\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]

    assert importing == [str(Path("training", "learner.py"))]
