"""The learning rate: how loss answers to it, measured by fastai's sweep."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import takewhile
from typing import Any

from fastai.callback.schedule import LRFinder, ParamScheduler, valley
from torch import Tensor

from finetune.errors import DivergedError
from finetune.types import RateCurve

CURVE_ENDS = slice(10, -5)
"""What is left of a rate curve: its first and last steps say nothing, as in fastai's ``lr_find``."""


class RateSweep(LRFinder):  # type: ignore[misc]
    """fastai's sweep over growing rates, without the weights' detour through a file: ``Trainer`` keeps them."""

    def before_fit(self) -> None:
        """Start the sweep."""
        ParamScheduler.before_fit(self)
        self.best_loss = math.inf

    def after_fit(self) -> None:
        """Leave the weights to the trainer."""


def swept(learner: Any, rates: tuple[float, ...]) -> RateCurve:
    """Return the curve that a sweep of fastai's over a learner finds; its weights are other ones then.

    It is no training that a table of epochs would tell of. Raises as ``rate_curve``.
    """
    sweep = RateSweep()
    with learner.no_bar(), learner.no_logging():
        learner.fit(sweep.num_it // len(learner.dls.train) + 1, rates, cbs=sweep)
    return rate_curve(learner.recorder.lrs, learner.recorder.losses)


def rate_curve(rates: Iterable[float], losses: Iterable[Tensor]) -> RateCurve:
    """Return the curve up to where the loss is no number any more, and the rate it suggests.

    Raises ``DivergedError`` when nothing usable is left.
    """
    pairs = ((float(rate), float(loss)) for rate, loss in zip(rates, losses, strict=True))
    finite = list(takewhile(lambda pair: math.isfinite(pair[1]), pairs))[CURVE_ENDS]
    if not finite:
        raise DivergedError(
            "No learning rate keeps the loss finite; check the pictures, or start from other --weights."
        )
    kept_rates, kept_losses = zip(*finite, strict=True)
    suggestion, _ = valley(kept_rates, kept_losses, len(finite))
    return RateCurve(rates=kept_rates, losses=kept_losses, suggestion=suggestion)
