"""Weights & Biases follows a run through fastai's callback: offline, unless the user logged in or says otherwise."""

from __future__ import annotations

import os
import secrets
from typing import Any, Literal

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # before the import: nothing leaves that nobody asked for

import wandb
from fastai.callback.wandb import WandbCallback

from finetune.training.learner.trackers import PROJECT, Followed, complete_log, plotted, refused


class WeightsAndBiases(WandbCallback):  # type: ignore[misc]
    """fastai's callback with one run and one count of steps for all phases."""

    steps_before = 0

    def __init__(self, run: Any) -> None:
        super().__init__(log=None, log_preds=False)
        self._run = run

    @property
    def opt(self) -> Any:
        """What fastai's takes the rates from."""
        return plotted(self.learn.opt)

    def before_fit(self) -> None:
        """Go on with the run: fastai's would send off all it finds in the learner, and print what it misses."""
        self._wandb_epoch = round(self._run.summary.get("epoch") or 0)

    def after_batch(self) -> None:
        """Send loss and rates of a training step, under a number that fastai's counts up first."""
        self._wandb_step = self.steps_before + int(self.train_iter) - self.training
        super().after_batch()

    def after_epoch(self) -> None:
        """Send what the epoch came to."""
        complete_log(self)
        super().after_epoch()

    def finish(self, *, succeeded: bool) -> None:
        """Close the run, and wait until all of it is sent."""
        self._run.finish(exit_code=0 if succeeded else 1)


def begin(run: Followed) -> WeightsAndBiases:
    """Return what follows a run in W&B; raises ``ResourceError`` where it cannot begin.

    WANDB_PROJECT names the project.
    """
    run_id, _ = run.id_in("wandb", lambda: secrets.token_hex(8))
    try:
        begun = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            id=run_id,
            resume="allow",
            dir=run.folder,
            config=dict(run.facts),
            mode=_mode(),
            settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
        )
    except wandb.Error as error:
        raise refused("wandb", error) from error
    return WeightsAndBiases(begun)


def _mode() -> Literal["offline"] | None:
    """Return None where the user has said where runs go, by WANDB_MODE or by having logged in."""
    is_decided = "WANDB_MODE" in os.environ or wandb.login(prompt=False, verify=False)
    return None if is_decided else "offline"
