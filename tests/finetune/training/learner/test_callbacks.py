"""Between steps and epochs: stop before harm is done, keep frozen what is frozen, tell what was done, keep the best."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback, CancelFitException, CancelTrainException
from torch import Tensor, nn

from finetune.builtin.metrics import METRICS
from finetune.training.batches import Batches
from finetune.training.history import Epoch
from finetune.training.learner.callbacks import (
    HIGHEST_LOSS,
    BestEpoch,
    Monitored,
    PretrainedInEval,
    Progress,
    StopOnBadLoss,
)
from finetune.training.learner.schedules import schedule
from finetune.training.objective import Objective
from finetune.training.strategies import Phase

from .conftest import RATES, RIGHT, SURE, Reports, batches, config_of, epoch, learner_of, model, network, over_pictures


class Steps(Callback):  # type: ignore[misc]
    """Counts the steps of the optimizer."""

    taken = 0

    def before_step(self) -> None:
        self.taken += 1


# ── bad losses ──────────────────────────────────────────────────────────────────────────────────────────


def stopped(train: Batches | None = None, valid: Batches | None = None) -> tuple[str, nn.Sequential, Steps]:
    guard, steps, net = StopOnBadLoss(), Steps(), model()
    learner_of(net, callbacks=[guard, steps], train=train, valid=valid).fit(2, list(RATES))
    return guard.cause, net, steps


def bad_from(index: int, value: float) -> Tensor:
    inputs = torch.ones(12, 4)
    inputs[index:] = value
    return inputs


@pytest.mark.parametrize("value", [math.nan, math.inf], ids=str)
def test_a_loss_that_is_no_number_stops_before_it_reaches_the_weights(value: float) -> None:
    inputs = bad_from(0, value) * torch.tensor([1.0, -1.0, 1.0, 1.0])

    cause, net, steps = stopped(train=batches(inputs=inputs))

    assert re.fullmatch(r"The loss became (nan|inf) in epoch 1, step 1", cause)
    assert steps.taken == 0
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), model().parameters(), strict=True))


def test_a_bad_loss_is_told_with_its_step() -> None:
    cause, _, steps = stopped(train=batches(inputs=bad_from(8, math.nan)))

    assert (cause, steps.taken) == ("The loss became nan in epoch 1, step 3", 2)


def test_a_validation_loss_that_is_no_number_stops_too() -> None:
    cause, _, steps = stopped(valid=batches(inputs=bad_from(4, math.nan)))

    assert (cause, steps.taken) == ("The validation loss became nan in epoch 1, step 2", 3)


def test_a_loss_that_exploded_stops_while_it_is_still_a_number() -> None:
    guard = StopOnBadLoss()
    net = nn.Sequential(nn.Linear(4, 5), nn.Identity(), nn.Linear(5, 2))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(10 * HIGHEST_LOSS)

    learner_of(net, callbacks=[guard]).fit(1, list(RATES))

    found = re.fullmatch(r"The loss became (\S+) in epoch 1, step 1", guard.cause)
    assert found is not None
    assert HIGHEST_LOSS < float(found[1]) < math.inf


def test_a_loss_as_it_should_be_stops_nothing() -> None:
    cause, _, steps = stopped()

    assert (cause, steps.taken) == ("", 2 * 3)


# ── what is frozen ──────────────────────────────────────────────────────────────────────────────────────


def test_frozen_stages_are_in_eval_mode_while_the_others_train() -> None:
    net, modes = network(), set()
    net.body.high.register_forward_hook(
        lambda *_: modes.add((net.body.low.training, net.body.high.training, net.head.training))
    )

    over_pictures(net, [PretrainedInEval(net.body, keep_statistics=False)], frozen=1).fit(1, 0.01)

    assert modes == {(False, True, True), (False, False, False)}  # in training, and in validation


@pytest.mark.parametrize("kept", [True, False])
def test_batch_norms_of_stages_that_learn_keep_the_pretrained_statistics_when_asked(kept: bool) -> None:
    net = network()
    before = [net.body.get_submodule(f"{name}.1").running_mean.clone() for name in ("low", "high")]

    over_pictures(net, [PretrainedInEval(net.body, keep_statistics=kept)]).fit(1, 0.01)

    after = [net.body.get_submodule(f"{name}.1").running_mean for name in ("low", "high")]
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [kept, kept]


# ── the monitored metric ────────────────────────────────────────────────────────────────────────────────


def test_the_monitored_metric_is_that_of_all_validation_pictures_at_once() -> None:
    logits, targets = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]]), np.array([0, 1, 1])
    objective = Objective(task="single-label", labels=("no", "yes"), metric=METRICS["balanced-accuracy"])
    metric = Monitored(objective, targets)
    metric.reset()

    for part in (logits[:2], logits[2:]):  # a mean over batches would be another number
        metric.accumulate(SimpleNamespace(pred=part))

    assert metric.name == "balanced-accuracy"
    assert metric.value == pytest.approx(0.75) == objective.score(logits, targets)


def test_the_monitored_metric_forgets_the_epoch_before() -> None:
    metric = Monitored(RIGHT, np.array([0]))
    metric.reset()
    metric.accumulate(SimpleNamespace(pred=torch.tensor([[0.0, 1.0]])))

    metric.reset()

    assert metric.value is None
    metric.accumulate(SimpleNamespace(pred=torch.tensor([[1.0, 0.0]])))
    assert metric.value == 1.0


# ── history ─────────────────────────────────────────────────────────────────────────────────────────────


def followed(epochs: int, objective: Objective = RIGHT, *more: Callback) -> tuple[list[Epoch], Reports]:
    history: list[Epoch] = []
    reports = Reports()
    config = config_of(schedule="StepLR", step_epochs=1, gamma=0.5)
    phase = Phase(name="some", epochs=epochs, frozen_groups=0, rates=RATES, rise=0.3)
    callbacks = [schedule(phase, RATES, config), Progress("some", objective, history, reports), *more]
    learner_of(model(), config, objective=objective).fit(epochs, list(RATES), cbs=callbacks)
    return history, reports


def test_every_epoch_is_a_line_of_the_history_with_the_rate_of_the_head() -> None:
    history, reports = followed(3)

    assert [(line.phase, line.epoch) for line in history] == [("some", 1), ("some", 2), ("some", 3)]
    assert [line.lr for line in history] == pytest.approx([0.01, 0.005, 0.0025])
    assert all(0 < line.valid_loss < 2 and 0 < line.train_loss < 2 and 0 <= line.score <= 1 for line in history)
    assert reports.steps == 3 * 12, "pictures"
    assert len(reports.figures["loss"]) == 3 * 3
    assert reports.figures["accuracy"] == [f"{line.score:.1%}" for line in history]


class CutShort(Callback):  # type: ignore[misc]
    """Ends the training of every epoch after a step."""

    order = 70

    def after_batch(self) -> None:
        if self.training:
            raise CancelTrainException


def test_an_epoch_whose_training_is_cut_short_is_a_line_like_any_other() -> None:
    (whole,), _ = followed(1)

    (short,), reports = followed(1, RIGHT, CutShort())

    assert reports.steps == 4, "the pictures of a batch"
    assert short.valid_loss == pytest.approx(whole.valid_loss, rel=0.1)
    assert 0 < short.train_loss < 2
    assert 0 <= short.score <= 1


def test_short_epochs_are_not_all_said_and_the_last_always_is() -> None:
    _, reports = followed(40)

    assert reports.notes[-1].startswith("some 40/40: loss ")
    assert len(reports.notes) < 40


@pytest.mark.parametrize(("objective", "end"), [(RIGHT, r"accuracy [\d.]+%"), (SURE, r"log-loss [\d.]+")])
def test_an_epoch_is_said_with_its_losses_and_the_monitored_metric(objective: Objective, end: str) -> None:
    _, reports = followed(1, objective)

    assert re.fullmatch(rf"some 1/1: loss [\d.]+ in training, [\d.]+ in validation, {end}", reports.notes[0])


# ── the best epoch ──────────────────────────────────────────────────────────────────────────────────────


def best_of(*epochs: Epoch, objective: Objective = RIGHT, patience: int | None = None) -> tuple[float, int]:
    """Return which epoch's weights are restored, as their value is its number, and how many epochs there were."""
    history: list[Epoch] = []
    best, net = BestEpoch(objective, history, patience), nn.Linear(1, 1, bias=False)
    best.learn = SimpleNamespace(model=net)
    with suppress(CancelFitException):
        for number, line in enumerate(epochs, 1):
            nn.init.constant_(net.weight, number)
            history.append(line)
            best.after_epoch()
    nn.init.constant_(net.weight, -1)
    best.restore_into(net)
    return net.weight.item(), len(history)


def kept(*epochs: Epoch, objective: Objective = RIGHT) -> float:
    return best_of(*epochs, objective=objective)[0]


def test_the_epoch_with_the_best_score_is_kept() -> None:
    assert kept(epoch(0.5, 0.1), epoch(0.9, 0.9), epoch(0.7, 0.1)) == 2


def test_of_a_metric_of_which_less_is_better_the_lowest_is_kept() -> None:
    assert kept(epoch(0.5, 0.1), epoch(0.9, 0.9), epoch(0.4, 0.2), objective=SURE) == 3


def test_of_epochs_with_equal_scores_the_one_with_the_lower_loss_is_kept() -> None:
    assert kept(epoch(0.9, 0.5), epoch(0.9, 0.3), epoch(0.9, 0.4)) == 2


@pytest.mark.parametrize("objective", [RIGHT, SURE])
def test_an_undefined_score_is_worse_than_any(objective: Objective) -> None:
    assert kept(epoch(math.nan), epoch(0.0), epoch(math.nan), objective=objective) == 2
    assert kept(epoch(math.nan), objective=objective) == 1


def test_of_equal_epochs_the_first_is_kept() -> None:
    assert kept(epoch(0.9, 0.5), epoch(0.9, 0.5)) == 1


def test_without_a_finished_epoch_the_weights_stay() -> None:
    assert kept() == -1


def scored(*scores: float) -> list[Epoch]:
    return [epoch(score, 0.5, number) for number, score in enumerate(scores, 1)]


@pytest.mark.parametrize(("patience", "ended"), [(1, 2), (2, 5), (3, 9), (None, 10)])
def test_patience_ends_a_phase_after_so_many_epochs_without_a_better_one(patience: int | None, ended: int) -> None:
    found = best_of(*scored(0.5, 0.4, 0.6, 0.6, 0.1, 0.7, 0.2, 0.2, 0.2, 0.2), patience=patience)

    assert found[1] == ended
