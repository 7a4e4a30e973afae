"""The callback: a clock that is read where fastai's loop goes from one thing to the next."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from fastai.callback.core import Callback

from finetune.types import CallbackRequest
from finetune_profile.record import STAGES, EpochProfile, read, save

WRITTEN_EVERY_S = 5.0
"""How much of what was measured a kill may cost; writing after every epoch would cost more than measuring."""


class TimedBatches:
    """The batches of an epoch, and the seconds that were waited for them."""

    def __init__(self, batches: Any, profile: Profile) -> None:
        self._batches, self._profile = batches, profile

    def __len__(self) -> int:
        return len(self._batches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self._batches)
        while True:
            started = perf_counter()
            batch = next(batches, None)
            self._profile.add("data", perf_counter() - started)
            if batch is None:
                return
            yield batch


class Profile(Callback):  # type: ignore[misc]
    """Measures the stages of every training step, and every validation; draws no random numbers and changes nothing."""

    order = -60  # the first to be called when a stage ends

    def __init__(self, phase: str, folder: Path) -> None:
        self._phase, self._folder = phase, folder
        self._written = perf_counter()
        self._epochs = [*read(folder)]
        self._seconds: dict[str, float] = {}
        self._pictures = 0
        self._mark = 0.0

    def add(self, stage: str, seconds: float) -> None:
        """Count so many seconds to a stage of the epoch."""
        self._seconds[stage] += seconds

    def _ends(self, stage: str) -> None:
        """Count the time since the last mark, and set the next."""
        now = perf_counter()
        self._seconds[stage] += now - self._mark
        self._mark = now

    def before_epoch(self) -> None:
        """Begin with an epoch."""
        self._seconds, self._pictures = dict.fromkeys(STAGES, 0.0), 0
        self._started = perf_counter()

    def before_train(self) -> None:
        """Measure how long the loop waits for batches."""
        self.learn.dl = TimedBatches(self.learn.dl, self)

    def before_batch(self) -> None:
        """Mark the beginning of the forward pass."""
        self._mark = perf_counter()

    def after_pred(self) -> None:
        """Count the forward pass, and mark the beginning of the loss."""
        if self.training:
            self._ends("forward")

    def after_loss(self) -> None:
        """Count the loss."""
        if self.training:
            self._ends("loss")

    def before_backward(self) -> None:
        """Mark the beginning of the backward pass."""
        self._mark = perf_counter()

    def after_backward(self) -> None:
        """Count the backward pass."""
        self._ends("backward")

    def before_step(self) -> None:
        """Mark the beginning of the optimizer's step."""
        self._mark = perf_counter()

    def after_step(self) -> None:
        """Count the optimizer's step."""
        self._ends("optimizer")

    def after_batch(self) -> None:
        """Count the pictures."""
        if self.training:
            self._pictures += len(self.yb[0])

    def before_validate(self) -> None:
        """Mark the beginning of the validation."""
        self._validating = perf_counter()

    def after_validate(self) -> None:
        """Count the validation."""
        self.add("validation", perf_counter() - self._validating)

    def after_epoch(self) -> None:
        """Keep what was measured; of epochs that a resumed run repeats, the newer."""
        epoch = EpochProfile(
            phase=self._phase,
            epoch=self.epoch + 1,
            pictures=self._pictures,
            total_s=perf_counter() - self._started,
            seconds=self._seconds,
            peak_memory_bytes=peak_memory_bytes(),
        )
        before = [known for known in self._epochs if known.phase != self._phase or known.epoch < epoch.epoch]
        self._epochs = [*before, epoch]
        if perf_counter() - self._written > WRITTEN_EVERY_S:
            self._save()

    def after_fit(self) -> None:
        """Write what is left."""
        self._save()

    def _save(self) -> None:
        save(self._folder, self._epochs)
        self._written = perf_counter()


def build(request: CallbackRequest) -> Profile:
    """Return what measures a phase; what was measured of earlier ones, and before a stop, is kept."""
    return Profile(request.phase, request.folder)


def peak_memory_bytes() -> int | None:
    """Return the most memory that this process had so far, None where the system does not say."""
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
