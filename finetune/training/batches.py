"""Batches as fastai takes them, made ahead: the next one is decoded while this one is learned from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

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
    """Batches (inputs, targets int64) in the order of the pictures or, ``shuffled``, in a new order each time.

    ``fetch(indices, epoch)`` makes the inputs of a batch; ``epoch`` counts on from ``first_epoch`` whenever the batches
    are gone through. When shuffled, a last batch of a single picture is left out: batch norm cannot learn from one.
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
        first_epoch: int = 0,
    ) -> None:
        self._fetch = fetch
        self._targets = targets
        self._size = min(batch_size, len(targets))
        self._shuffled = shuffled
        self._epoch = first_epoch

    def __len__(self) -> int:
        lonely = self._shuffled and self._size > 1 and len(self._targets) % self._size == 1
        return -(-len(self._targets) // self._size) - lonely

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count, epoch = len(self._targets), self._epoch
        self._epoch += 1
        order = torch.randperm(count) if self._shuffled else torch.arange(count)
        parts = torch.split(order, self._size)[: len(self)]
        inputs = made_ahead(lambda part: self._fetch(part.tolist(), epoch), parts)
        for part, made in zip(parts, inputs, strict=True):
            yield made, self._targets[part]
