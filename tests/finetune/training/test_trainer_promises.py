"""What a trainer leaves as it was, repeats bit for bit, fits in one go, keeps quiet about, and cannot go on after."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastai.optimizer import OptimWrapper

from finetune.errors import DataError, DivergedError, ResourceError
from finetune.preparation import Job
from finetune.reporting import SILENT
from finetune.training.history import Epoch
from finetune.training.strategies import Fit
from finetune.training.trainer import Trainer

from .conftest import State, answers_of, changed, job_of, phases_of, state_of

# ── the learning rate ───────────────────────────────────────────────────────────────────────────────


def test_finding_the_rate_leaves_every_weight_as_it_was(job: Job, way: str) -> None:
    trainer, before = Trainer(job, SILENT), state_of(job)

    curve = trainer.find_rate(phases_of(job)[0])

    assert changed(before, state_of(job)) == set()
    assert 1e-7 <= curve.suggestion <= 10
    assert len(curve.rates) == len(curve.losses) > 10
    assert all(map(math.isfinite, (*curve.rates, *curve.losses)))
    assert trainer.history == []


def test_training_after_the_rate_was_found_starts_with_a_fresh_optimizer(job: Job, steps: list[list[float]]) -> None:
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
        trainer.find_rate(phases_of(job)[0])


def test_a_sweep_of_which_no_curve_came_leaves_every_weight_as_it_was(
    job: Job, steps: list[list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def useless(*_: object) -> None:
        swept.update(changed(before, state_of(job)))
        raise DivergedError("No learning rate keeps the loss finite.")

    monkeypatch.setattr("finetune.training.learner.rates.rate_curve", useless)
    trainer, before, swept = Trainer(job, SILENT), state_of(job), set[str]()

    with pytest.raises(DivergedError, match=r"^No learning rate keeps the loss finite\.$"):
        trainer.find_rate(phases_of(job)[0])

    assert steps
    assert swept, "the sweep was a real one"
    assert changed(before, state_of(job)) == set()


def ruin(job: Job) -> None:
    with torch.no_grad():
        next(job.network.head.parameters()).fill_(math.nan)


# ── classic classifiers ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["svm", "logreg"])
def test_a_classic_classifier_becomes_the_heads_linear_layer(picture_folder: Callable[..., Path], name: str) -> None:
    job = job_of(picture_folder(count=6, parts=("train", "valid")))
    trainer, before = Trainer(job, SILENT), state_of(job)

    reached, temperature = trainer.fit(Fit(name=name))

    linear = {key for key in before if key.startswith("head.classifier.")}
    assert changed(before, state_of(job)) == linear
    assert reached == float((answers_of(trainer, temperature).argmax(axis=1) == job.valid_targets).mean()) == 1.0
    assert (temperature == 1) is (name == "logreg")
    assert temperature > 0


@pytest.mark.parametrize("name", ["svm", "logreg"])
def test_a_class_with_a_single_picture_can_be_fitted(
    picture_folder: Callable[..., Path], picture: Callable[..., Any], name: str
) -> None:
    pictures = picture_folder(("cat", "dog"), count=4, parts=("train", "valid"))
    for path in sorted((pictures / "train" / "dog").iterdir())[1:]:
        path.unlink()
    job = job_of(pictures)
    trainer = Trainer(job, SILENT)

    reached, temperature = trainer.fit(Fit(name=name))

    assert trainer.train_targets.tolist() == [0, 0, 0, 0, 1]
    assert reached == 1.0  # red and blue
    assert np.isfinite(answers_of(trainer, temperature)).all()


@pytest.mark.parametrize("name", ["svm", "logreg"])
def test_features_that_are_no_numbers_are_told_in_one_line(job: Job, name: str) -> None:
    with torch.no_grad():
        for parameter in job.network.body.parameters():
            parameter.fill_(math.nan)

    with pytest.raises(DivergedError, match=r"^The frozen features are no finite numbers; check the pictures, or"):
        Trainer(job, SILENT).fit(Fit(name=name))


def test_the_features_of_the_stages_are_those_of_the_pictures_asked_for(job: Job) -> None:
    trainer = Trainer(job, SILENT)

    some = trainer.stage_features(np.array([1, 3]))
    every = trainer.stage_features(np.arange(len(job.split.train)))

    assert list(some) == job.groups[:-1]
    for stage, features in some.items():
        assert features.shape[0] == 2
        assert np.allclose(features, every[stage][[1, 3]], atol=1e-5)


def test_the_features_are_the_same_after_the_probe_which_has_them_at_hand(job: Job) -> None:
    trainer, before = Trainer(job, SILENT), Trainer(job, SILENT).stage_features(np.arange(4))
    trainer.train(phases_of(job)[0])

    after = trainer.stage_features(np.arange(4))

    assert all(np.array_equal(before[stage], after[stage]) for stage in before)


# ── divergence ──────────────────────────────────────────────────────────────────────────────────────

ADVICE = r"; try a lower --lr or --unfrozen-lr \('finetune lr-find' suggests one\)\.$"


def test_a_loss_that_is_not_finite_ends_training_before_it_reaches_the_weights(
    job: Job, steps: list[list[float]], way: str
) -> None:
    trainer = Trainer(job, SILENT)
    ruin(job)
    before = state_of(job)

    with pytest.raises(DivergedError, match="^The loss became nan in epoch 1, step 1" + ADVICE):
        trainer.train(phases_of(job)[0])

    assert steps == []
    assert {
        key for key in before if not torch.equal(before[key].nan_to_num(), state_of(job)[key].nan_to_num())
    } == set()


def test_weights_that_the_last_step_ruined_are_noticed_in_validation(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(pictures, batch_size=32)  # a single step per epoch
    monkeypatch.setattr(OptimWrapper, "step", lambda _: ruin(job), raising=False)

    with pytest.raises(DivergedError, match="^The validation loss became nan in epoch 1, step 1" + ADVICE):
        Trainer(job, SILENT).train(phases_of(job)[1])


@pytest.mark.parametrize("average", ["none", "ema"])
def test_after_divergence_the_network_holds_the_best_epoch_before(
    average: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(pictures, average=average)  # which no average replaces: what is said to be saved is an epoch
    trainer, after = Trainer(job, SILENT), []
    frozen, _ = phases_of(job)
    monkeypatch.setattr("finetune.training.learner.callbacks.SAID_EVERY_S", 0.0)  # say every epoch

    def said(*_: object) -> None:
        after.append(state_of(job))
        if len(after) == 2:
            ruin(job)

    # Any average would be better.
    scores = iter([-1.0, -2.0])
    monkeypatch.setattr("finetune.training.learner.callbacks.Progress._say", said)
    monkeypatch.setattr(
        "finetune.training.learner.callbacks.Epoch", lambda **facts: Epoch(**{**facts, "score": next(scores)})
    )

    with pytest.raises(DivergedError, match="^The loss became nan in epoch 3, step 1" + ADVICE):
        trainer.train(frozen)

    assert [line.score for line in trainer.history] == [-1.0, -2.0]
    assert changed(after[0], state_of(job)) == set()


# ── trouble from outside ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [0, 1], ids=["frozen", "unfrozen"])
@pytest.mark.parametrize("part", ["train", "valid"])
def test_a_picture_that_goes_away_while_training_is_a_data_error_of_one_line(job: Job, number: int, part: str) -> None:
    trainer = Trainer(job, SILENT)
    gone = getattr(job.split, part)[0].path
    gone.unlink()

    with pytest.raises(DataError) as caught:
        trainer.train(phases_of(job)[number])

    assert re.fullmatch(rf"{gone}: .+\. It was readable before; leave .+ alone while training\.", str(caught.value))


def test_running_out_of_memory_is_told_in_one_line(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> torch.Tensor:
        return torch.empty(1 << 60)

    monkeypatch.setattr("finetune.data.pictures.Pictures.images", refused)

    with pytest.raises(ResourceError, match=r"^Out of memory; try a smaller --batch-size or --image-size\.$"):
        Trainer(job, SILENT).train(phases_of(job, "scratch")[0])


# ── repeatable, quiet ───────────────────────────────────────────────────────────────────────────────


def trained(folder: Path, **options: Any) -> State:
    job = job_of(folder, **options)
    trainer = Trainer(job, SILENT)
    for phase in phases_of(job, "gradual"):
        trainer.train(phase)
    return state_of(job)


def test_the_same_seed_gives_the_same_weights_bit_for_bit(pictures: Path) -> None:
    first = trained(pictures)

    assert changed(first, trained(pictures)) == set()  # now from the cache, too
    assert changed(first, trained(pictures, cache_gb=0)) == set()
    assert changed(first, trained(pictures, seed=1)) != set()


def test_nothing_is_printed_on_stdout(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    trainer = Trainer(job, SILENT)
    frozen, unfrozen = phases_of(job)
    trainer.find_rate(frozen)
    trainer.train(frozen)
    trainer.train(unfrozen)
    trainer.fit(Fit(name="svm"))
    answers_of(trainer)

    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("phase", [0, 1])
def test_everything_stays_on_the_processor_whatever_fastai_finds(
    phase: int, job: Job, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("fastai.callback.core", "fastai.learner", "fastai.torch_core"):
        monkeypatch.setattr(f"{module}.default_device", lambda *_: torch.device("meta"), raising=False)
    trainer = Trainer(job, SILENT)

    trainer.train(phases_of(job)[phase])

    assert {tensor.device.type for tensor in job.network.state_dict().values()} == {"cpu"}
    assert np.isfinite(answers_of(trainer)).all()
