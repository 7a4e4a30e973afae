"""Training of real networks on real pictures, on activations above the boundary and through the whole network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from finetune.clock import Clock
from finetune.config import Strategy
from finetune.data.pictures import Pictures
from finetune.preparation import Job
from finetune.reporting import SILENT
from finetune.training.history import Epoch
from finetune.training.strategies import plan
from finetune.training.trainer import Trainer
from finetune.training.transfer import follow
from finetune_export.image import read_pixels

from .conftest import answers_of, changed, job_of, phases_of, state_of

STAGES = ["stem", "stage2", "stage3", "stage4", "conv5", "head"]


def by_the_network(job: Job) -> np.ndarray[Any, Any]:
    """Return the plain network's answers to the validation pictures, as deployment will see them."""
    pixels = np.stack([read_pixels(example.path, job.preprocessing) for example in job.split.valid])  # (N, S, S, 3)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255  # (N, 3, S, S)
    mean, std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (job.preprocessing.mean, job.preprocessing.std))
    with torch.inference_mode():
        return cast(Any, job.network.eval()((images - mean) / std)).numpy()  # type: ignore[no-any-return]


def softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return torch.from_numpy(logits).softmax(dim=1).numpy()


def share_of_right_answers(job: Job) -> float:
    return float((by_the_network(job).argmax(axis=1) == job.valid_targets).mean())


# ── steps and rates ─────────────────────────────────────────────────────────────────────────────────


def test_every_batch_is_exactly_one_step_of_the_optimizer(
    picture_folder: Callable[..., Path], steps: list[list[float]], way: str
) -> None:
    job = job_of(picture_folder(count=7), valid_share=0.14)  # 12 to train on: 3 batches of 4

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


def test_above_a_boundary_the_groups_above_it_learn_at_their_own_rates(job: Job, steps: list[list[float]]) -> None:
    _, partly = phases_of(job, "partial", lr=0.02)

    Trainer(job, SILENT).train(partly)

    assert partly.frozen_groups == 3
    assert steps[0] == pytest.approx([rate / partly.start_divisor for rate in partly.rates[3:]])


def test_the_history_has_a_line_for_every_epoch_of_every_phase(job: Job) -> None:
    trainer = Trainer(job, SILENT)

    for phase in phases_of(job):
        trainer.train(phase)

    assert [(line.phase, line.epoch) for line in trainer.history] == [
        *(("frozen", epoch) for epoch in (1, 2, 3)),
        *(("unfrozen", epoch) for epoch in (1, 2)),
    ]
    assert all(math.isfinite(line.train_loss) and math.isfinite(line.valid_loss) for line in trainer.history)


@pytest.mark.parametrize(("batch_size", "batches"), [(7, 1), (32, 1), (4, 2)])
def test_any_number_of_pictures_can_be_trained_on(
    batch_size: int, batches: int, picture_folder: Callable[..., Path], steps: list[list[float]]
) -> None:
    job = job_of(picture_folder(count=4, parts=("train", "valid")), batch_size=batch_size, epochs=1)

    Trainer(job, SILENT).train(phases_of(job)[1])

    assert (len(job.split.train), len(steps)) == (8, batches)  # of 7 and 1, the one is left out


# ── what is frozen stays frozen ─────────────────────────────────────────────────────────────────────


def test_while_the_body_is_frozen_neither_its_weights_nor_its_statistics_move(job: Job, way: str) -> None:
    trainer, before = Trainer(job, SILENT), state_of(job)

    trainer.train(phases_of(job)[0])

    assert changed(before, state_of(job)) == {key for key in before if key.startswith("head.")}


def test_after_a_partial_unfreeze_only_the_upper_stages_move(job: Job, way: str) -> None:
    trainer, before = Trainer(job, SILENT), state_of(job)

    trainer.train(phases_of(job, "partial")[1])

    stages = {".".join(key.split(".")[:2]) for key in changed(before, state_of(job)) if key.startswith("body.")}
    assert job.groups == STAGES
    assert stages == {"body.stage4", "body.conv5"}


@pytest.mark.parametrize("strategy", ["finetune", "gradual", "scratch"])
def test_after_unfreezing_every_parameter_moves(job: Job, strategy: Strategy) -> None:
    trainer, before = Trainer(job, SILENT), state_of(job)

    trainer.train(phases_of(job, strategy)[-1])

    assert {name for name, _ in job.network.named_parameters()} <= changed(before, state_of(job))


def test_what_an_earlier_phase_trained_is_frozen_again_bit_for_bit(job: Job, way: str) -> None:
    trainer = Trainer(job, SILENT)
    frozen, unfrozen = phases_of(job)
    trainer.train(unfrozen)
    before = state_of(job)

    trainer.train(frozen)

    assert changed(before, state_of(job)) == {key for key in before if key.startswith("head.")}


# ── the best epoch ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [0, 1], ids=["frozen", "unfrozen"])
def test_the_network_holds_the_weights_of_the_epoch_with_the_best_score(
    job: Job, number: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, after = Trainer(job, SILENT), []
    monkeypatch.setattr(
        "finetune.training.learner.callbacks.Progress._say", lambda *_: after.append(state_of(job)), raising=True
    )
    monkeypatch.setattr("finetune.training.learner.callbacks.SAID_EVERY_S", 0.0)  # say every epoch
    scores = iter([0.1, 0.9, 0.3])
    monkeypatch.setattr("finetune.training.learner.callbacks.Epoch", epoch_that_reaches(scores))

    reached = trainer.train(phases_of(job)[number])

    assert [line.score for line in trainer.history] == [0.1, 0.9, 0.3][: len(after)]
    assert reached == 0.9
    assert changed(after[1], state_of(job)) == set()
    assert changed(after[0], state_of(job)) != set()


def epoch_that_reaches(scores: Iterator[float]) -> Callable[..., Epoch]:
    return lambda **facts: Epoch(**{**facts, "score": next(scores)})


def test_the_score_of_a_phase_is_what_its_network_reaches(picture_folder: Callable[..., Path], way: str) -> None:
    job = job_of(picture_folder(count=5, parts=("train", "valid")))
    trainer = Trainer(job, SILENT)

    for phase in phases_of(job):
        reached = trainer.train(phase)

        assert (
            reached
            == share_of_right_answers(job)
            == max(line.score for line in trainer.history if line.phase == phase.name)
        )


def test_a_snapshot_that_is_restored_brings_back_every_tensor(job: Job) -> None:
    trainer, before = Trainer(job, SILENT), state_of(job)
    snapshot = trainer.snapshot()
    trainer.train(phases_of(job)[1])

    trainer.restore(snapshot)

    assert changed(before, state_of(job)) == set()


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("strategy", ["probe", "svm", "logreg", "finetune", "partial", "gradual", "scratch", "auto"])
def test_the_answers_are_the_plain_networks_on_the_deployed_pixels(job: Job, strategy: Strategy) -> None:
    trainer = Trainer(job, SILENT)
    steps = plan(job.config, job.groups, 0.01, strategy)

    outcome = follow(steps, trainer, Clock(), lambda: None)

    expected = softmax(by_the_network(job) / outcome.temperature)
    assert np.abs(answers_of(trainer, outcome.temperature) - expected).max() < 1e-5


@pytest.mark.parametrize("kept", [0, 1], ids=["frozen", "unfrozen"])
def test_the_answers_follow_weights_that_changed_below_the_boundary(job: Job, kept: int) -> None:
    trainer = Trainer(job, SILENT)
    follow([phases_of(job)[kept]], trainer, Clock(), lambda: None)
    with torch.no_grad():
        for parameter in job.network.body.parameters():
            parameter.add_(0.05)  # activations at hand are of another network now

    assert np.abs(answers_of(trainer) - softmax(by_the_network(job))).max() < 1e-5


def test_the_answers_after_a_restored_probe_are_the_probes(job: Job) -> None:
    trainer = Trainer(job, SILENT)
    frozen, unfrozen = phases_of(job)
    follow([frozen], trainer, Clock(), lambda: None)
    before, snapshot = answers_of(trainer), trainer.snapshot()
    trainer.train(unfrozen)

    trainer.restore(snapshot)

    assert np.array_equal(answers_of(trainer), before)


def test_a_temperature_divides_the_logits(job: Job) -> None:
    trainer = Trainer(job, SILENT)

    assert np.abs(answers_of(trainer, 0.2) - softmax(by_the_network(job) / 0.2)).max() < 1e-5


# ── augmentation ────────────────────────────────────────────────────────────────────────────────────


def test_training_pictures_come_in_another_view_each_epoch_and_validation_pictures_never(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, asked = Trainer(job, SILENT), []
    images = Pictures.images

    def noted(pictures: Pictures, wanted: Any) -> torch.Tensor:
        asked.extend((len(pictures), index, view) for index, view in wanted)
        return images(pictures, wanted)

    monkeypatch.setattr(Pictures, "images", noted)

    trainer.train(phases_of(job, "scratch")[0])

    count = len(job.split.train)
    assert sorted(ask for ask in asked if ask[0] == count) == [(count, i, v) for i in range(count) for v in (1, 2)]
    assert {view for size, _, view in asked if size != count} == {0}


def test_on_activations_every_view_is_computed_once(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, asked = Trainer(job, SILENT), []
    images = Pictures.images

    def noted(pictures: Pictures, wanted: Any) -> torch.Tensor:
        asked.extend((len(pictures), index, view) for index, view in wanted)
        return images(pictures, wanted)

    monkeypatch.setattr(Pictures, "images", noted)
    frozen, _ = phases_of(job)

    trainer.train(frozen)
    follow([frozen], trainer, Clock(), lambda: None)
    answers_of(trainer)

    train, valid = len(job.split.train), len(job.split.valid)
    assert sorted(asked) == sorted(
        [(train, i, v) for i in range(train) for v in (0, 1)] + [(valid, i, 0) for i in range(valid)]
    )
