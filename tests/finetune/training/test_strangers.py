"""Callbacks of plugins take part in every phase with epochs; where one breaks, or asks for an end, nothing is lost."""

from __future__ import annotations

import dataclasses
import random
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastai.callback.core import (
    Callback,
    CancelBatchException,
    CancelEpochException,
    CancelFitException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
)

from finetune.clock import Clock
from finetune.errors import DivergedError, PluginError, ResourceError
from finetune.reporting import SILENT
from finetune.training.checkpoints import Checkpoints
from finetune.training.journal import Journal
from finetune.training.learner.strangers import Strangers
from finetune.training.objective import Objective
from finetune.training.strategies import plan
from finetune.training.trainer import Trainer
from finetune.training.transfer import follow

from .conftest import State, changed, job_of

STEPS = 2
"""Of each epoch."""
SOON: dict[str, Any] = {"backbone": "squeezenet1_1", "freeze_epochs": 2, "epochs": 2, "unfrozen_lr": 0.003}
WHOLE = [("frozen", 1), ("frozen", 2), ("unfrozen", 1), ("unfrozen", 2)]
EVERY_EVENT = (
    *("before_fit", "before_epoch", "before_train", "before_batch", "after_pred", "after_loss", "before_backward"),
    *("after_backward", "before_step", "after_step", "after_batch", "after_train", "before_validate", "after_validate"),
    *("after_epoch", "after_fit"),
)


class Does(Callback):  # type: ignore[misc]
    """Does something in one event, from its ``at``-th time on, counted from 1 and over all phases."""

    counts: dict[str, int]

    def __init__(self, moment: str, action: Callable[[Any], object], at: int = 1, order: int = 0) -> None:
        super().__init__(**{moment: lambda self: self._count(moment, action, at)})
        self.order = order

    def _count(self, moment: str, action: Callable[[Any], object], at: int) -> None:
        self.counts[moment] = self.counts.get(moment, 0) + 1
        if self.counts[moment] >= at:
            action(self)


@dataclasses.dataclass
class Came:
    """What a run came to: weights, the epochs of its history, and the scores of its phases."""

    weights: State
    epochs: list[tuple[str, int]]
    scores: dict[str, float]


class Runs:
    """Attempts at one run of two phases, each in a network of its own, as in a new process."""

    def __init__(self, folder: Path, run: Path) -> None:
        self.folder, self.run = folder, run

    def attempt(self, *makes: Callable[[], Callback], **options: Any) -> Came:
        job, counts = job_of(self.folder, **{**SOON, **options}), dict[str, int]()

        def strangers(phase: str) -> Strangers:
            joined = Strangers(phase, self.run)
            for make in makes:
                callback = make()
                callback.counts = counts
                joined.add("guest", callback)
            return joined

        journal = Journal(Checkpoints(self.run / "checkpoints"), 3600)
        trainer = Trainer(job, SILENT, journal, strangers=strangers)
        outcome = follow(plan(job.config, job.groups, 0.01, "finetune"), trainer, Clock(), lambda: None)
        epochs = [(epoch.phase, epoch.epoch) for epoch in trainer.history]
        return Came(trainer.snapshot(), epochs, outcome.scores)

    @property
    def checkpoints(self) -> list[Path]:
        return list((self.run / "checkpoints").glob("*.safetensors"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Any]) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for p, part in enumerate(("train", "valid")):
        for kind, label in enumerate(("cat", "dog")):
            (root / part / label).mkdir(parents=True)
            for i in range(4):
                picture(kind, seed=100 * p + i).save(root / part / label / f"{i}.png")
    return root


@pytest.fixture
def runs(folder: Path, tmp_path: Path) -> Runs:
    return Runs(folder, tmp_path / "a run")


@pytest.fixture(scope="module")
def alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Came:
    """The run without any stranger."""
    return Runs(folder, tmp_path_factory.mktemp("alone")).attempt()


def does(moment: str, action: Callable[[Any], object], **where: Any) -> Callable[[], Callback]:
    return lambda: Does(moment, action, **where)


def fails(moment: str, error: BaseException, **where: Any) -> Callable[[], Callback]:
    def fail(_: object) -> None:
        raise error

    return does(moment, fail, **where)


# ── taking part ─────────────────────────────────────────────────────────────────────────────────────


def test_one_that_only_looks_takes_part_in_every_phase_and_leaves_the_weights_to_the_last_bit(
    runs: Runs, alone: Came
) -> None:
    seen: list[str] = []
    looks = [does(moment, lambda _, moment=moment: seen.append(moment)) for moment in EVERY_EVENT]

    came = runs.attempt(*looks)

    assert changed(alone.weights, came.weights) == set()
    assert (came.epochs, came.scores) == (WHOLE, alone.scores)
    assert set(seen) == set(EVERY_EVENT)
    assert (seen.count("before_fit"), seen.count("after_epoch"), seen.count("after_step")) == (2, 4, 4 * STEPS)


def test_one_that_changes_what_is_learned_has_a_say_in_the_weights(runs: Runs, alone: Came) -> None:
    def soften(callback: Any) -> None:
        callback.learn.loss_grad *= 0.5
        for parameter in callback.learn.model.parameters():
            parameter.data += 1e-3

    assert changed(alone.weights, runs.attempt(does("before_step", soften)).weights)


def draws(callback: Any) -> None:
    random.random(), np.random.default_rng().random(), np.random.rand(), torch.rand(1)


def test_one_that_draws_random_numbers_ends_with_the_same_weights_each_time(runs: Runs, tmp_path: Path) -> None:
    found = [
        Runs(runs.folder, tmp_path / name).attempt(does("before_batch", draws), mix="mixup") for name in ("a", "b")
    ]

    assert changed(found[0].weights, found[1].weights) == set()


def test_no_random_number_changes_which_pictures_come_when(runs: Runs, tmp_path: Path) -> None:
    orders: dict[str, list[Any]] = {"with": [], "without": []}
    for name, makes in (("with", [does("before_batch", draws)]), ("without", [])):
        looks = does("after_pred", lambda callback, name=name: orders[name].append(callback.learn.yb[0].tolist()))
        Runs(runs.folder, tmp_path / name).attempt(*makes, looks)

    assert orders["with"] == orders["without"]


def test_its_place_is_before_the_checkpoint(runs: Runs) -> None:
    joined = Strangers("frozen", runs.run)

    for order in (-5, 1000):
        joined.add("guest", Does("after_batch", print, order=order))

    assert [callback.order for callback in joined.callbacks] == [-5, 69]


def test_what_it_prints_goes_to_stderr(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    runs.attempt(does("after_epoch", lambda _: sys.stdout.write("a stranger talks\n")))

    said = capsys.readouterr()
    assert (said.out, said.err.count("a stranger talks")) == ("", 4)


# ── breaking ────────────────────────────────────────────────────────────────────────────────────────

BREAKS = {
    "before_fit": (2, "before_fit of unfrozen"),
    "before_batch": (2, "before_batch of epoch 1 of frozen"),
    "after_loss": (3 * STEPS * 2, "after_loss of epoch 1 of unfrozen"),
    "after_epoch": (2, "after_epoch of epoch 2 of frozen"),
    "before_validate": (3, "before_validate of epoch 1 of unfrozen"),
    "after_fit": (1, "after_fit of frozen"),
}


@pytest.mark.parametrize("moment", BREAKS)
def test_where_one_breaks_the_run_is_saved_and_goes_on_to_the_same_weights_once_it_is_mended(
    moment: str, runs: Runs, alone: Came
) -> None:
    at, where = BREAKS[moment]

    with pytest.raises(PluginError) as caught:
        runs.attempt(fails(moment, ValueError("no\nway"), at=at))

    assert str(caught.value) == (
        f"The callback 'guest' failed in {where}: ValueError: no way. FINETUNE_DEBUG=1 shows where. The run was saved: "
        f"mend the plugin and go on with: finetune run --resume '{runs.run}' (or start one without --callback guest)."
    )
    assert isinstance(caught.value.__cause__, ValueError)
    assert runs.checkpoints
    mended = runs.attempt(does(moment, lambda _: None))
    assert changed(alone.weights, mended.weights) == set()
    assert (mended.epochs, mended.scores) == (alone.epochs, alone.scores)


def test_one_that_broke_is_not_asked_again_and_the_others_are(runs: Runs) -> None:
    asked: list[str] = []

    def both(callback: Any) -> None:
        asked.append("broken")
        raise RuntimeError

    with pytest.raises(PluginError, match=r"failed in after_pred of epoch 1 of frozen: RuntimeError\. "):
        runs.attempt(does("after_pred", both), does("after_fit", lambda _: asked.append("other")))

    assert asked == ["broken", "other"]


def test_ending_the_process_is_a_fault_like_any_other(runs: Runs) -> None:
    with pytest.raises(PluginError, match="failed in after_step of epoch 1 of frozen: SystemExit: 0"):
        runs.attempt(fails("after_step", SystemExit(0)))


def test_an_error_that_says_what_to_do_keeps_its_words(runs: Runs) -> None:
    with pytest.raises(ResourceError, match=r"^The disk is full\.$"):
        runs.attempt(fails("after_epoch", ResourceError("The disk is full.")))

    assert runs.checkpoints


def test_a_loss_that_diverges_is_told_before_what_breaks_with_it(runs: Runs) -> None:
    def spoil(callback: Any) -> None:
        callback.learn.loss_grad = callback.learn.loss_grad * torch.nan

    with pytest.raises(DivergedError, match="The loss became nan in epoch 1, step 1"):
        runs.attempt(does("after_loss", spoil, order=-1), fails("after_fit", ValueError("too late")))

    assert not runs.checkpoints


# ── asking for an end ───────────────────────────────────────────────────────────────────────────────


def test_a_phase_is_ended_after_the_epoch_in_which_that_is_asked_for(runs: Runs) -> None:
    came = runs.attempt(fails("after_epoch", CancelFitException(), at=3))  # the first of the second phase

    assert came.epochs == [("frozen", 1), ("frozen", 2), ("unfrozen", 1)]
    assert came.scores.keys() == {"frozen", "unfrozen"}


@pytest.mark.parametrize("moment", ["before_train", "after_pred", "after_batch", "before_validate"])
def test_a_phase_that_is_to_end_in_its_first_epoch_has_that_one_validated(moment: str, runs: Runs) -> None:
    came = runs.attempt(fails(moment, CancelFitException()))

    assert came.epochs == [("frozen", 1), ("unfrozen", 1)]


@pytest.mark.parametrize("wish", [CancelTrainException, CancelEpochException], ids=["train", "epoch"])
def test_the_training_of_an_epoch_can_be_cut_short(wish: type[Exception], runs: Runs) -> None:
    steps: list[str] = []

    def cut(callback: Any) -> None:
        if callback.learn.training:
            raise wish

    came = runs.attempt(does("before_batch", cut), does("after_step", lambda _: steps.append("taken")))

    assert (came.epochs, len(steps)) == (WHOLE, 4)  # one of two in each epoch


@pytest.mark.parametrize(
    ("moment", "wish"),
    [("before_step", CancelStepException), ("after_pred", CancelBatchException)],
    ids=["step", "batch"],
)
def test_steps_can_be_left_out(moment: str, wish: type[Exception], runs: Runs) -> None:
    def leave_out(callback: Any) -> None:
        if callback.learn.training:
            raise wish

    before = runs.attempt(does(moment, leave_out))
    again = Runs(runs.folder, runs.run / "again").attempt(does(moment, leave_out), epochs=1)

    assert before.epochs == WHOLE
    assert changed(before.weights, again.weights) == set()  # nothing was learned, however long


UNSOUND: Sequence[tuple[str, type[Exception]]] = (
    ("before_fit", CancelFitException),
    ("before_epoch", CancelFitException),
    ("after_epoch", CancelEpochException),
    ("after_validate", CancelValidException),
)


@pytest.mark.parametrize(("moment", "wish"), UNSOUND, ids=[moment for moment, _ in UNSOUND])
def test_what_would_leave_an_epoch_without_its_score_is_refused(moment: str, wish: type[Exception], runs: Runs) -> None:
    said = re.escape(f": {wish.__name__} would leave an epoch without its score there. ")

    with pytest.raises(PluginError, match=f"^The callback 'guest' failed in {moment} of .*{said}"):
        runs.attempt(fails(moment, wish()))


def test_a_batch_of_the_validation_cannot_be_left_out(runs: Runs) -> None:
    def leave_out(callback: Any) -> None:
        if not callback.learn.training:
            raise CancelBatchException

    with pytest.raises(PluginError, match="failed in after_pred of epoch 1 of frozen: CancelBatchException would"):
        runs.attempt(does("after_pred", leave_out))


# ── metrics of plugins ──────────────────────────────────────────────────────────────────────────────


class Unmeasurable(Objective):
    """An objective whose metric breaks."""

    def score(self, logits: Any, targets: Any) -> float:
        raise PluginError("The metric 'kappa' failed: no.")


def test_a_metric_that_breaks_ends_training_with_its_own_words(runs: Runs) -> None:
    job = job_of(runs.folder, **SOON)
    trainer = Trainer(job, SILENT)
    trainer.objective = Unmeasurable(**vars(trainer.objective))

    with pytest.raises(PluginError, match=r"^The metric 'kappa' failed: no\.$"):
        follow(plan(job.config, job.groups, 0.01, "finetune"), trainer, Clock(), lambda: None)

    assert trainer.history == []
