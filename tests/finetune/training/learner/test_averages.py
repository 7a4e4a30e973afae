"""Averages over the steps and the epochs of a phase: gathered while it is trained, gone on with where it stopped."""

from __future__ import annotations

from itertools import combinations
from typing import Self

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback

from finetune.config import Averaging
from finetune.reporting import SILENT
from finetune.training.averaging import Weights, averaged
from finetune.training.history import Epoch
from finetune.training.learner.averages import Average, Averages
from finetune.training.learner.callbacks import Progress
from finetune.training.learner.learners import logits_of, start_at_epoch
from finetune.training.objective import Objective

from .conftest import RATES, RIGHT, SURE, learner_of, model

EPOCHS, STEPS = 4, 3
TARGETS = np.arange(12) % 2


class Kept(Callback):  # type: ignore[misc]
    """Keeps a copy of the weights after every step, and after every epoch."""

    order = 63

    def __init__(self) -> None:
        self.steps: list[Weights] = []
        self.epochs: list[Weights] = []

    def after_batch(self) -> None:
        if self.training:
            self.steps.append(copied(self.model.state_dict()))

    def after_epoch(self) -> None:
        self.epochs.append(copied(self.model.state_dict()))


class Training:
    """A phase of four epochs that is averaged."""

    def __init__(self, kind: Averaging, objective: Objective = SURE) -> None:
        self.kind, self.objective = kind, objective
        self.net, self.history, self.kept = model(), list[Epoch](), Kept()
        self.learner = learner_of(self.net, objective=objective)
        self.averages = self.new_averages()

    def new_averages(self) -> Averages:
        return Averages(self.kind, self.net, EPOCHS * STEPS, self.objective, self.history)

    def fit(self, epochs: int = EPOCHS, first: int = 0) -> Self:
        start_at_epoch(self.learner, first)
        progress = Progress("some", self.objective, self.history, SILENT)
        self.learner.fit(epochs, list(RATES), cbs=[progress, self.averages, self.kept])
        return self

    def score(self, weights: Weights) -> float:
        self.net.load_state_dict(weights)
        return self.objective.score(logits_of(self.learner), TARGETS)

    def found(self) -> dict[str, Average]:
        return {average.name.split()[1]: average for average in self.averages.found(self.score)}


def copied(weights: Weights) -> Weights:
    return {name: tensor.clone() for name, tensor in weights.items()}


def distance(one: Weights, other: Weights) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize(
    ("kind", "names"),
    [("none", []), ("ema", ["moving"]), ("soup", ["soup"]), ("both", ["moving", "soup"])],
)
def test_what_was_asked_for_is_averaged(kind: Averaging, names: list[str]) -> None:
    assert list(Training(kind).fit().found()) == names


def test_the_moving_average_is_over_all_steps_and_looks_back_on_a_tenth_of_them() -> None:
    training = Training("ema").fit()
    decay = 1 - 1 / (0.1 * EPOCHS * STEPS)
    expected = training.kept.steps[0]
    for step in training.kept.steps[1:]:
        expected = {name: decay * expected[name] + (1 - decay) * step[name] for name in step}

    assert len(training.kept.steps) == EPOCHS * STEPS
    assert distance(training.found()["moving"].weights, expected) < 1e-6
    assert distance(training.found()["moving"].weights, training.kept.steps[-1]) > 1e-5


def test_a_soup_is_a_mean_of_epochs_and_no_worse_than_the_best_of_them() -> None:
    training = Training("soup").fit()

    soup = training.found()["soup"]

    means = [
        (len(chosen), distance(soup.weights, averaged(chosen)))
        for count in range(1, EPOCHS + 1)
        for chosen in combinations(training.kept.epochs, count)
    ]
    members = next(count for count, apart in means if apart < 1e-7)
    assert soup.name == f"a soup of {members} epochs"
    assert soup.score <= min(line.score for line in training.history)  # of log-loss, less is better


@pytest.mark.parametrize("objective", [RIGHT, SURE], ids=lambda objective: objective.monitor)
def test_the_score_of_an_average_is_that_of_its_weights(objective: Objective) -> None:
    training = Training("both", objective).fit()

    for average in training.found().values():
        assert average.score == training.score(average.weights)


def test_a_single_epoch_makes_no_soup() -> None:
    assert list(Training("both").fit(1).found()) == ["moving"]


def test_averages_that_are_gone_on_with_are_those_of_a_phase_that_was_not_stopped() -> None:
    whole, stopped = (Training("both").fit(2) for _ in range(2))
    state = stopped.averages.state()
    stopped.averages = stopped.new_averages()
    stopped.averages.load(dict(sorted(state.items())))

    expected, found = (training.fit(first=2).found() for training in (whole, stopped))

    assert list(found) == ["moving", "soup"]
    for name, average in found.items():
        assert (average.name, average.score) == (expected[name].name, expected[name].score)
        assert distance(average.weights, expected[name].weights) == 0


def test_what_is_saved_does_not_change_with_later_steps() -> None:
    training = Training("both").fit(2)
    state = training.averages.state()
    before = copied(state)

    training.fit(first=2)

    assert all(torch.equal(state[name], tensor) for name, tensor in before.items())
