"""A batch of pictures after the other through the network: in this process if there are few, in several if many."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain, islice

from finetune_export.bulk import workers
from finetune_export.bulk.answers import Answer, Question, answer
from finetune_export.bulk.sources import Entry
from finetune_export.machine import cores
from finetune_export.predictor import BATCH_SIZE, Predictor
from finetune_export.session import CPU

FEW_PICTURES = 64  # are answered before further processes would have started

Batch = Sequence[Entry]


def batch_size(predictor: Predictor) -> int:
    """Return how many pictures go through the network at once: on processors, more of them gain nothing."""
    return 1 if predictor.providers == (CPU,) else BATCH_SIZE


def batched(entries: Iterable[Entry], size: int) -> Iterator[Batch]:
    """Yield the pictures in lists of ``size``; the last may be shorter."""
    remaining = iter(entries)
    return iter(lambda: list(islice(remaining, size)), [])


def answers(
    predictor: Predictor, question: Question, batches: Iterator[Batch], processes: int | None = None
) -> Generator[list[Answer], None, None]:
    """Yield the answers to each batch, in order and as they are ready, with a bounded number of batches ahead.

    ``processes`` work at the same time: by default one for few pictures, or where the network does not run on the
    CPU, and otherwise as many as there are processors. Their number changes no answer.
    """
    if processes is None:
        processes, batches = _processes_for(predictor, batches)
    if processes > 1:
        return workers.answers(batches, question, predictor.contract, processes)
    return (answer(predictor, question, batch) for batch in batches)


def _processes_for(predictor: Predictor, batches: Iterator[Batch]) -> tuple[int, Iterator[Batch]]:
    if predictor.providers != (CPU,):
        return 1, batches
    first = list(islice(batches, FEW_PICTURES))
    return 1 if len(first) < FEW_PICTURES else cores(), chain(first, batches)
