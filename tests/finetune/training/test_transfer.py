"""The best step is kept and judged, and what was good is saved when training diverges."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from finetune.clock import Clock
from finetune.errors import DivergedError
from finetune.intent import discover
from finetune.preparation import prepare
from finetune.reporting import SILENT
from finetune.training.journal import Outcome
from finetune.training.objective import Objective
from finetune.training.strategies import Fit, Phase, plan
from finetune.training.trainer import Trainer
from finetune.training.transfer import climb, follow, verdict

from .conftest import MANY, RIGHT, SURE, Apprentice, steps_named, unexpected


def followed(objective: Objective = RIGHT, **scores: float) -> tuple[Outcome, str]:
    reached = {name: [score] if name == "logreg" else [(score, 0.5)] for name, score in scores.items()}
    trainer = Apprentice(reached, objective=objective)
    outcome = follow(steps_named(*scores), cast(Any, trainer), Clock(), unexpected)
    return outcome, trainer.weights


# ── keeping the best ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ({"frozen": 0.8, "unfrozen": 0.9}, "unfrozen"),
        ({"frozen": 0.9, "unfrozen": 0.8}, "frozen"),
        ({"frozen": 0.9, "unfrozen": 0.9}, "unfrozen"),  # of equals, the later
        ({"a": 0.5, "b": 0.9, "c": 0.7}, "b"),
        ({"a": 0.9, "b": 0.9, "c": 0.7}, "b"),
        ({"frozen": 0.0}, "frozen"),  # even without a hit
    ],
)
def test_the_best_step_is_kept_and_of_equals_the_later(scores: dict[str, float], kept: str) -> None:
    outcome, weights = followed(**scores)

    assert (outcome.kept, weights) == (kept, f"{kept} 1")


@pytest.mark.parametrize(
    ("scores", "kept"), [((0.8, 0.9), "frozen"), ((0.8, 0.7), "unfrozen"), ((0.8,) * 2, "unfrozen")]
)
def test_of_a_metric_of_which_less_is_better_the_lowest_is_kept(scores: tuple[float, float], kept: str) -> None:
    outcome, weights = followed(SURE, frozen=scores[0], unfrozen=scores[1])

    assert (outcome.kept, weights) == (kept, f"{kept} 1")


def test_a_step_whose_score_is_undefined_is_kept_only_where_there_is_no_other() -> None:
    assert followed(frozen=0.1, unfrozen=math.nan)[0].kept == "frozen"
    assert followed(frozen=math.nan, unfrozen=0.1)[0].kept == "unfrozen"
    assert followed(frozen=math.nan)[0].kept == "frozen"


def test_the_outcome_tells_the_score_of_every_step_in_order() -> None:
    outcome, _ = followed(frozen=0.9, unfrozen=0.8)

    assert list(outcome.scores.items()) == [("frozen", 0.9), ("unfrozen", 0.8)]


def test_every_step_is_measured_by_its_name() -> None:
    clock, trainer = Clock(), Apprentice({"frozen": [(0.9, 0.1)], "unfrozen": [(0.8, 0.1)]})

    follow(steps_named("frozen", "unfrozen"), cast(Any, trainer), clock, unexpected)

    assert list(clock.seconds) == ["frozen", "unfrozen"]


def test_a_classic_classifiers_temperature_is_the_outcomes() -> None:
    outcome = follow([Fit(name="svm")], cast(Any, Apprentice({"svm": [0.9]})), Clock(), unexpected)

    assert (outcome.kept, outcome.scores, outcome.temperature) == ("svm", {"svm": 0.9}, 0.25)
    assert followed(frozen=0.9)[0].temperature == 1.0


# ── the verdict ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("scores", "expected"),
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
def test_the_verdict_says_whether_fine_tuning_beat_the_probe(scores: dict[str, float], expected: str) -> None:
    assert verdict(followed(**scores)[0], RIGHT) == expected


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((0.5, 0.4), "Fine-tuning beat the probe (unfrozen 0.4, frozen 0.5); unfrozen is kept."),
        ((0.4, 0.5), "Fine-tuning did not beat the probe (unfrozen 0.5, frozen 0.4); frozen is kept."),
    ],
)
def test_the_verdict_is_about_the_monitored_metric(scores: tuple[float, float], expected: str) -> None:
    outcome, _ = followed(SURE, frozen=scores[0], unfrozen=scores[1])

    assert verdict(outcome, SURE) == expected


@pytest.mark.parametrize("second", [0.93, 0.95])
def test_of_equal_later_steps_the_verdict_names_the_one_that_is_kept(second: float) -> None:
    outcome, _ = followed(**{"frozen": 0.8, "last 1 stage": 0.95, "last 2 stages": second, "unfrozen": 0.95})

    assert verdict(outcome, RIGHT) == "Fine-tuning beat the probe (unfrozen 95.0%, frozen 80.0%); unfrozen is kept."


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
    options |= {"data": picture_folder(), "freeze_epochs": 3, "unfrozen_lr": 10.0, "schedule": "StepLR"}
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
