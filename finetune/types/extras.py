"""What plugins may add to a run beside data sets, backbones and targets: metrics, callbacks, commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.types.common import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A registered metric; ``measure`` names an ``(Answered) -> float`` function.

    It is measured and written down where ``--metric NAME`` asks for it, and ``--monitor NAME`` lets it choose the best
    epoch as well, so right answers have to score better than wrong ones. ``is_share``: it is between 0 and 1, and read
    in percent. NaN where the pictures leave it undefined.
    """

    name: str
    summary: str
    tasks: tuple[Task, ...]
    measure: str
    higher_is_better: bool = True
    is_share: bool = False


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What a model answered to ``N`` pictures, beside what is right.

    ``answers`` are float32 (N, K): probabilities, or for regression values in their own units, K for the ``labels`` in
    their order. ``targets`` are, by the task, int64 (N,), the label's number, or float32 (N, K), zeros and ones or the
    values. ``thresholds``, float64 (K,), decide which of several labels are given; None: 0.5 each.
    """

    task: Task
    labels: tuple[str, ...]
    answers: NDArray[np.float32]
    targets: NDArray[np.int64] | NDArray[np.float32]
    thresholds: NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingCallback:
    """A registered callback of fastai's; ``build`` names a ``(CallbackRequest) -> fastai Callback`` function.

    It takes part in training where it is asked for, with ``--callback NAME``, in every phase that has epochs; it is
    built anew for each, and when a resumed run goes on in the middle of one. Its ``order`` is 69 at most: what it does
    comes before the checkpoint of the step. An error that it raises ends the run, once the step was finished without it
    and saved.

    Of fastai's exceptions, ``CancelFitException`` ends the phase, ``CancelTrainException`` and ``CancelEpochException``
    the training part of an epoch: after the step, and the epoch is validated in any case. Those that leave out a batch,
    a backward pass or a step do what they do in fastai. Any other, as in validation, counts as an error.

    The same seed and the same callback end with the same weights. Which pictures come when, and in which view, no
    callback changes; but the generators of random numbers are everybody's, and one that draws from them changes what
    others draw, such as dropout. One that neither draws nor changes anything leaves the weights as they are without it,
    to the last bit. What a callback remembers is in no checkpoint: that a resumed run ends with the same weights holds
    for one that acts on nothing but the learner.
    """

    name: str
    summary: str
    build: str


@dataclass(frozen=True, kw_only=True)
class CallbackRequest:
    """What a callback's ``build`` function is given, once for each phase.

    ``phase`` is its name, ``folder`` the folder ``callbacks/NAME`` of the run, which is there, belongs to this callback
    alone and survives a stop; ``note`` says something to the person at the terminal.
    """

    phase: str
    folder: Path
    note: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Command:
    """A registered command, ``finetune NAME``; ``run`` names a function, whose typed parameters are its options.

    They are read as those of finetune's own commands are, by cyclopts; its docstring is the command's help.
    """

    name: str
    summary: str
    run: str
