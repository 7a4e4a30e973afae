"""What plugins may add to a run beside data sets, backbones and targets: metrics, callbacks, sections, commands."""

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

    Every metric of a run's task is measured and written down, and ``--monitor NAME`` lets it choose the best epoch.
    ``is_share``: it is between 0 and 1, and read in percent. NaN where the pictures leave it undefined.
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
    their order. ``targets`` are, by the task, int64 (N,), the number of the label; float32 (N, K) of zeros and ones; or
    float64 (N, K), the values. ``thresholds``, float64 (K,), decide which of several labels are given; None: 0.5 each.
    """

    task: Task
    labels: tuple[str, ...]
    answers: NDArray[np.float32]
    targets: NDArray[np.int64] | NDArray[np.float32] | NDArray[np.float64]
    thresholds: NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingCallback:
    """A registered callback of fastai's; ``build`` names a ``(CallbackRequest) -> fastai Callback`` function.

    It takes part in training where it is asked for, with ``--callback NAME``, in every phase that has epochs.
    """

    name: str
    summary: str
    build: str


@dataclass(frozen=True, kw_only=True)
class CallbackRequest:
    """What a callback's ``build`` function is given, once for each phase.

    ``phase`` is its name, ``folder`` a folder in the run's that belongs to this callback alone and survives a stop,
    ``note`` says something to the person at the terminal.
    """

    phase: str
    folder: Path
    note: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ReportSection:
    """A registered section of a run's report; ``build`` names a function from the run's records to its blocks."""

    name: str
    title: str
    build: str


@dataclass(frozen=True, kw_only=True)
class Command:
    """A registered command, ``finetune NAME``; ``run`` names a function, whose typed parameters are its options.

    They are read as those of finetune's own commands are, by cyclopts; its docstring is the command's help.
    """

    name: str
    summary: str
    run: str
