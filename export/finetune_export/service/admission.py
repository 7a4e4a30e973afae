"""Admission: how many pictures are worked on at the same time, and how many may wait; the rest is refused at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from finetune_export.errors import ImageError
from finetune_export.image import Pixels
from finetune_export.prediction import Prediction
from finetune_export.service.metrics import Metrics
from finetune_export.service.problems import Problem
from finetune_export.service.threads import Threads

if TYPE_CHECKING:
    from finetune_export.service.models import Served

T = TypeVar("T")
Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]


class Engine:
    """Threads that decode and run, first come, first served: ``concurrency`` pictures at once, ``queue`` waiting.

    It belongs to one event loop. Work whose task is cancelled before it starts is never started.
    """

    def __init__(self, concurrency: int, queue: int, metrics: Metrics | None = None) -> None:
        self._threads = Threads(concurrency)
        self._places = concurrency + queue
        self._admitted = 0
        self._metrics = metrics or Metrics()

    def check_room(self, pictures: int = 1) -> None:
        """Raise ``Problem`` 503 if this many pictures would not be admitted now."""
        if self._admitted + pictures > self._places:
            self._metrics.refused("queue")
            raise Problem(503, "too many pictures are waiting; try again in a moment", {"Retry-After": "1"})

    def admit(self, pictures: int = 1) -> Places:
        """Hold places for pictures within ``async with``, or raise ``Problem`` 503 if there are not that many."""
        return Places(self, pictures)

    def hold(self, pictures: int) -> None:
        """Take places; a negative number gives them back."""
        self._admitted += pictures
        self._metrics.admitted.set(self._admitted)

    async def predict(self, served: Served, pictures: Sequence[bytes]) -> list[Prediction | ImageError]:
        """Return a prediction, or why there is none, for each picture file, in order.

        Raises ``ModelError`` or ``TimeLimitError`` where the network fails.
        """
        return await self._each([partial(_predict, served, data) for data in pictures])

    async def decode(self, served: Served, pictures: Sequence[bytes]) -> list[Pixels | ImageError]:
        """Return pixels, uint8 (H, W, 3), or why there are none, for each picture file, in order."""
        return await self._each([partial(_decode, served, data) for data in pictures])

    async def run(self, served: Served, pixels: Pixels) -> Outputs:
        """Return answers (N, K) and embeddings (N, D) of pixels, uint8 (N, H, W, 3), in one run."""
        return (await self._each([partial(served.predictor.run, pixels)]))[0]

    def close(self) -> None:
        """Let the running work end, and start none."""
        self._threads.close()

    async def _each(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        futures = [self._threads.submit(job) for job in jobs]
        try:
            return [await future for future in futures]
        finally:
            for future in futures:
                if not future.cancel() and not future.cancelled():
                    future.exception()  # otherwise asyncio would log that nobody asked for it


class Places:
    """Places for pictures, held within ``async with``."""

    def __init__(self, engine: Engine, pictures: int) -> None:
        self._engine = engine
        self._pictures = pictures

    async def __aenter__(self) -> None:
        self._engine.check_room(self._pictures)
        self._engine.hold(self._pictures)

    async def __aexit__(self, *_: object) -> None:
        self._engine.hold(-self._pictures)


def _predict(served: Served, data: bytes) -> Prediction | ImageError:
    pixels = _decode(served, data)
    if isinstance(pixels, ImageError):
        return pixels
    answers, _ = served.predictor.run(pixels[np.newaxis])
    return served.predictor.prediction("", answers[0])


def _decode(served: Served, data: bytes) -> Pixels | ImageError:
    try:
        return served.predictor.pixels(data)
    except ImageError as exc:
        exc.__traceback__ = None  # it refers to the picture
        return exc
