"""Averages of weights: a moving one over the steps, and a greedy soup of the best epochs.

Both are worth having only where they win: who uses them keeps the best single epoch unless an average is strictly
better than it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

HORIZON = 0.1
"""Share of a phase's steps that the moving average looks back on, about."""
SLOWEST_DECAY = 0.999
SOUP_EPOCHS = 5
"""How many of the best epochs are candidates for the soup."""

Weights = Mapping[str, Tensor]


class MovingAverage:
    """The exponential moving average of what learns in a model: parameters, and statistics that are floating-point.

    What is frozen takes neither time nor memory. ``steps`` are those of the phase, which say how far to look back.
    """

    def __init__(self, model: nn.Module, steps: int) -> None:
        self._model = model
        self._followed = _followed(model)
        decay = min(SLOWEST_DECAY, max(0.0, 1 - 1 / max(HORIZON * steps, 1)))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        self._average = AveragedModel(self._followed, multi_avg_fn=average, use_buffers=True)

    def update(self) -> None:
        """Take one more step into the average; the first one is the average."""
        self._average.update_parameters(self._followed)

    def weights(self) -> dict[str, Tensor]:
        """Return the state of the model with the average in place of what learns, as a copy."""
        state = {name: tensor.detach().clone() for name, tensor in self._model.state_dict().items()}
        return state | {name: tensor.clone() for name, tensor in _named(self._average.module)}

    def state(self) -> dict[str, Tensor]:
        """Return what the next update depends on, for a checkpoint: the average, and how many steps are in it."""
        return {name: tensor.clone() for name, tensor in self._average.state_dict().items()}

    def load(self, state: Weights) -> None:
        """Go on with a state that ``state`` returned; raises ``RuntimeError`` for that of another model."""
        self._average.load_state_dict(dict(state))


def _followed(model: nn.Module) -> nn.Module:
    """Return a module of the tensors of a model that learning changes, and nothing else; they are shared."""
    followed, in_state = nn.Module(), model.state_dict().keys()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            followed.register_parameter(_without_dots(name), parameter)
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point() and name in in_state:
            followed.register_buffer(_without_dots(name), buffer)
    return followed


def _without_dots(name: str) -> str:
    return name.replace(".", "/")  # torch takes a dot for a submodule


def _named(followed: nn.Module) -> list[tuple[str, Tensor]]:
    return [(name.replace("/", "."), tensor) for name, tensor in followed.state_dict().items()]


class Candidate(NamedTuple):
    """The weights of an epoch and their validation score, of which more is better."""

    score: float
    weights: Weights


def kept_candidates(
    candidates: Sequence[Candidate], score: float, weights: Callable[[], Weights]
) -> tuple[Candidate, ...]:
    """Return the best ``SOUP_EPOCHS`` of the candidates and one more, best first; of equals, the earlier.

    ``weights`` is called only where its copy is kept.
    """
    if len(candidates) == SOUP_EPOCHS and score <= candidates[-1].score:
        return tuple(candidates)
    latest = Candidate(score, {name: tensor.detach().clone() for name, tensor in weights().items()})
    return tuple(sorted([*candidates, latest], key=lambda candidate: -candidate.score)[:SOUP_EPOCHS])


class Soup(NamedTuple):
    """An average of several epochs' weights, its validation score, and which candidates are in it."""

    score: float
    weights: Weights
    members: tuple[int, ...]


def greedy_soup(candidates: Sequence[Candidate], evaluate: Callable[[Weights], float]) -> Soup:
    """Return the greedy soup (Wortsman et al. 2022) of at least one candidate.

    Starts with the best and adds one after the other, best first, where ``evaluate`` does not fall for it.
    """
    order = sorted(range(len(candidates)), key=lambda number: -candidates[number].score)
    best = candidates[order[0]]
    soup = Soup(best.score, best.weights, (order[0],))
    for number in order[1:]:
        members = (*soup.members, number)
        weights = averaged([candidates[member].weights for member in members])
        if (score := evaluate(weights)) >= soup.score:
            soup = Soup(score, weights, members)
    return soup


def averaged(ingredients: Sequence[Weights]) -> dict[str, Tensor]:
    """Return the mean of each tensor; of whole numbers, such as counts of batches, those of the first."""

    def mean(name: str, first: Tensor) -> Tensor:
        if not first.is_floating_point():
            return first.clone()
        return torch.stack([weights[name].double() for weights in ingredients]).mean(dim=0).to(first.dtype)

    return {name: mean(name, first) for name, first in ingredients[0].items()}
