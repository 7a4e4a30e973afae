"""The best step is kept, 'auto' goes on only where it pays, and what was good is saved when training diverges."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from finetune.clock import Clock
from finetune.errors import DivergedError
from finetune.intent import discover
from finetune.preparation import prepare
from finetune.reporting import SILENT
from finetune.training.learner import Epoch
from finetune.training.strategies import Fit, Phase, Step, plan
from finetune.training.trainer import Trainer
from finetune.training.transfer import Outcome, climb, follow

LIKE = {"stem": 0.1, "stage1": 0.3, "stage2": 0.5, "stage3": 1.5}
"""How far apart each stage puts the classes: on pictures like the backbone's own, the last by far."""
UNLIKE = {"stem": 0.1, "stage1": 1.0, "stage2": 0.5, "stage3": 0.3}
LAST_IS_BEST = {"stem": 0.1, "stage1": 0.5, "stage2": 0.5, "stage3": 0.55}
FEW, MANY = 60, 500


class Apprentice:
    """A trainer whose weights are the name of the phase and epoch that it holds.

    ``reached`` maps a phase to its epochs as (accuracy, loss); a phase that ends with None diverges there.
    """

    def __init__(self, reached: dict[str, list[Any]], depth: dict[str, float] = LIKE, pictures: int = FEW) -> None:
        self.reached = reached
        self.weights = "initial"
        self.taken: list[str] = []
        self.restored: list[str] = []
        self.history: list[Epoch] = []
        self.depth = depth
        self.cost_of_fitting = 1e6
        self.train_targets = np.tile(np.arange(3), pictures).astype(np.int64)

    def train(self, phase: Phase) -> float:
        self.taken.append(phase.name)
        epochs = [line for line in self.reached[phase.name] if line is not None]
        for number, (accuracy, loss) in enumerate(epochs, 1):
            self.history.append(epoch(phase.name, number, accuracy, loss))
        if epochs:
            best = max(range(len(epochs)), key=lambda i: (epochs[i][0], -epochs[i][1]))
            self.weights = f"{phase.name} {best + 1}"
        if None in self.reached[phase.name]:
            raise DivergedError("The loss became nan; try a lower --lr.")
        return cast(float, epochs[best][0])

    def fit(self, step: Fit) -> tuple[float, float]:
        self.weights = step.name
        return cast(float, self.reached[step.name][0]), 0.25

    def stage_features(self, indices: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        centres = np.random.default_rng(1).normal(size=(3, 8))
        noise = np.random.default_rng(2).normal(size=(len(self.train_targets), 8))
        everything = {name: apart * centres[self.train_targets] + noise for name, apart in self.depth.items()}
        return {name: features[indices].astype(np.float32) for name, features in everything.items()}

    def snapshot(self) -> str:
        return self.weights

    def restore(self, weights: str) -> None:
        self.weights = weights
        self.restored.append(weights)


def epoch(phase: str, number: int, accuracy: float, loss: float) -> Epoch:
    return Epoch(phase=phase, epoch=number, train_loss=0.5, valid_loss=loss, accuracy=accuracy, lr=0.1, seconds=1.0)


def steps_named(*names: str) -> list[Step]:
    phase = partial(Phase, epochs=1, frozen_groups=0, rates=(0.1,), rise=0.3)
    return [Fit(name=name) if name == "logreg" else phase(name=name) for name in names]


def followed(**accuracies: float) -> tuple[Outcome, str]:
    reached = {name: [accuracy] if name == "logreg" else [(accuracy, 0.5)] for name, accuracy in accuracies.items()}
    trainer = Apprentice(reached)
    outcome = follow(steps_named(*accuracies), cast(Any, trainer), Clock(), unexpected)
    return outcome, trainer.weights


def unexpected() -> None:
    pytest.fail("nothing diverged, and something was saved")


# ── keeping the best ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("accuracies", "kept"),
    [
        ({"frozen": 0.8, "unfrozen": 0.9}, "unfrozen"),
        ({"frozen": 0.9, "unfrozen": 0.8}, "frozen"),
        ({"frozen": 0.9, "unfrozen": 0.9}, "unfrozen"),  # of equals, the later
        ({"a": 0.5, "b": 0.9, "c": 0.7}, "b"),
        ({"a": 0.9, "b": 0.9, "c": 0.7}, "b"),
        ({"frozen": 0.0}, "frozen"),  # even without a hit
    ],
)
def test_the_best_step_is_kept_and_of_equals_the_later(accuracies: dict[str, float], kept: str) -> None:
    outcome, weights = followed(**accuracies)

    assert (outcome.kept, weights) == (kept, f"{kept} 1")


def test_the_outcome_tells_the_accuracy_of_every_step_in_order() -> None:
    outcome, _ = followed(frozen=0.9, unfrozen=0.8)

    assert list(outcome.accuracies.items()) == [("frozen", 0.9), ("unfrozen", 0.8)]


def test_every_step_is_measured_by_its_name() -> None:
    clock, trainer = Clock(), Apprentice({"frozen": [(0.9, 0.1)], "unfrozen": [(0.8, 0.1)]})

    follow(steps_named("frozen", "unfrozen"), cast(Any, trainer), clock, unexpected)

    assert list(clock.seconds) == ["frozen", "unfrozen"]


def test_a_classic_classifiers_temperature_is_the_outcomes() -> None:
    outcome = follow([Fit(name="svm")], cast(Any, Apprentice({"svm": [0.9]})), Clock(), unexpected)

    assert (outcome.kept, outcome.accuracies, outcome.temperature) == ("svm", {"svm": 0.9}, 0.25)
    assert followed(frozen=0.9)[0].temperature == 1.0


# ── the verdict ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [
        (
            {"frozen": 0.8, "unfrozen": 0.9},
            "Fine-tuning beat the probe (unfrozen 90.0%, frozen 80.0%); unfrozen is kept.",
        ),
        (
            {"frozen": 0.9, "unfrozen": 0.9},
            "Fine-tuning equalled the probe (unfrozen 90.0%, frozen 90.0%); unfrozen is kept.",
        ),
        (
            {"frozen": 0.912, "unfrozen": 0.9},
            "Fine-tuning did not beat the probe (unfrozen 90.0%, frozen 91.2%); frozen is kept.",
        ),
        (
            {"frozen": 0.8, "last 1 stage": 0.95, "unfrozen": 0.9},
            "Fine-tuning beat the probe (last 1 stage 95.0%, frozen 80.0%); last 1 stage is kept.",
        ),
        ({"frozen": 0.8}, "The probe is kept (frozen 80.0%); fine-tuning was not tried."),
        (
            {"frozen": 0.8, "logreg": 0.85, "unfrozen": 0.83},
            "Fine-tuning did not beat the probe (unfrozen 83.0%, logreg 85.0%); logreg is kept.",
        ),
        ({"from scratch": 0.8}, "from scratch: there was no probe to beat."),
        ({"unfrozen": 0.8}, "unfrozen: there was no probe to beat."),
    ],
)
def test_the_verdict_says_whether_fine_tuning_beat_the_probe(accuracies: dict[str, float], verdict: str) -> None:
    assert followed(**accuracies)[0].verdict == verdict


@pytest.mark.parametrize("second", [0.93, 0.95])
def test_of_equal_later_steps_the_verdict_names_the_one_that_is_kept(second: float) -> None:
    outcome, _ = followed(**{"frozen": 0.8, "last 1 stage": 0.95, "last 2 stages": second, "unfrozen": 0.95})

    assert outcome.verdict == "Fine-tuning beat the probe (unfrozen 95.0%, frozen 80.0%); unfrozen is kept."


# ── climbing ────────────────────────────────────────────────────────────────────────────────────────

LADDER = ("frozen", "last 2 stages", "unfrozen")


def climbed(
    *accuracies: float, depth: dict[str, float] = LIKE, pictures: int = MANY, names: tuple[str, ...] = LADDER
) -> tuple[Outcome, Apprentice]:
    reached = {name: [(accuracy, 0.5)] for name, accuracy in zip(names, accuracies, strict=False)}
    trainer = Apprentice(reached, depth, pictures)
    return climb(steps_named(*names), cast(Any, trainer), Clock(), unexpected, seed=0), trainer


def test_with_many_pictures_auto_climbs_to_the_end_while_each_step_wins() -> None:
    outcome, trainer = climbed(0.8, 0.85, 0.9)

    assert (trainer.taken, outcome.kept, trainer.weights) == (list(LADDER), "unfrozen", "unfrozen 1")


@pytest.mark.parametrize("second", [0.8, 0.7])
def test_a_step_that_brings_nothing_is_the_last(second: float) -> None:
    outcome, trainer = climbed(0.8, second, 0.99)

    assert trainer.taken == ["frozen", "last 2 stages"]
    assert outcome.reasons[-1] == "last 2 stages brought nothing, so nothing more was tried."
    assert outcome.kept == ("last 2 stages" if second == 0.8 else "frozen")
    assert trainer.weights == f"{outcome.kept} 1"


def test_few_pictures_like_what_the_backbone_knows_need_the_probe_alone() -> None:
    outcome, trainer = climbed(0.8, 0.85, 0.9, pictures=FEW)

    assert (trainer.taken, outcome.kept) == (["frozen"], "frozen")
    assert outcome.reasons[-1].startswith("Train only the classifier: the features fit as they are")
    assert outcome.reasons[0].startswith("180 pictures, 60 in the typical class, are few;")


@pytest.mark.parametrize("depth", [UNLIKE, LAST_IS_BEST], ids=["a classic classifier", "partial"])
def test_few_pictures_unlike_what_the_backbone_knows_are_worth_the_last_stages_at_most(
    depth: dict[str, float],
) -> None:
    outcome, trainer = climbed(0.8, 0.85, 0.9, depth=depth, pictures=FEW)

    assert (trainer.taken, outcome.kept) == (["frozen", "last 2 stages"], "last 2 stages")


def test_many_pictures_unlike_what_the_backbone_knows_are_worth_everything() -> None:
    _, trainer = climbed(0.8, 0.85, 0.9, depth=UNLIKE)

    assert trainer.taken == list(LADDER)


def test_a_probe_that_is_right_leaves_nothing_to_gain() -> None:
    outcome, trainer = climbed(0.996, 0.999, 1.0)

    assert trainer.taken == ["frozen"]
    assert outcome.reasons[-1] == "The probe is right on 99.6%; there is nothing left to gain."


def climbed_with_logreg(value: float, later: float, pictures: int) -> tuple[Outcome, Apprentice]:
    reached: dict[str, list[Any]] = {"frozen": [(0.8, 0.5)], "logreg": [value]}
    trainer = Apprentice({**reached, **{name: [(later, 0.5)] for name in LADDER[1:]}}, LIKE, pictures)
    steps = steps_named("frozen", "logreg", *LADDER[1:])
    return climb(steps, cast(Any, trainer), Clock(), unexpected, seed=0), trainer


@pytest.mark.parametrize(("value", "kept"), [(0.85, "logreg"), (0.75, "frozen")])
def test_a_logistic_regression_on_the_same_features_is_tried_and_kept_where_it_wins(value: float, kept: str) -> None:
    outcome, trainer = climbed_with_logreg(value, 0.9, FEW)

    assert outcome.accuracies == {"frozen": 0.8, "logreg": value}
    assert (outcome.kept, trainer.weights.split()[0]) == (kept, kept)


def test_a_logistic_regression_that_would_take_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune.training.transfer.MOST_FITTED", 1e5)

    assert climbed_with_logreg(0.85, 0.9, FEW)[0].accuracies == {"frozen": 0.8}


def test_every_later_step_goes_on_from_the_best_so_far() -> None:
    outcome, trainer = climbed_with_logreg(0.75, 0.7, MANY)

    assert trainer.restored == ["frozen 1", "frozen 1"]  # before the last stages, and at the end
    assert outcome.verdict.startswith("Fine-tuning did not beat the probe (last 2 stages 70.0%, frozen 80.0%)")


def test_without_a_probe_every_step_is_taken_without_asking() -> None:
    outcome, trainer = climbed(0.8, 0.7, names=("last 2 stages", "unfrozen"))

    assert (trainer.taken, outcome.kept, outcome.reasons) == (["last 2 stages", "unfrozen"], "last 2 stages", ())


def test_measuring_has_a_time_of_its_own() -> None:
    clock, trainer = Clock(), Apprentice({"frozen": [(0.8, 0.5)]})

    climb(steps_named("frozen"), cast(Any, trainer), clock, unexpected, seed=0)

    assert list(clock.seconds) == ["frozen", "measure"]


# ── divergence ──────────────────────────────────────────────────────────────────────────────────────


def diverged(reached: dict[str, list[Any]], way: Callable[..., Outcome] = follow) -> tuple[str, list[str]]:
    """Return what is said, and the weights that were saved."""
    trainer, saved = Apprentice(reached, pictures=MANY), []

    def save() -> None:
        saved.append(trainer.weights)

    with pytest.raises(DivergedError) as caught:
        way(steps_named(*reached), cast(Any, trainer), Clock(), save)
    assert caught.value.exit_code == 7
    return str(caught.value), saved


@pytest.mark.parametrize("way", [follow, partial(climb, seed=0)], ids=["follow", "climb"])
def test_when_a_later_step_diverges_the_best_before_it_is_saved(way: Callable[..., Outcome]) -> None:
    text, saved = diverged({"frozen": [(0.7, 0.4), (0.8, 0.5)], "unfrozen": [(0.6, 0.9), None]}, way)

    assert saved == ["frozen 2"]
    assert text == ("The loss became nan; try a lower --lr. The best so far (frozen, 80.0%) is in weights.safetensors.")


def test_when_the_step_itself_was_better_before_it_diverged_that_is_saved() -> None:
    text, saved = diverged({"frozen": [(0.7, 0.4)], "unfrozen": [(0.6, 0.9), (0.9, 0.9), (0.8, 0.1), None]})

    assert saved == ["unfrozen 2"]
    assert "(unfrozen, epoch 2, 90.0%)" in text


def test_when_the_first_step_diverges_at_once_there_is_nothing_to_save() -> None:
    assert diverged({"frozen": [None]}) == ("The loss became nan; try a lower --lr.", [])


def test_what_is_said_to_be_saved_is_saved_where_steps_are_equal() -> None:
    text, saved = diverged({"frozen": [(0.9, 0.2)], "last 2 stages": [(0.9, 0.3)], "unfrozen": [None]})

    assert saved == ["last 2 stages 1"]
    assert "The best so far (last 2 stages, 90.0%) is in weights.safetensors." in text


# ── a real one ──────────────────────────────────────────────────────────────────────────────────────


EXPLODED = (
    r"^The (validation )?loss became \S+ in epoch 1, step \d; try a lower --lr or --unfrozen-lr .* "
    r"The best so far \(frozen, [\d.]+%\) is in weights\.safetensors\.$"
)


def test_a_real_trainer_holds_the_probe_again_after_fine_tuning_exploded(picture_folder: Callable[..., Path]) -> None:
    options: dict[str, Any] = {"backbone": "squeezenet1_1", "weights": "none", "image_size": 32, "batch_size": 4}
    options |= {"data": picture_folder(), "freeze_epochs": 3, "epochs": 30, "unfrozen_lr": 10.0}
    same, job = (prepare(discover(options), SILENT) for _ in range(2))
    alone = Trainer(same, SILENT)
    frozen, unfrozen = plan(job.config, job.groups, 0.01, "finetune")
    alone.train(cast(Phase, frozen))
    probe, saved = alone.snapshot(), []
    trainer = Trainer(job, SILENT)  # which seeds anew

    with pytest.raises(DivergedError, match=EXPLODED):
        follow([frozen, unfrozen], trainer, Clock(), lambda: saved.append(trainer.snapshot()))

    assert [line.phase for line in trainer.history] == ["frozen"] * 3
    assert len(saved) == 1
    assert all(torch.equal(saved[0][key], tensor) for key, tensor in probe.items())
    assert all(torch.equal(tensor, probe[key]) for key, tensor in trainer.snapshot().items())
