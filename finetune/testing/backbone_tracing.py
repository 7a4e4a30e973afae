"""What a published network does with its tensors: the order in which it uses them, and what its head is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

SLACK = 1e-4
"""By what share of the largest number two ways of computing the same may differ."""
FIRST_TOKENS = 8
"""Class, distillation and register tokens come first; so many are looked at."""


@dataclass
class Trace:
    """One forward pass: the names of the tensors used, in the order of their first use, and of their last.

    ``given`` is what each layer that is in no stage was given beside the network's own tensors, in order: first what
    the head is given; None where a tensor was used by itself. ``output`` is what the pass returned.
    """

    first: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    given: list[Tensor | None] = field(default_factory=list)
    output: Any = None


def trace_of(model: nn.Module, images: Tensor, left_out: set[str]) -> Trace:
    """Return what a network does with images, where the tensors named in ``left_out`` are in no stage."""
    names = {id(tensor): name for name, tensor in model.state_dict(keep_vars=True).items()}
    recording = _Recording(names, left_out)
    with torch.no_grad(), recording:
        recording.trace.output = model(images.clone())
    return recording.trace


class _Recording(TorchFunctionMode):
    """Sees every function of torch's that is called; whether a tensor is computed with shows in what comes of it."""

    def __init__(self, names: Mapping[int, str], left_out: set[str]) -> None:
        super().__init__()
        self.names, self.left_out, self.trace, self._step = names, left_out, Trace(), 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = list(_tensors((args, kwargs or {})))
        used = [self.names[id(tensor)] for tensor in tensors if id(tensor) in self.names]
        is_head = bool(self.left_out.intersection(used))
        given = [
            tensor.clone() for tensor in tensors if is_head and id(tensor) not in self.names
        ]  # changed in place, maybe
        result = func(*args, **(kwargs or {}))
        if used and any(True for _ in _tensors(result)):  # not where only a shape or a type was asked for
            self._note(used)
            self.trace.given += [given[0] if given else None] if is_head else []
        return result

    def _note(self, used: list[str]) -> None:
        self._step += 1
        for name in used:
            self.trace.first.setdefault(name, self._step)
            self.trace.last[name] = self._step


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def readings(features: Tensor, given: Tensor) -> Iterator[Tensor]:
    """Yield what published heads make of features, (N, C, h, w), (N, T, C) or (N, C), before their first layer.

    That is the features as they are, their mean, largest value or both, one of the first tokens, the mean of those
    behind them, or a map of as many cells as ``given`` has room for.
    """
    yield features
    if features.ndim == 2:
        return
    tokens = features.flatten(2).transpose(1, 2) if features.ndim == 4 else features  # (N, T, C)
    mean, largest = tokens.mean(1), tokens.amax(1)
    yield from (
        tokens,
        mean,
        largest,
        (mean + largest) / 2,
        torch.cat([mean, largest], 1),
        torch.cat([largest, mean], 1),
    )
    for first in range(min(tokens.shape[1], FIRST_TOKENS)):
        yield tokens[:, first]
        if first:
            yield tokens[:, first:].mean(1)
    side = round((given.numel() / max(1, mean.numel())) ** 0.5)
    if features.ndim == 4 and side > 1:
        yield nn.functional.adaptive_avg_pool2d(features, side)


def is_reading(features: Tensor, given: Sequence[Tensor | None]) -> bool | None:
    """Whether what a head is given was made of the features, or of several heads, the mean of what they are given.

    None where no reading of the features has the size of what the head is given.
    """
    first = given[0] if given else None
    if first is None or len(first) != len(features):
        return None
    alike = [tensor for tensor in given if tensor is not None and tensor.shape == first.shape]
    known = [reading.flatten(1) for reading in readings(features, first) if reading.numel() == first.numel()]
    wanted = [first.flatten(1), torch.stack(alike).mean(0).flatten(1)]
    return any(_is_close(one, other) for one in known for other in wanted) if known else None


def _is_close(one: Tensor, other: Tensor) -> bool:
    return float((one - other).abs().max()) <= SLACK * float(other.abs().max())
