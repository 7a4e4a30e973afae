"""What leaves the frozen part of a run's own pictures: computed once, and at hand for every step that asks for it.

Shapes: ``N`` pictures, ``V`` views, ``…`` what one picture leaves the frozen part as.
"""

from __future__ import annotations

import weakref
from typing import NamedTuple

import torch
from torch import Tensor

from finetune.data.pictures import Pictures
from finetune.preparation import Job
from finetune.training.activation_cache import ActivationCache
from finetune.training.activation_file import cache_path
from finetune.training.boundary import Activations, Boundary
from finetune.types import Reporter


class _Computed(NamedTuple):
    """What leaves the part below a boundary: of training pictures (N, V, …), of validation pictures (N, 1, …)."""

    train: Tensor
    valid: Tensor


class FrozenOutputs:
    """What leaves the frozen part of the training and validation pictures of a job.

    That of one boundary is held at a time. Training pictures are computed in ``dtype`` (maps stay in it), validation
    pictures in float32.
    """

    def __init__(self, job: Job, train: Pictures, valid: Pictures, dtype: torch.dtype, reporter: Reporter) -> None:
        capacity = round(job.config.cache_gb * 1e9)
        cache = ActivationCache(cache_path(), capacity, reporter.note)
        weakref.finalize(self, cache.close)
        self._activations = Activations(job.preprocessing, job.backbone_origin, cache, reporter, job.config.augment)
        self._train, self._valid, self._dtype = train, valid, dtype
        self._computed: dict[bytes, _Computed] = {}

    def of_both(self, boundary: Boundary, views: int) -> tuple[Tensor, Tensor]:
        """Return what training pictures leave in ``views`` or more, (N, V, …), and validation pictures, (N, 1, …).

        Raises ``ResourceError`` where it fits neither into memory nor on the disk.
        """
        space = self._activations.space(boundary, self._dtype)
        if space not in self._computed or self._computed[space].train.shape[1] < views:
            self._computed.clear()  # gives its memory back
            train = self._activations.compute(boundary, self._train, views, self._dtype)
            valid = self._activations.compute(boundary, self._valid, 1, torch.float32)
            self._computed[space] = _Computed(train, valid)
        return self._computed[space]

    def of_some(self, boundary: Boundary, indices: list[int]) -> Tensor:
        """Return what some training pictures leave as they are, (M, …); raises ``ResourceError`` as ``of_both``."""
        found = self._computed.get(self._activations.space(boundary, self._dtype))
        if found:
            return found.train[indices, 0]
        every = self._train
        chosen = [every.examples[index] for index in indices], [every.sha256[index] for index in indices]
        pictures = Pictures(*chosen, every.preprocessing, every.augment)
        return self._activations.compute(boundary, pictures, 1, self._dtype)[:, 0]


def picked(boundary: Boundary, outputs: Tensor, indices: list[int], epoch: int) -> Tensor:
    """Return of ``outputs``, (N, V, …), those of some pictures, each in a view that changes from epoch to epoch."""
    views = outputs.shape[1]
    chosen = torch.tensor([(index + epoch) % views for index in indices])
    return boundary.seen_above(outputs[torch.tensor(indices), chosen])
