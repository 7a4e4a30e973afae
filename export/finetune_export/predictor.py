"""The predictor: a model file and onnxruntime, from pictures to the answers of the model's task.

Shapes: ``N`` pictures, ``H`` = ``W`` pixels, ``K`` labels, ``D`` features.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from finetune_export import golden, model_file, model_gate
from finetune_export.contract import GOLDEN_KEY, Task, contract_of
from finetune_export.errors import ImageError, naming
from finetune_export.image import Limits, Pixels, Source, load, name_of, read_pixels
from finetune_export.machine import give_back_freed_memory
from finetune_export.prediction import Prediction
from finetune_export.session import Provider, Session

__all__ = ["BATCH_SIZE", "MAX_RUN_S", "Prediction", "Predictor"]

DECODING_THREADS = 2  # each may hold a picture of the largest size allowed
BATCH_SIZE = 16
MAX_RUN_S = 60.0


class Predictor:
    """A model file that has passed its checks, ready to answer; safe to share by threads, and to pickle.

    ``path`` is an ``.onnx`` file, or a folder that an export target wrote. The file is read once and refused with
    ``ModelError`` if it is damaged, foreign, reaches outside itself, or (with ``check``) answers its golden pairs
    differently from the day it was exported. ``providers`` are onnxruntime's, in order of preference, the CPU by
    default: "CUDA", ``["CUDA", "CPU"]``, or with options ``[("CUDA", {"device_id": 1}), "CPU"]``. ``threads`` are those
    of one run, onnxruntime's choice by default. ``limits`` say how large a picture may be, ``Limits()`` by default. A
    run that takes longer than ``max_run_s`` seconds raises ``TimeLimitError``; None is no limit.

    Pickled, it is its path and options, and opens the file again.

    Attributes: ``path``; ``contract``; ``labels``, in the order of the outputs; ``features``, the number D of an
    embedding's; ``providers``, those in use; ``notes``, what the checks found worth telling but no reason to refuse.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        check: bool = True,
        providers: str | Sequence[Provider] | None = None,
        threads: int | None = None,
        limits: Limits | None = None,
        max_run_s: float | None = MAX_RUN_S,
    ) -> None:
        self._again = partial(
            Predictor, check=check, providers=providers, threads=threads, limits=limits, max_run_s=max_run_s
        )
        if max_run_s is not None and not 0 < max_run_s < math.inf:
            raise ValueError(
                f"max_run_s: {max_run_s} is not allowed; it has to be over 0 and finite, or None for no limit"
            )
        self.path = model_file.locate(path)
        self.notes: tuple[str, ...] = ()
        self._limits = limits or Limits()
        self._max_run_s = max_run_s
        with naming(self.path):
            file = model_file.read(self.path)
            self.contract = contract_of(file)
            self.labels = self.contract.labels
            model_gate.check(file.data)
            self._session = Session(file.data, self.contract, providers, threads)
            self.providers, self.features = self._session.providers, self._session.features
            if check:
                pairs = golden.parse(file.text(GOLDEN_KEY))
                self.notes = golden.check(pairs, self.contract, lambda pixels: self._run(pixels)[0])
        del file
        give_back_freed_memory()

    def __reduce__(self) -> tuple[partial[Predictor], tuple[Path]]:
        return self._again, (self.path.absolute(),)

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
        answers = []
        for answer in self.stream(sources, batch_size=batch_size):
            if isinstance(answer, Prediction):
                answers.append(answer)
            elif errors is None:
                raise answer
            else:
                errors.append(answer)
        return answers

    def stream(
        self, sources: Source | Iterable[Source], *, batch_size: int = BATCH_SIZE
    ) -> Iterator[Prediction | ImageError]:
        """Yield a prediction, or the reason why there is none, for each picture, in order and as they are ready.

        Pictures are taken from ``sources`` two batches ahead at most, so that a million of them fit into memory.
        """
        for batch in self._batches(sources, batch_size):
            decoded = [pixels for _, pixels in batch if not isinstance(pixels, ImageError)]
            rows = iter(self.run(np.stack(decoded))[0] if decoded else ())
            for name, pixels in batch:
                yield pixels if isinstance(pixels, ImageError) else self.prediction(name, next(rows))

    @property
    def task(self) -> Task:
        """What the model was trained for, which decides what its answers are."""
        return self.contract.task

    def answers(self, sources: Source | Iterable[Source], *, batch_size: int = BATCH_SIZE) -> NDArray[np.float32]:
        """Return the answers for all labels, float32 (N, K), or raise ``ImageError`` for the first bad picture.

        They are probabilities, or for regression values in their own units.
        """
        rows = [self.run(pixels)[0] for pixels in self._sound_batches(sources, batch_size)]
        return np.concatenate([np.empty((0, len(self.labels)), np.float32), *rows])

    def embeddings(self, sources: Source | Iterable[Source], *, batch_size: int = BATCH_SIZE) -> NDArray[np.float32]:
        """Return what the network's head sees, float32 (N, D), or raise ``ImageError`` for the first bad picture."""
        rows = [self.run(pixels)[1] for pixels in self._sound_batches(sources, batch_size)]
        return np.concatenate([np.empty((0, self.features), np.float32), *rows])

    def pixels(self, source: Source) -> Pixels:
        """Return a picture as the network sees it, uint8 (H, W, 3); raise ``ImageError`` where it is refused."""
        return read_pixels(source, self.contract.preprocessing, self._limits)

    def run(self, pixels: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return answers (N, K) and embeddings (N, D), both float32, of pixels uint8 (N, H, W, 3)."""
        with naming(self.path):
            return self._run(pixels)

    def prediction(self, name: str, answers: NDArray[np.float32]) -> Prediction:
        """Return one row of answers, float32 (K,), as the prediction for the picture called ``name``."""
        return Prediction.of(name, answers, self.contract)

    def _run(self, pixels: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._session.run(pixels, self._max_run_s)

    def _sound_batches(self, sources: Source | Iterable[Source], batch_size: int) -> Iterator[Pixels]:
        """Yield pixels, uint8 (N, H, W, 3), or raise the first picture's error."""
        for batch in self._batches(sources, batch_size):
            decoded = []
            for _, pixels in batch:
                if isinstance(pixels, ImageError):
                    raise pixels
                decoded.append(pixels)
            yield np.stack(decoded)

    def _batches(
        self, sources: Source | Iterable[Source], batch_size: int
    ) -> Iterator[list[tuple[str, Pixels | ImageError]]]:
        """Yield names with pixels or errors, one batch ahead of their use, so that decoding never waits."""
        if batch_size < 1:
            raise ValueError(f"batch_size: {batch_size} is not allowed; it has to be at least 1")
        remaining = _each(sources)
        with ThreadPoolExecutor(DECODING_THREADS) as pool:
            ahead: deque[list[tuple[str, Future[Pixels | ImageError]]]] = deque()
            while chunk := list(islice(remaining, batch_size)):
                ahead.append(
                    [(name_of(source), pool.submit(self._pixels_or_error, self._loaded(source))) for source in chunk]
                )
                if len(ahead) > 1:
                    yield _decoded(ahead.popleft())
            yield from map(_decoded, ahead)

    def _loaded(self, source: Source) -> Source | ImageError:
        """Return a Pillow image decoded, in this thread: two threads that load the same one spoil it, unnoticed."""
        if not isinstance(source, Image.Image):
            return source
        try:
            return load(source, self._limits).image
        except ImageError as exc:
            return exc

    def _pixels_or_error(self, source: Source | ImageError) -> Pixels | ImageError:
        try:
            return source if isinstance(source, ImageError) else self.pixels(source)
        except ImageError as exc:
            return exc


def _each(sources: Source | Iterable[Source]) -> Iterator[Source]:
    return iter([sources] if _is_one(sources) else sources)  # type: ignore[arg-type,list-item]  # _is_one tells


def _is_one(sources: object) -> bool:
    """Tell one picture from several. What is neither counts as one, which is then refused with its type.

    So does an open file: it would be several, its lines.
    """
    if isinstance(sources, np.ndarray):
        return sources.ndim < 4
    one = isinstance(sources, str | os.PathLike | bytes | bytearray | memoryview | Image.Image)
    return one or hasattr(sources, "read") or not isinstance(sources, Iterable)


def _decoded(batch: list[tuple[str, Future[Pixels | ImageError]]]) -> list[tuple[str, Pixels | ImageError]]:
    return [(name, pixels.result()) for name, pixels in batch]
