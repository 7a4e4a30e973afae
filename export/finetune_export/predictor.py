"""The predictor: a model file and onnxruntime, from pictures to labels and probabilities.

Shapes: ``N`` pictures, ``H`` = ``W`` pixels, ``K`` labels, ``D`` features.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from finetune_export import golden, model_file, model_gate
from finetune_export.contract import GOLDEN_KEY, contract_of
from finetune_export.errors import ImageError, naming
from finetune_export.image import Limits, Pixels, Source, name_of, read_pixels
from finetune_export.session import Session

DECODING_THREADS = 2  # each may hold a picture of the largest size allowed
BATCH_SIZE = 16


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture: ``probabilities`` of all ``labels``, in their order; ``source`` names the picture."""

    source: str
    label: str
    probability: float
    probabilities: tuple[float, ...]
    labels: tuple[str, ...]

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the ``k`` most probable labels with their probabilities, best first; equals in the labels' order."""
        return sorted(zip(self.labels, self.probabilities, strict=True), key=lambda pair: -pair[1])[:k]


class Predictor:
    """A model file that has passed its checks, ready to answer; safe to share by threads.

    The file is read once and refused with ``ModelError`` if it is damaged, foreign, reaches outside itself, or (with
    ``check``) answers its golden pairs differently from the day it was exported. ``providers`` are onnxruntime's, in
    order of preference, the CPU by default; ``threads`` are those of one run, onnxruntime's choice by default.
    ``limits`` say how large a picture may be, ``Limits()`` by default.

    Attributes: ``path``; ``contract``; ``labels``, in the order of the outputs; ``notes``, what the checks found worth
    telling but no reason to refuse.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        check: bool = True,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.path = Path(path)
        self.notes: tuple[str, ...] = ()
        self._limits = limits or Limits()
        with naming(path):
            file = model_file.read(path)
            self.contract = contract_of(file)
            self.labels = self.contract.labels
            model_gate.check(file.data)
            self._session = Session(file.data, self.contract, providers, threads)
            if check:
                pairs = golden.parse(file.text(GOLDEN_KEY))
                self.notes = golden.check(pairs, self.contract, lambda pixels: self._run(pixels)[0])

    def predict(
        self,
        sources: Source | Iterable[Source],
        *,
        batch_size: int = BATCH_SIZE,
        errors: list[ImageError] | None = None,
    ) -> list[Prediction]:
        """Return a prediction for each picture, in order; for a single source, a list of one.

        A picture that is refused raises ``ImageError``. With a list as ``errors`` it is left out of the answer
        instead, and its error appended there.
        """
        return [
            self._prediction(name, row)
            for names, pixels in self._batches(sources, batch_size, errors)
            for name, row in zip(names, self._run(pixels)[0].tolist(), strict=True)
        ]

    def probabilities(self, sources: Source | Iterable[Source], *, batch_size: int = BATCH_SIZE) -> NDArray[np.float32]:
        """Return the probabilities of all labels, float32 (N, K), or raise ``ImageError`` for the first bad picture."""
        rows = [self._run(pixels)[0] for _, pixels in self._batches(sources, batch_size)]
        return np.concatenate([np.empty((0, len(self.labels)), np.float32), *rows])

    def embeddings(self, sources: Source | Iterable[Source], *, batch_size: int = BATCH_SIZE) -> NDArray[np.float32]:
        """Return what the network's head sees, float32 (N, D), or raise ``ImageError`` for the first bad picture."""
        rows = [self._run(pixels)[1] for _, pixels in self._batches(sources, batch_size)]
        return np.concatenate([np.empty((0, self._session.features), np.float32), *rows])

    def _run(self, pixels: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with naming(self.path):
            return self._session.run(pixels)

    def _prediction(self, name: str, row: list[float]) -> Prediction:
        best = int(np.argmax(row))
        return Prediction(name, self.labels[best], row[best], tuple(row), self.labels)

    def _batches(
        self, sources: Source | Iterable[Source], batch_size: int, errors: list[ImageError] | None = None
    ) -> Iterator[tuple[list[str], Pixels]]:
        """Yield names and pixels, uint8 (N, H, W, 3), one batch ahead of their use, so that decoding never waits."""
        if batch_size < 1:
            raise ValueError(f"batch_size: {batch_size} is not allowed; it has to be at least 1")
        remaining = _each(sources)
        with ThreadPoolExecutor(DECODING_THREADS) as pool:
            ahead: deque[list[tuple[str, Future[Pixels]]]] = deque()
            while chunk := list(islice(remaining, batch_size)):
                ahead.append([(name_of(source), pool.submit(self._read, source)) for source in chunk])
                if len(ahead) > 1:
                    yield from _collect(ahead.popleft(), errors)
            for batch in ahead:
                yield from _collect(batch, errors)

    def _read(self, source: Source) -> Pixels:
        return read_pixels(source, self.contract.preprocessing, self._limits)


def _each(sources: Source | Iterable[Source]) -> Iterator[Source]:
    if isinstance(sources, str | Path | bytes | Image.Image):
        return iter([sources])
    return iter(sources)


def _collect(
    batch: list[tuple[str, Future[Pixels]]], errors: list[ImageError] | None
) -> Iterator[tuple[list[str], Pixels]]:
    """Yield a batch of decoded pictures, or nothing if all of them were refused."""
    names, pixels = [], []
    for name, decoded in batch:
        try:
            pixels.append(decoded.result())
            names.append(name)
        except ImageError as exc:
            if errors is None:
                raise
            errors.append(exc)
    if names:
        yield names, np.stack(pixels)
