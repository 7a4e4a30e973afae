"""What is written down about each epoch of training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One line of a run's history; ``score`` is the monitored metric, ``lr`` the head's rate at the epoch's end.

    ``train_loss`` is the smoothed loss of the last training steps, ``valid_loss`` the mean over validation pictures.
    """

    phase: str
    epoch: int
    train_loss: float
    valid_loss: float
    score: float
    lr: float
    seconds: float
