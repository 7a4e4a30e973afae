"""The freeze boundary: what leaves the frozen part of a network is computed once for each view of a picture.

While layers are frozen and in eval mode, their output depends on the picture alone. Here it is computed, kept on disk
for later runs, and handed to training as plain tensors, so that an epoch above the boundary costs what the layers above
it cost. Shapes: ``N`` pictures, ``V`` views, ``…`` what one picture leaves the frozen part as.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product

import numpy as np
import PIL
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn

import finetune_export
from finetune.config import Augmentation
from finetune.data.pictures import Pictures
from finetune.data.views import view_rules
from finetune.errors import ResourceError
from finetune.networks.network import ConcatPool, Network, group_names, output_form, pooled
from finetune.training.activation_cache import ActivationCache
from finetune.training.batches import made_ahead
from finetune.training.precision import autocast
from finetune.types import Reporter
from finetune_export.contract import Preprocessing

BATCH = 16
"""Pictures in each forward pass: what a convolution writes still fits into the processor's cache then."""
LARGEST_VIEW_BYTES = 2**19
"""Where more than this leaves the frozen part for each view, reading it back is no faster than computing it again."""
IN_MEMORY_BYTES = 2**30
"""Activations beyond this are kept in a file that is mapped into memory, so that any number of pictures trains."""
KEYS_AT_ONCE = 256
FORMAT = f"finetune activations 2, {BATCH} at once"


class Pooled(nn.Module):
    """A frozen body: normalised images to the pooled outputs of all its stages side by side.

    One forward pass thus serves every head, classifiers on any stage, and the comparison of the stages. Of the last
    stage's map there are the largest values as well, before the means. ``widths`` are known after the first forward.
    """

    widths: tuple[int, ...] = ()

    def __init__(self, body: nn.Sequential, channels_last: bool) -> None:
        super().__init__()
        self.stages = body
        self.channels_last = channels_last

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 (N, D1 + D2 + … [+ D] + D)."""
        outputs, features = [], images
        for stage in self.stages[:-1]:
            features = stage(features)
            turned = self.channels_last and features.ndim == 4
            outputs.append(pooled((features.permute(0, 3, 1, 2) if turned else features).float()))
        last = self.stages[-1](features).float()
        if last.ndim == 4:
            outputs.append(last.amax((2, 3)))
        outputs.append(pooled(last))
        self.widths = tuple(output.shape[1] for output in outputs)
        return torch.cat(outputs, dim=1)

    def by_stage(self, features: Tensor) -> dict[str, Tensor]:
        """Return the means of each stage, (N, D) by its name, of what ``forward`` returned."""
        names = [name for name, _ in self.stages.named_children()]
        parts = list(torch.split(features, list(self.widths), dim=1))
        return dict(zip(names, [*parts[: len(names) - 1], parts[-1]], strict=True))


@dataclass(frozen=True)
class Boundary:
    """A network in two parts: ``below``, the frozen groups, and ``above``, which maps what leaves it to logits (N, K).

    ``shape`` is what one picture leaves the part below as, (…). ``seen_width`` is how many of the last columns the head
    takes of pooled outputs; None where a map leaves the part below.
    """

    frozen_groups: int
    below: nn.Module
    above: nn.Module
    shape: tuple[int, ...]
    seen_width: int | None = None

    @property
    def is_pooled(self) -> bool:
        """Whether the whole body is below."""
        return self.seen_width is not None

    def seen_above(self, activations: Tensor) -> Tensor:
        """Return the part of activations (N, …) that the layers above take."""
        return activations if self.seen_width is None else activations[:, -self.seen_width :]

    def is_worth_keeping(self, views: int) -> bool:
        """Whether so many views' activations can be kept, and reading them is cheaper than computing them again."""
        size = 4 * int(np.prod(self.shape))
        room = max(IN_MEMORY_BYTES, shutil.disk_usage(tempfile.gettempdir()).free // 2)
        return size <= LARGEST_VIEW_BYTES and (self.is_pooled or size * views <= room)


def boundary_of(network: Network, frozen_groups: int, image_size_px: int) -> Boundary:
    """Return the network cut below the first parameter group that learns (of ``parameter_groups``)."""
    groups = group_names(network.body)
    if frozen_groups == len(groups) - 1:
        return _above_the_body(network, frozen_groups, image_size_px)
    cut = [name for name, _ in network.body.named_children()].index(groups[frozen_groups])
    below = network.body[:cut].eval()
    above = nn.Sequential(*network.body[cut:], network.head)
    return Boundary(frozen_groups, below, above, tuple(output_form(below, image_size_px).shape[1:]))


def _above_the_body(network: Network, frozen_groups: int, image_size_px: int) -> Boundary:
    below = Pooled(network.body, network.channels_last).eval()
    shape = tuple(output_form(below, image_size_px).shape[1:])
    poolings = 2 if isinstance(network.head.get_submodule("pool"), ConcatPool) else 1
    above = nn.Sequential(network.head.get_submodule("classifier"))
    return Boundary(frozen_groups, below, above, shape, seen_width=poolings * below.widths[-1])


class Activations:
    """What leaves the frozen part of one network, from the cache or computed and put there.

    ``origin`` says where the code of the backbone comes from, with its version: other code is another key. So is
    another policy, ``augment``, for every view but the first, which no policy changes.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        origin: str,
        cache: ActivationCache,
        reporter: Reporter,
        augment: Augmentation = "light",
    ) -> None:
        versions = [torch.__version__, torchvision.__version__, PIL.__version__, finetune_export.__version__]
        self._facts = [FORMAT, *versions, origin, asdict(preprocessing)]
        self._view_rules = view_rules(augment)
        self._cache = cache
        self._reporter = reporter

    def compute(self, boundary: Boundary, pictures: Pictures, views: int, dtype: torch.dtype) -> Tensor:
        """Return the activations of every picture in every view, (N, V, …).

        Those of a map are in ``dtype``, in which they are computed; pooled ones are float32. What is computed for a
        picture depends on that picture alone, to the last bit, whichever others were in the cache: a run that was
        stopped half-way and continued sees the same activations as one that was not. Raises ``ResourceError`` where
        they fit neither into memory nor on the disk.
        """
        kept_as = torch.float32 if boundary.is_pooled else dtype
        made = _room((len(pictures), views, *boundary.shape), kept_as)
        rows = made.flatten(0, 1)  # (N V, …); row r is view r % V of picture r // V
        space = self.space(boundary, dtype)
        keys = [self._key(space, sha256, view) for sha256, view in product(pictures.sha256, range(views))]
        self._reporter.begin("Computing what is frozen", len(rows), "pictures")
        missing = self._fill_from_cache(rows, keys)
        fits = _bytes_of(rows) <= self._cache.capacity_bytes  # a part would push out itself, run after run
        parts = [missing[start : start + BATCH] for start in range(0, len(missing), BATCH)]
        images = made_ahead(lambda part: pictures.images([divmod(row, views) for row in part]), parts)
        for part, batch in zip(parts, images, strict=True):
            with torch.no_grad(), autocast(dtype):  # inference mode would forbid learning from the result
                rows[part] = boundary.below(_filled(batch))[: len(part)].to(kept_as)
            if fits:
                self._cache.put({keys[row]: _to_bytes(rows[row]) for row in part})
            self._reporter.advance(len(part))
        self._reporter.end()
        return made

    def _key(self, space: bytes, sha256: str, view: int) -> bytes:
        rules = self._view_rules.encode() if view else b""
        return hashlib.sha256(space + bytes.fromhex(sha256) + view.to_bytes(4) + rules).digest()

    def _fill_from_cache(self, rows: Tensor, keys: Sequence[bytes]) -> list[int]:
        """Fill in the rows that are in the cache, and return the numbers of the others."""
        size, missing = _bytes_of(rows[0]), []
        for start in range(0, len(keys), KEYS_AT_ONCE):
            part = range(len(keys))[start : start + KEYS_AT_ONCE]
            found = self._cache.get([keys[row] for row in part])
            for row in part:
                if len(content := found.get(keys[row], b"")) == size:
                    rows[row] = torch.frombuffer(bytearray(content), dtype=rows.dtype).view(rows.shape[1:])
                else:
                    missing.append(row)
        self._reporter.advance(len(keys) - len(missing))
        return missing

    def space(self, boundary: Boundary, dtype: torch.dtype) -> bytes:
        """Return the digest of everything but the picture that activations depend on: weights, code, arithmetic."""
        digest = hashlib.sha256(json.dumps([*self._facts, str(dtype), str(boundary.below)]).encode())
        for name, tensor in boundary.below.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(_to_bytes(tensor))
        return digest.digest()


def _filled(batch: Tensor) -> Tensor:
    """Return a batch (n, …) filled up to ``BATCH`` pictures with its last one, laid out in memory as it was.

    How many pictures there are decides how a convolution is divided into products, and so how they are rounded; which
    ones they are, and in which places, does not.
    """
    return batch if len(batch) == BATCH else batch[torch.arange(BATCH).clamp(max=len(batch) - 1)]


def _bytes_of(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _to_bytes(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _room(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return an uninitialised tensor, in memory or, when it is large, in a file that ends with the process."""
    size = int(np.prod(shape)) * dtype.itemsize
    if size <= IN_MEMORY_BYTES:
        return torch.empty(shape, dtype=dtype)
    try:
        return torch.from_numpy(_mapped(size)).view(dtype).view(shape)
    except OSError as error:
        raise ResourceError(
            f"{tempfile.gettempdir()} has no room for {size / 1e9:.1f} GB of activations ({error.strerror}). Free some "
            "space, set TMPDIR to a larger disk, or ask for fewer --views."
        ) from error


def _mapped(size: int) -> NDArray[np.uint8]:
    with tempfile.TemporaryFile(prefix="finetune-") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a hole would end the process when the disk is full
        return np.memmap(file, dtype=np.uint8, mode="r+" if hasattr(os, "posix_fallocate") else "w+", shape=(size,))
