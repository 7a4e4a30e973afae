"""Callbacks of plugins: they take part in a phase, and neither break it nor leave it half-done."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fastai.callback.core import (
    Callback,
    CancelBackwardException,
    CancelBatchException,
    CancelEpochException,
    CancelFitException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
    event,
)

from finetune.errors import FinetuneError, PluginError
from finetune.plugins.calling import blaming, comes_from_the_user, load_function, reason
from finetune.run_folder import resuming_command, writing
from finetune.types import CallbackRequest, TrainingCallback

FOLDER = "callbacks"
"""Folder in a run's, with one for each callback."""
LAST_ORDER = 69
"""Before ``Saving``, so that a checkpoint holds what a stranger did."""

BACKWARD, STEP = ("before_backward",), ("before_step",)
BATCH = ("before_batch", "after_pred", "after_loss", *BACKWARD, "after_backward", *STEP, "after_step")
TRAIN = ("before_train", *BATCH, "after_cancel_backward", "after_cancel_step", "after_cancel_batch", "after_batch")
EPOCH = (*TRAIN, "after_train", "before_validate", "after_validate", "after_epoch")
SOUND: Mapping[type[Exception], tuple[str, ...]] = {
    CancelBackwardException: BACKWARD,
    CancelStepException: STEP,
    CancelBatchException: BATCH,
    CancelTrainException: TRAIN,
    CancelEpochException: TRAIN,
    CancelFitException: EPOCH,
}
"""In which events fastai's exceptions leave every epoch with a score; but for the last only while training."""
_CANCELS = (*SOUND, CancelValidException)
_EVENTS = [name for name in vars(event) if name.startswith(("before_", "after_"))]


class Strangers:
    """The callbacks of plugins in one phase of the run in the folder ``run``, and what they ask for.

    ``failure`` is that of the first that broke: it is not asked again, and the phase is to end as soon as it can be
    saved. ``ends_training`` asks to end the training part of an epoch, ``ends_phase`` the phase after the epoch.
    """

    def __init__(self, phase: str, run: Path = Path()) -> None:
        self.callbacks: list[Callback] = []
        self.failure: BaseException | None = None
        self.ends_training = self.ends_phase = False
        self._phase, self._run = phase, run

    def add(self, name: str, callback: Callback) -> None:
        """Let one more take part; from now on its events are looked after."""
        callback.order = min(callback.order, LAST_ORDER)
        for moment in _EVENTS:
            if method := getattr(callback, moment, None):
                setattr(callback, moment, partial(self._call, name, callback, moment, method))
        self.callbacks.append(callback)

    def raise_failure(self) -> None:
        """Raise ``PluginError`` where a stranger broke, or what it raised where that is for the user to act on."""
        if self.failure is not None:
            raise self.failure

    def _call(self, name: str, callback: Callback, moment: str, method: Callable[[], object]) -> None:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout carries results only
                method()
        except _CANCELS as wish:
            if not self._heeds(wish, moment, callback):
                said = f"{type(wish).__name__} would leave an epoch without its score there"
                self._fail(name, callback, moment, wish, said)
        except BaseException as error:  # SystemExit included
            if comes_from_the_user(error):
                raise
            self._fail(name, callback, moment, error, reason(error))

    def _heeds(self, wish: Exception, moment: str, callback: Callback) -> bool:
        """Do what a stranger asks for, and say whether it can be done.

        The ends of an epoch's training and of a phase wait for the last callback of the step, or of the epoch.
        """
        ends_phase = isinstance(wish, CancelFitException)
        is_training = callback.learn.training or moment == "before_train"
        if moment not in SOUND.get(type(wish), ()) or not (ends_phase or is_training):
            return False
        if isinstance(wish, CancelBackwardException | CancelStepException | CancelBatchException):
            raise wish
        self.ends_training, self.ends_phase = is_training, self.ends_phase or ends_phase
        return True

    def _fail(self, name: str, callback: Callback, moment: str, error: BaseException, said: str) -> None:
        callback.run = False
        if self.failure is None:
            known = isinstance(error, FinetuneError | MemoryError)
            self.failure = error if known else PluginError(self._told(name, callback, moment, said))
            self.failure.__cause__ = None if known else error

    def _told(self, name: str, callback: Callback, moment: str, said: str) -> str:
        where = self._phase if moment.endswith("_fit") else f"epoch {callback.learn.epoch + 1} of {self._phase}"
        again = f"{resuming_command(self._run)} (or start one without --callback {name})"
        return (
            f"The callback '{name}' failed in {moment} of {where}: {said}. FINETUNE_DEBUG=1 shows where. The run was "
            f"saved: mend the plugin and go on with: {again}."
        )


Builders = Mapping[str, Callable[[CallbackRequest], Any]]
"""What makes the callbacks that a run was asked for, by their names."""


def builders(callbacks: Iterable[TrainingCallback]) -> Builders:
    """Return what makes the callbacks of a run; raise ``PluginError`` where a plugin's code cannot be loaded."""
    return {found.name: load_function(found.build, f"The callback '{found.name}'") for found in callbacks}


def strangers(made_by: Builders, run: Path, note: Callable[[str], None], phase: str) -> Strangers:
    """Build the callbacks of the run in the folder ``run`` for a phase.

    Raises ``PluginError`` for what is no callback of fastai's, and ``ResourceError`` where a folder cannot be made.
    """
    invited = Strangers(phase, run)
    for name, build in made_by.items():
        folder = run / FOLDER / name
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with blaming(f"The callback '{name}'"):
            callback = build(CallbackRequest(phase=phase, folder=folder, note=note))
        if not isinstance(callback, Callback):
            found = f"its build function returned {type(callback).__name__} instead of a Callback of fastai's"
            raise PluginError(f"The callback '{name}' is broken: {found}.")
        invited.add(name, callback)
    return invited
