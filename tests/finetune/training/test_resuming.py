"""A phase that is stopped at any step and gone on with ends bit for bit as one that never was."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastai.callback.core import Callback

from finetune.clock import Clock
from finetune.reporting import SILENT
from finetune.stopping import Interrupted, Stop, Terminated
from finetune.training.checkpoints import Checkpoints
from finetune.training.journal import Journal
from finetune.training.strategies import plan
from finetune.training.trainer import Trainer
from finetune.training.transfer import follow

from .conftest import SMALL, State, changed, job_of

FROZEN, UNFROZEN = 2 * 2, 2 * 2
"""Steps of each phase: epochs × batches."""
SOON: dict[str, Any] = {"backbone": "squeezenet1_1", "freeze_epochs": 2, "epochs": 2, "unfrozen_lr": 0.003}


class Break(Callback):  # type: ignore[misc]
    """Counts the steps of training, and after so many of them sends this process a signal, or raises an error."""

    steps_before = 0

    def __init__(self, after_steps: int, number: signal.Signals = signal.SIGTERM, order: int | None = None) -> None:
        self.after_steps, self.number, self.breaks_off = after_steps, number, order is not None
        self.order = order or 65  # after all that changes with a step, before Saving looks
        self.count = 0
        self.gathered: State = {}

    def after_fit(self) -> None:
        self.gathered = self.learn.averages.state()

    def after_batch(self) -> None:
        if self.training:
            self.count += 1
            if self.count == self.after_steps:
                self.end()

    def end(self) -> None:
        if self.breaks_off:
            raise RuntimeError("broken off")
        assert signal.getsignal(self.number) not in (signal.SIG_DFL, signal.default_int_handler), "nobody heeds it"
        signal.raise_signal(self.number)

    def finish(self, *, succeeded: bool) -> None: ...


class BreakInValidation(Break):
    """Sends the signal in the validation of an epoch of the run, from 1."""

    def after_batch(self) -> None: ...

    def before_validate(self) -> None:
        self.count += 1
        if self.count == self.after_steps:
            self.end()


@dataclasses.dataclass(frozen=True)
class Ended:
    """What a run came to: weights, the last phase's averages, history without seconds, and the scores of its phases."""

    weights: State
    averages: State
    history: list[dict[str, Any]]
    scores: dict[str, float]


class Runs:
    """Runs on the same pictures, each attempt in a network of its own, as in a new process."""

    def __init__(self, folder: Path, checkpoints: Path, every_s: float = 3600, **options: Any) -> None:
        self.folder, self.checkpoints, self.every_s = folder, checkpoints, every_s
        self.options = {**SOON, **options}

    def attempt(self, interruption: Break | None = None, journal: Journal | None = None) -> Ended:
        job = job_of(self.folder, **self.options)
        following = interruption or Break(0)
        trainer = Trainer(job, SILENT, journal, Stop(), [following])
        outcome = follow(plan(job.config, job.groups, 0.01, "finetune"), trainer, Clock(), lambda: None)
        lines = [{**vars(epoch), "seconds": None} for epoch in trainer.history]
        return Ended(trainer.snapshot(), following.gathered, lines, outcome.scores)

    def stopped(self, *after_steps: int) -> Ended:
        """Stop one attempt after the other, each so many steps after it went on, and let the last one finish."""
        for steps in after_steps:
            with pytest.raises(Terminated):
                self.attempt(Break(steps), self.journal())
        return self.attempt(None, self.journal())

    def journal(self) -> Journal:
        return Journal(Checkpoints(self.checkpoints), self.every_s)


@pytest.fixture
def runs(picture_folder: Callable[..., Path], tmp_path: Path) -> Callable[..., Runs]:
    folder = picture_folder(count=4, parts=("train", "valid"))
    return lambda **options: Runs(folder, tmp_path / "checkpoints", **options)


def assert_same(found: Ended, expected: Ended) -> None:
    assert found.history == expected.history
    assert found.scores == expected.scores
    assert changed(expected.weights, found.weights) == set()
    assert changed(expected.averages, found.averages) == set()


WAYS: dict[str, dict[str, Any]] = {
    "AdamW": {"optimizer": "AdamW", "precision": "fp32"},
    "SGD, in steps": {"optimizer": "SGD", "schedule": "StepLR", "step_epochs": 1},
    "Adagrad, focal, impatient": {"optimizer": "Adagrad", "imbalance": "focal", "patience": 1},
    "bf16, mixup, averaged": {"average": "both", "mix": "mixup", "precision": "bf16", "monitor": "log-loss"},
    "batch norms, cutmix, sampled": {**SMALL, "imbalance": "sampling", "mix": "cutmix", "average": "ema"},
    "dropout, RMSprop, cosine": {"head": "fastai", "optimizer": "RMSprop", "schedule": "CosineAnnealingLR"},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_is_stopped_at_every_step_ends_as_one_that_never_was(runs: Callable[..., Runs], way: str) -> None:
    run = runs(**WAYS[way])

    assert_same(run.stopped(*[1] * (FROZEN + UNFROZEN)), run.attempt())


@pytest.mark.parametrize("steps", [(1,), (FROZEN - 1, 3), (FROZEN, 2, 1), (FROZEN + UNFROZEN - 1,)], ids=str)
def test_a_run_that_is_stopped_now_and_then_ends_as_one_that_never_was(
    runs: Callable[..., Runs], steps: tuple[int, ...]
) -> None:
    run = runs(mix="mixup", average="both")

    assert_same(run.stopped(*steps), run.attempt())


@pytest.mark.parametrize("order", [65, 75], ids=["before a checkpoint", "after it"])
@pytest.mark.parametrize("steps", [2, FROZEN + 1])
def test_a_run_that_breaks_off_goes_on_from_its_newest_checkpoint(
    runs: Callable[..., Runs], steps: int, order: int
) -> None:
    run = runs(every_s=0)

    with pytest.raises(RuntimeError, match="broken off"):
        run.attempt(Break(steps, order=order), run.journal())
    taken = Break(0)
    found = run.attempt(taken, run.journal())

    assert_same(found, run.attempt())
    assert taken.count == FROZEN + UNFROZEN - steps + (order == 65)


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_signal_while_an_epoch_is_validated_ends_the_run_with_that_epoch_saved(
    runs: Callable[..., Runs], at: int
) -> None:
    run = runs(mix="mixup")

    with pytest.raises(Terminated):
        run.attempt(BreakInValidation(at), run.journal())
    journal = run.journal()
    assert len(journal.history) == at
    taken = Break(0)
    found = run.attempt(taken, journal)

    assert_same(found, run.attempt())
    assert taken.count == FROZEN + UNFROZEN - 2 * at


@pytest.mark.parametrize(("number", "ending"), [(signal.SIGINT, Interrupted), (signal.SIGTERM, Terminated)])
def test_a_signal_ends_training_with_what_it_is_after_a_checkpoint(
    runs: Callable[..., Runs], number: signal.Signals, ending: type[BaseException]
) -> None:
    run = runs()

    with pytest.raises(ending, match=f"^Stopped by {number.name}"):
        run.attempt(Break(3, number), run.journal())

    midway = run.journal().midway("frozen")
    assert midway is not None
    assert (midway.epoch, midway.step, midway.steps_done) == (1, 1, 3)
    assert midway.share_done == pytest.approx(3 / FROZEN)
    assert run.journal().midway("unfrozen") is None


def test_what_is_done_is_not_done_again(runs: Callable[..., Runs]) -> None:
    run = runs()
    with pytest.raises(Terminated):
        run.attempt(Break(FROZEN + 3), run.journal())
    taken = Break(0)

    run.attempt(taken, run.journal())

    assert taken.count == UNFROZEN - 3
