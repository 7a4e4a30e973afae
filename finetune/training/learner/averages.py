"""Averages of the weights of a phase, gathered while it is trained, and kept where they beat its best epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from fastai.callback.core import Callback
from torch import Tensor, nn

from finetune.config import Averaging
from finetune.training.averaging import Candidate, MovingAverage, greedy_soup, kept_candidates
from finetune.training.history import Epoch
from finetune.training.journal import prefixed, under
from finetune.training.objective import Objective


class Average(NamedTuple):
    """An average of weights with its score, and what it is called."""

    name: str
    score: float
    weights: Mapping[str, Tensor]


class Averages(Callback):  # type: ignore[misc]
    """Follow the weights from step to step ('ema') and from epoch to epoch ('soup'), as ``kind`` says."""

    order = 62  # after BestEpoch, before Saving

    def __init__(
        self, kind: Averaging, model: nn.Module, steps: int, objective: Objective, history: list[Epoch]
    ) -> None:
        self._objective, self._history = objective, history
        self._moving = MovingAverage(model, steps) if kind in ("ema", "both") else None
        self._is_cooking = kind in ("soup", "both")
        self._candidates: tuple[Candidate, ...] = ()

    def after_batch(self) -> None:
        """Take one more step into the moving average."""
        if self.training and self._moving:
            self._moving.update()

    def after_epoch(self) -> None:
        """Take one more epoch for the soup where it is good enough."""
        if self._is_cooking:
            merit = self._objective.merit(self._history[-1].score)
            self._candidates = kept_candidates(self._candidates, merit, self.model.state_dict)

    def found(self, score: Callable[[Mapping[str, Tensor]], float]) -> Iterator[Average]:
        """Yield the averages with their scores, as ``score`` measures them on the validation pictures."""
        if self._moving:
            weights = self._moving.weights()
            yield Average("the moving average", score(weights), weights)
        if len(self._candidates) > 1:
            soup = greedy_soup(self._candidates, lambda weights: self._objective.merit(score(weights)))
            yield Average(f"a soup of {len(soup.members)} epochs", score(soup.weights), soup.weights)

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint has to hold of it."""
        state = prefixed("moving", self._moving.state()) if self._moving else {}
        for number, candidate in enumerate(self._candidates):
            state |= prefixed(f"soup.{number}", candidate.weights)
            state[f"merit.{number}"] = torch.tensor(candidate.score, dtype=torch.float64)
        return state

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what ``state`` returned."""
        if self._moving:
            self._moving.load(under("moving", state))
        merits = under("merit", state)
        self._candidates = tuple(
            Candidate(float(merit), under(f"soup.{number}", state)) for number, merit in merits.items()
        )
