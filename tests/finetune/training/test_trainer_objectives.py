"""What ends a phase, what is kept of it, what it depends on, and training towards other things than single labels."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from finetune.clock import Clock
from finetune.data.audit import audit
from finetune.errors import ConfigError
from finetune.intent import discover
from finetune.preparation import Job, PicturesRead, prepare
from finetune.reporting import SILENT
from finetune.stopping import Stop
from finetune.training.history import Epoch
from finetune.training.learner.averages import Average, Averages
from finetune.training.strategies import Fit, Phase, plan
from finetune.training.trainer import Trainer
from finetune.training.transfer import climb
from finetune.types import Dataset, Example, Task

from .conftest import State, changed, job_of, phases_of, state_of

LIGHT: dict[str, Any] = {"backbone": "squeezenet1_1", "weights": "none", "image_size": 32, "augment": "none"}
LABELS = ("red", "green", "blue")


def drawn(shown: np.ndarray[Any, Any], number: int) -> Image.Image:
    """Return a picture whose channels are as bright as is said, from 0 to 1."""
    noise = np.random.default_rng(number).normal(0, 12, (40, 40, 3))
    return Image.fromarray((40 + 170 * shown + noise).clip(0, 255).astype(np.uint8))


def example(task: Task, path: Path, shown: np.ndarray[Any, Any]) -> Example:
    part: Any = path.parent.name
    if task == "regression":
        return Example(path=path, values=tuple((1000 * shown - 200).tolist()), part=part)
    return Example(path=path, labels=tuple(np.array(LABELS)[shown > 0].tolist()), part=part)


@pytest.fixture
def job_for(tmp_path: Path) -> Callable[..., Job]:
    """Prepare runs on 32 training and 16 validation pictures that show colours: which, or how much of each."""

    def prepared(task: Task, **options: Any) -> Job:
        chance, examples = np.random.default_rng(3), []
        for number in range(48):
            shown = chance.random(3) if task == "regression" else chance.integers(0, 2, 3)
            path = tmp_path / ("train" if number < 32 else "valid") / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            drawn(shown, number).save(path)
            examples.append(example(task, path, shown))
        facts: Any = {"name": "colours", "source": "drawn", "licence": "none"}
        dataset = Dataset(task=task, examples=tuple(examples), labels=LABELS, **facts)
        read = PicturesRead(dataset=dataset, audit=audit(dataset, 0.0, SILENT))
        return prepare(discover({"data": tmp_path, "batch_size": 8, "epochs": 12, **LIGHT, **options}), SILENT, read)

    return prepared


# ── other tasks ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("task", "monitor", "at_least", "options"),
    [
        ("multi-label", "mean-average-precision", 0.9, {"imbalance": "weights"}),
        ("multi-label", "mean-auroc", 0.85, {"imbalance": "focal", "mix": "mixup"}),
        ("multi-label", "log-loss", 0.4, {"imbalance": "sampling"}),
        ("regression", "r2", 0.3, {"mix": "mixup"}),
        ("regression", "mae", 175, {}),
    ],
)
def test_several_labels_and_values_are_learned(
    job_for: Callable[..., Job], task: Task, monitor: str, at_least: float, options: dict[str, Any]
) -> None:
    job = job_for(task, monitor=monitor, **options)
    trainer = Trainer(job, SILENT)
    (phase,) = phases_of(job, "scratch", lr=0.001)
    merit = trainer.objective.merit
    chance = trainer.objective.score(torch.zeros(16, 3), trainer.valid_targets)

    reached = trainer.train(phase)

    assert merit(reached) > merit(at_least) > merit(chance)
    assert reached == pytest.approx(trainer.objective.score(trainer.outputs()[0], trainer.valid_targets), rel=1e-4)
    assert merit(reached) == max(merit(line.score) for line in trainer.history)


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_auto_goes_through_all_its_steps_for_several_labels_and_values(job_for: Callable[..., Job], task: Task) -> None:
    job = job_for(task, freeze_epochs=2, epochs=1)
    trainer = Trainer(job, SILENT)

    outcome = climb(plan(job.config, job.groups, 0.001, "auto", task), trainer, Clock(), lambda: None, seed=0)

    assert list(outcome.scores)[:2] == ["frozen", "last 2 stages"]
    assert outcome.scores[outcome.kept] == max(outcome.scores.values())
    assert trainer.objective.score(trainer.outputs()[0], trainer.valid_targets) == pytest.approx(
        outcome.scores[outcome.kept], rel=1e-4
    )


def test_the_answers_of_a_regression_are_in_the_units_of_the_values(job_for: Callable[..., Job]) -> None:
    job = job_for("regression", epochs=1)
    trainer = Trainer(job, SILENT)
    trainer.train(phases_of(job, "scratch", lr=0.001)[0])

    answers = trainer.objective.answers(trainer.outputs()[0])

    assert np.abs(answers.mean(axis=0) - trainer.train_targets.mean(axis=0)).max() < 250
    assert trainer.train_targets.mean() == pytest.approx(300, abs=60)


def test_a_metric_that_the_task_does_not_have_is_refused(job: Job) -> None:
    wrong = replace(job, intent=replace(job.intent, config=replace(job.config, monitor="r2")))

    with pytest.raises(ConfigError, match=r"^Unknown --monitor for a single-label task 'r2'\. .*Known: accuracy, "):
        Trainer(wrong, SILENT)


# ── what ends a phase ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("patience", [1, 3])
def test_patience_ends_a_phase_and_not_the_run(pictures: Path, patience: int, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(pictures, patience=patience, freeze_epochs=9, epochs=9, **LIGHT)
    scores = iter([0.5, 0.6, *[0.1] * 30])
    monkeypatch.setattr(
        "finetune.training.learner.callbacks.Epoch", lambda **facts: Epoch(**{**facts, "score": next(scores)})
    )
    trainer = Trainer(job, SILENT)
    frozen, unfrozen = phases_of(job)

    reached = [trainer.train(frozen), trainer.train(unfrozen)]

    assert reached == [0.6, 0.1]
    assert [line.phase for line in trainer.history].count("frozen") == 2 + patience
    of_equals = [line for line in trainer.history if line.phase == "unfrozen"]
    assert len(of_equals) == 1 + patience  # a lower loss alone is no better score


@pytest.mark.parametrize("number", [0, 1], ids=["frozen", "unfrozen"])
def test_where_the_time_is_up_the_epoch_is_validated_so_that_there_is_a_score(
    pictures: Path, steps: list[list[float]], number: int
) -> None:
    job = job_of(pictures, **LIGHT)
    trainer, before = Trainer(job, SILENT, stop=Stop(max_minutes=0)), state_of(job)

    reached = trainer.train(phases_of(job)[number])

    assert len(steps) == 1
    assert [(line.epoch, line.score) for line in trainer.history] == [(1, reached)]
    assert math.isfinite(trainer.history[0].train_loss)
    assert reached == trainer.objective.score(trainer.outputs()[0], trainer.valid_targets)
    assert changed(before, state_of(job)) != set()


# ── averages ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("more", "kept"), [(0.01, True), (0.0, False), (-0.01, False)])
@pytest.mark.parametrize("monitor", ["accuracy", "log-loss"])
def test_an_average_takes_the_place_of_the_best_epoch_only_where_it_is_strictly_better(
    pictures: Path, monitor: str, more: float, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(pictures, average="ema", monitor=monitor, **LIGHT)
    other: dict[str, Any] = {}
    trainer = Trainer(job, SILENT)
    sign = trainer.objective.merit(1)

    original = Averages.found

    def found(averages: Averages, score: Any) -> Iterator[Average]:
        (real,) = original(averages, score)
        other.update({name: tensor + 1 for name, tensor in real.weights.items()})
        yield real._replace(score=best() + sign * more, weights=other)

    def best() -> float:
        return max((line.score for line in trainer.history), key=trainer.objective.merit)

    monkeypatch.setattr(Averages, "found", found)
    reached = trainer.train(phases_of(job)[1])

    assert reached == (best() + sign * more if kept else best())
    pairs = zip(trainer.snapshot().values(), other.values(), strict=True)
    assert all(torch.equal(*pair) is kept for pair in pairs)
    (said,) = trainer.journal.outcome.reasons
    assert ("the moving average is better than the best epoch (" in said) is kept
    assert ("the moving average is no better than what there is (" in said) is not kept


@pytest.mark.parametrize("average", ["ema", "soup", "both"])
def test_averaging_never_ends_with_less_than_the_best_epoch(job_for: Callable[..., Job], average: str) -> None:
    alone, averaged = (job_for("regression", epochs=6, average=kind) for kind in ("none", average))
    reached = []
    for job in (alone, averaged):
        trainer = Trainer(job, SILENT)
        reached.append(trainer.train(phases_of(job, "scratch", lr=0.003)[0]))
        assert reached[-1] == pytest.approx(
            trainer.objective.score(trainer.outputs()[0], trainer.valid_targets), rel=1e-4
        )
    assert reached[1] >= reached[0]
    assert (changed(state_of(alone), state_of(averaged)) == set()) is (reached[0] == reached[1])


# ── chance ──────────────────────────────────────────────────────────────────────────────────────────


def draw_and_find(trainer: Trainer, phase: Phase) -> None:
    random.random()
    torch.randn(5)
    np.random.rand(3)
    trainer.find_rate(phase)


def fit(trainer: Trainer, _: Phase) -> None:
    before = trainer.snapshot()
    trainer.fit(Fit(name="logreg"))
    trainer.restore(before)


@pytest.mark.parametrize("between", [draw_and_find, fit])
def test_a_phase_does_not_depend_on_the_chance_that_was_taken_before_it(
    pictures: Path, between: Callable[[Trainer, Phase], None]
) -> None:
    def trained(meanwhile: Callable[[Trainer, Phase], None]) -> State:
        job = job_of(pictures, mix="mixup", **LIGHT)
        trainer = Trainer(job, SILENT)
        for phase in phases_of(job):
            meanwhile(trainer, phase)
            trainer.train(phase)
        return state_of(job)

    assert changed(trained(lambda *_: None), trained(between)) == set()


def test_phases_of_other_names_take_other_chances(pictures: Path) -> None:
    def trained(name: str) -> State:
        job = job_of(pictures, mix="mixup", **LIGHT)
        Trainer(job, SILENT).train(replace(phases_of(job)[1], name=name))
        return state_of(job)

    assert changed(trained("one"), trained("one")) == set()
    assert changed(trained("one"), trained("other")) != set()
