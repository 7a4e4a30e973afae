"""What a run has to remember to go on where it was: written as checkpoints, read back when it is resumed.

A checkpoint holds what the finished steps came to and, in the middle of a phase, everything that the next training
step depends on: network, optimizer, position in the schedule, random generators.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from finetune.errors import ModelError
from finetune.training.checkpoints import Checkpoints
from finetune.training.history import Epoch

FORMAT = 1
"""Of the facts and tensors in a checkpoint; another number for whatever ``Journal`` could not go on from."""


@dataclass(kw_only=True)
class Outcome:
    """What each step reached in the monitored metric, and the one whose weights are the best so far.

    ``temperature`` divides its logits. ``reasons`` say why 'auto' went on or stopped, and what averages came to,
    ``plan`` which steps it found worth trying after the probe; None before it has measured.
    """

    scores: dict[str, float] = field(default_factory=dict)
    kept: str = ""
    temperature: float = 1.0
    reasons: tuple[str, ...] = ()
    plan: tuple[str, ...] | None = None
    weights: dict[str, Tensor] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Midway:
    """The middle of a phase: ``step`` batches of ``epoch`` (from 0) are learned from.

    ``share_done`` (0..1) is the position in the schedule, ``smooth_loss`` fastai's smoothed loss with its count,
    ``best`` the best epoch so far. ``tensors`` are the optimizer's with its rates, the averages', the best epoch's and
    the random generators'.
    """

    phase: str
    epoch: int
    step: int
    steps_done: int
    share_done: float
    smooth_loss: tuple[float, int]
    best: Epoch | None
    tensors: dict[str, Tensor] = field(repr=False)


class Journal:
    """The memory of one run; without ``checkpoints`` it remembers in memory only.

    ``outcome``, ``history``, ``network`` (its weights) and ``lr`` (None until it is known) are as the newest checkpoint
    has them; so are two decisions that look at the machine and are made once: ``on_activations`` (by phase, whether it
    trains on what leaves the frozen part) and ``precision`` (of training, as torch names it). ``every_s`` is how much
    training may be lost at most, in seconds, ``run`` the id of the run. Raises ``ModelError`` for a checkpoint of
    another version or another run, and as ``Checkpoints.load`` does.
    """

    def __init__(self, checkpoints: Checkpoints | None = None, every_s: float = 0.0, run: str = "") -> None:
        self.outcome, self.history = Outcome(), list[Epoch]()
        self.lr: float | None = None
        self.on_activations: dict[str, bool] = {}
        self.precision: str | None = None
        self._run = run
        self.network: dict[str, Tensor] = {}
        self._midway: Midway | None = None
        self._checkpoints, self._every_s = checkpoints, every_s
        self._saved = time.monotonic()
        self.note = ""
        if checkpoints and (found := checkpoints.load()):
            self.note = found.note
            try:
                self._read(found.facts, found.tensors)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise self.unfit() from error

    def unfit(self) -> ModelError:
        """Return what says that the checkpoint fits neither this version nor its networks, and what to do."""
        folder = self._checkpoints.folder if self._checkpoints else "The checkpoint"
        return ModelError(
            f"{folder} was written by another run, or another version of finetune: delete it and repeat the command to "
            "train from the start."
        )

    @property
    def has_begun(self) -> bool:
        """Whether an earlier attempt at this run left a checkpoint to go on from."""
        return bool(self.network)

    def midway(self, phase: str) -> Midway | None:
        """Return the state in the middle of a phase, once, where the run was stopped in it."""
        if self._midway is None or self._midway.phase != phase:
            return None
        found, self._midway = self._midway, None
        return found

    def is_midway(self, phase: str) -> bool:
        """Whether the run was stopped in the middle of a phase, and has not gone on with it yet."""
        return self._midway is not None and self._midway.phase == phase

    @property
    def is_due(self) -> bool:
        """Whether it is time for another checkpoint."""
        return self._checkpoints is not None and time.monotonic() - self._saved >= self._every_s

    def save(self, network: Mapping[str, Tensor], midway: Midway | None = None) -> None:
        """Write a checkpoint; raises ``ResourceError`` where the disk has no room for it."""
        if self._checkpoints is None:
            return
        tensors = {
            **prefixed("network", network),
            **prefixed("kept", self.outcome.weights),
            **(prefixed("midway", midway.tensors) if midway else {}),
        }
        self._checkpoints.save(tensors, self._facts(midway), _where(self.outcome, midway))
        self._saved = time.monotonic()

    def _facts(self, midway: Midway | None) -> dict[str, Any]:
        outcome = {name: value for name, value in vars(self.outcome).items() if name != "weights"}
        return {
            "format": FORMAT,
            "run": self._run,
            "precision": self.precision,
            "lr": self.lr,
            "on_activations": self.on_activations,
            "outcome": outcome,
            "history": [dataclasses.asdict(epoch) for epoch in self.history],
            "midway": midway and {**vars(midway), "best": midway.best and vars(midway.best), "tensors": None},
        }

    def _read(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        if (facts["format"], facts["run"]) != (FORMAT, self._run):
            raise ValueError(facts["format"])
        self.precision = facts["precision"]
        outcome = facts["outcome"]
        plan = outcome["plan"]
        self.lr = facts["lr"]
        self.on_activations = facts["on_activations"]
        self.network = under("network", tensors)
        self.history += [Epoch(**epoch) for epoch in facts["history"]]
        self.outcome = Outcome(
            scores=outcome["scores"],
            kept=outcome["kept"],
            temperature=outcome["temperature"],
            reasons=tuple(outcome["reasons"]),
            plan=None if plan is None else tuple(plan),
            weights=under("kept", tensors),
        )
        if midway := facts["midway"]:
            best = midway["best"] and Epoch(**midway["best"])
            value, count = midway["smooth_loss"]
            restored = {"best": best, "smooth_loss": (value, count), "tensors": under("midway", tensors)}
            self._midway = Midway(**{**midway, **restored})


def _where(outcome: Outcome, midway: Midway | None) -> str:
    """Return in a few words what a checkpoint holds."""
    if midway:
        return f"{midway.phase}, epoch {midway.epoch + 1}, step {midway.step}"
    return f"after {', '.join(outcome.scores) or 'nothing yet'}"


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by names that begin with a prefix, so that one checkpoint holds those of several owners."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under a prefix, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
