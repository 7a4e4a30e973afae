"""Runs that are followed in TensorBoard, Weights & Biases or MLflow, through fastai's callbacks where it has them.

One run is one run there, too: its phases come one after the other, and a run that is resumed goes on in the same. Files
lie in the run's folder. Nothing goes to a network unless the user's own configuration of the tracker says so, and
neither pictures nor predictions nor weights are given away.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

from finetune.config import Tracker
from finetune.errors import ConfigError, ResourceError
from finetune.run_folder import write
from finetune.training.tracking import check_trackers

IDS = "tracking.json"
"""File in a run's folder: under which id each tracker knows the run."""
PROJECT = "finetune"
"""The project or experiment there, unless the tracker's own configuration names another."""


class Tracking(Protocol):
    """A fastai callback that follows one run; ``steps_before`` are those of the phases before the next fit."""

    steps_before: int

    def finish(self, *, succeeded: bool) -> None:
        """Close the run there."""


@dataclass(frozen=True, kw_only=True)
class Followed:
    """A run that is followed: its folder and name, what describes it (plain values), and whom to tell of trouble."""

    folder: Path
    name: str
    facts: Mapping[str, Any]
    note: Callable[[str], None]

    def id_in(self, tracker: Tracker, new: Callable[[], str]) -> tuple[str, bool]:
        """Return the run's id in a tracker, and whether it is new; it is remembered in the run's folder.

        Raises ``ConfigError`` where what is remembered is damaged.
        """
        path = self.folder / IDS
        ids = _ids_in(path) if path.exists() else {}
        if tracker in ids:
            return ids[tracker], False
        ids[tracker] = new()
        write(path, json.dumps(ids, indent=2).encode())
        return ids[tracker], True


def _ids_in(path: Path) -> dict[str, str]:
    try:
        ids = json.loads(path.read_bytes())
    except (OSError, ValueError):
        ids = None
    if not isinstance(ids, dict) or not all(isinstance(known, str) for known in ids.values()):
        raise ConfigError(
            f"{path} is damaged. Delete it and repeat the command: the run goes on, and is a new one in its trackers."
        )
    return ids


def trackers(
    names: Iterable[Tracker], folder: Path, name: str, facts: Mapping[str, Any], note: Callable[[str], None]
) -> list[Tracking]:
    """Begin a run, or go on with it, in each tracker, and return what follows it there: callbacks for every phase.

    ``folder``, ``name``, ``facts`` and ``note`` are those of ``Followed``. Raises ``ResourceError`` where a package is
    missing, or a tracker cannot begin.
    """
    asked = tuple(dict.fromkeys(names))
    check_trackers(asked)
    run = Followed(folder=folder, name=name, facts=facts, note=note)
    return [import_module(f"finetune.training.learner.to_{tracker}").begin(run) for tracker in asked]


def refused(tracker: Tracker, error: Exception) -> ResourceError:
    """Return what says that a tracker cannot begin."""
    cause = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return ResourceError(f"--track {tracker} cannot begin: {cause}. Check its configuration, or train without it.")


def plotted(optimizer: Any) -> SimpleNamespace:
    """Return what is worth a curve of an optimizer; torch's have options beside it that are no figures."""
    figures = [{name: float(group[name]) for name in ("lr", "mom") if name in group} for group in optimizer.hypers]
    return SimpleNamespace(hypers=figures)


def complete_log(callback: Any) -> None:
    """Put in the training loss where training was cut short: fastai leaves it out, and shifts all that follows."""
    recorder = callback.recorder
    if len(recorder.log) < len(recorder.metric_names):
        recorder.log = [*recorder.log[:1], float(callback.smooth_loss), *recorder.log[1:]]
