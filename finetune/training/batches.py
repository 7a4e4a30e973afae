"""Batches as fastai takes them, made ahead: the next one is decoded while this one is learned from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Item = TypeVar("Item")
Made = TypeVar("Made")


def made_ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """Yield ``make(item)`` for each item, the next one already in the making in a thread of its own."""
    pending: Future[Made] | None = None
    with ThreadPoolExecutor(1) as thread:
        for item in items:
            started = thread.submit(make, item)
            if pending:
                yield pending.result()
            pending = started
        if pending:
            yield pending.result()


class Batches:
    """Batches (inputs, targets) in the order of the pictures or, ``shuffled``, in a new order in every epoch.

    ``fetch(indices, epoch)`` makes the inputs of a batch; ``epoch`` counts on from ``first_epoch`` whenever the batches
    are gone through. ``targets`` are int64 (N,) or float32 (N, K). The order depends on ``seed``, the epoch and
    ``weights`` alone; global random generators are left as they are. With ``weights``, float (N,), pictures are
    drawn with replacement, each as often as its share of their sum says, N per epoch. When shuffled, a last batch of a
    single picture is left out: batch norm cannot learn from one.
    """

    device = torch.device("cpu")
    """Where fastai leaves the model: it would take any accelerator that it finds."""

    def __init__(
        self,
        fetch: Callable[[list[int], int], Tensor],
        targets: Tensor,
        batch_size: int,
        *,
        shuffled: bool = False,
        seed: int = 0,
        weights: Tensor | None = None,
        first_epoch: int = 0,
    ) -> None:
        self._fetch = fetch
        self._targets = targets
        self._size = min(batch_size, len(targets))
        self._shuffled = shuffled
        self._seed = seed
        self._weights = weights
        self._epoch = first_epoch
        self._first_step = 0

    def __len__(self) -> int:
        lonely = self._shuffled and self._size > 1 and len(self._targets) % self._size == 1
        return -(-len(self._targets) // self._size) - lonely

    def start_at(self, step: int) -> None:
        """Let the next pass, and none after it, begin with batch ``step`` (from 0); those before it are not made."""
        self._first_step = step

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        epoch, first = self._epoch, self._first_step
        self._epoch, self._first_step = epoch + 1, 0
        parts = torch.split(self._order(epoch), self._size)[first : len(self)]
        inputs = made_ahead(lambda part: self._fetch(part.tolist(), epoch), parts)
        for part, made in zip(parts, inputs, strict=True):
            yield made, self._targets[part]

    def _order(self, epoch: int) -> Tensor:
        """Return the indices of the pictures as they come in an epoch, int64 (N,)."""
        count = len(self._targets)
        if not self._shuffled:
            return torch.arange(count)
        # Neighbouring seeds and epochs must not share an order, as their sum would.
        (state,) = np.random.SeedSequence([self._seed, epoch]).generate_state(1)
        chance = torch.Generator().manual_seed(int(state))
        if self._weights is None:
            return torch.randperm(count, generator=chance)
        return torch.multinomial(self._weights.double(), count, replacement=True, generator=chance)
