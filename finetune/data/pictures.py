"""Pictures as the network sees them: views, made by the one preprocessing that deployment uses, too.

View 0 of a picture is exactly what the deployed model will see. Every other view is random, by the rules of ``views``,
but depends on nothing except the picture's content, the number of the view and the policy: what is computed from it
once holds for every run. Shapes: ``N`` pictures, ``S`` their side in pixels.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from finetune.config import Augmentation
from finetune.data.views import DECODED_SCALE, random_view
from finetune.errors import DataError, ImageError
from finetune.types import Example
from finetune_export import image
from finetune_export.contract import Preprocessing
from finetune_export.image_gate import Limits, read_file
from finetune_export.machine import cores

DECODERS = cores()
MOST_KEPT_BYTES = 2**29


class Pictures:
    """Pictures, and their views as pixels; safe to be used by several threads.

    ``sha256`` are the hashes of the files' contents, in the order of the examples. ``augment`` is the policy that makes
    every view but the first; with 'none' all views are as deployed. Decoded training pictures are kept as long as a
    quarter of the free memory lasts, and ``MOST_KEPT_BYTES`` at most.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        sha256: Sequence[str],
        preprocessing: Preprocessing,
        augment: Augmentation = "light",
    ) -> None:
        self.examples = tuple(examples)
        self.sha256 = tuple(sha256)
        self.preprocessing = preprocessing
        self.augment: Augmentation = augment
        self._decoded: dict[int, Image.Image] = {}
        self._room_bytes = min(MOST_KEPT_BYTES, _free_memory_bytes() // 4)
        self._keeping = Lock()
        self._decoding = [Lock() for _ in range(64)]  # a picture whose views are made at once is decoded once
        self._threads = ThreadPoolExecutor(DECODERS)  # Pillow decodes without the interpreter's lock
        self._mean, self._std = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (preprocessing.mean, preprocessing.std))

    def __len__(self) -> int:
        return len(self.examples)

    def pixels(self, index: int, view: int) -> NDArray[np.uint8]:
        """Return a view of a picture: uint8 (S, S, 3), RGB.

        Raises ``DataError`` for a picture that is not what it was when the run began.
        """
        if view == 0 or self.augment == "none":
            return image.to_pixels(self._loaded(index), self.preprocessing)
        return random_view(self.augment, self._picture(index), self.preprocessing, self._chance(index, view))

    def images(self, wanted: Sequence[tuple[int, int]]) -> Tensor:
        """Return views (index, view) as the network takes them: float32 (N, 3, S, S), normalised."""
        pixels = np.stack(list(self._threads.map(lambda pair: self.pixels(*pair), wanted)))
        # The permuted pixels lie in memory as channels-last convolutions want them.
        scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)
        return scaled.sub_(self._mean).div_(self._std)

    def _chance(self, index: int, view: int) -> np.random.Generator:
        return np.random.default_rng([int(self.sha256[index][:16], 16), view])

    def _picture(self, index: int) -> Image.Image:
        """Return a training picture, decoded at the smallest scale that still fills a view, and no larger than that.

        JPEG's scaled decoding is 3 to 5 times faster on camera photos.
        """
        with self._decoding[index % len(self._decoding)]:
            if index not in self._decoded:
                return self._decode(index)
            return self._decoded[index]

    def _loaded(self, index: int, draft_px: int | None = None) -> Image.Image:
        """Return a picture, upright and RGB; what is computed from it is kept under the hash of its content."""
        path = self.examples[index].path
        try:
            data = read_file(path, Limits())
            if hashlib.sha256(data).hexdigest() != self.sha256[index]:
                raise DataError(f"{path}: its content has changed. Leave the pictures alone while training.")
            return image.load(data, draft_px=draft_px).image
        except ImageError as error:
            cause = f"{path}: {error.reason}"
            raise DataError(f"{cause}. It was readable before; leave the pictures alone while training.") from error

    def _decode(self, index: int) -> Image.Image:
        side = round(self.preprocessing.image_size_px * DECODED_SCALE)
        picture = self._loaded(index, draft_px=side)
        if (shorter := min(picture.size)) > side:
            size = (max(1, round(edge * side / shorter)) for edge in picture.size)
            picture = picture.resize(tuple(size), Image.Resampling.BILINEAR, reducing_gap=2.0)
        self._keep(index, picture)
        return picture

    def _keep(self, index: int, picture: Image.Image) -> None:
        size = 4 * picture.width * picture.height  # Pillow keeps RGB in four bytes
        with self._keeping:
            if size <= self._room_bytes:
                self._room_bytes -= size
                self._decoded[index] = picture


def _free_memory_bytes() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not everywhere
        return MOST_KEPT_BYTES
