"""A network, pictures, and a cache in which their activations are kept."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import torch
from torch import Tensor

from finetune.config import Augmentation
from finetune.data.pictures import Pictures
from finetune.networks.network import Network, assemble, build_backbone
from finetune.plugins import load_plugins
from finetune.reporting import SilentReporter
from finetune.training.activation_cache import ActivationCache
from finetune.training.boundary import Activations, Boundary, boundary_of
from finetune.types import Example
from finetune_export.contract import Preprocessing

SIZE = 32
PREPROCESSING = Preprocessing(image_size_px=SIZE, crop_fraction=0.875, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
MAP, WHOLE_BODY = 1, 4
"""Parameter groups of SqueezeNet below the boundary: a map leaves the stem, pooled features the whole body."""
FLOAT = torch.float32


class Desk:
    """A network, its pictures, the cache, and a count of the pictures that went through the frozen part."""

    def __init__(self, folder: Path, cache: Path, network: Network) -> None:
        self.paths = sorted(folder.rglob("*.*"))
        self.cache_file = cache
        self.network = network
        self.notes: list[str] = []
        self.passed = 0

    def boundary(self, frozen: int) -> Boundary:
        cut = boundary_of(self.network, frozen, SIZE)
        cut.below.register_forward_hook(lambda _, inputs, __: self._count(inputs[0]))
        return cut

    def _count(self, images: Tensor) -> None:
        self.passed += len(images.unique(dim=0))  # the last one comes again and again where there are not enough

    def pictures(
        self,
        paths: Sequence[Path] | None = None,
        preprocessing: Preprocessing = PREPROCESSING,
        augment: Augmentation = "light",
    ) -> Pictures:
        paths = self.paths if paths is None else paths
        examples = [Example(path=path, label="cat") for path in paths]
        return Pictures(examples, [sha256_of(path) for path in paths], preprocessing, augment)

    def compute(
        self,
        frozen: int = WHOLE_BODY,
        views: int = 2,
        dtype: torch.dtype = FLOAT,
        *,
        paths: Sequence[Path] | None = None,
        preprocessing: Preprocessing = PREPROCESSING,
        origin: str = "squeezenet 1",
        augment: Augmentation = "light",
        capacity_bytes: int = 2**30,
    ) -> tuple[Tensor, int]:
        """Compute as a new run would, and return the activations and how many views were computed for them."""
        before = self.passed
        with ActivationCache(self.cache_file, capacity_bytes, self.notes.append) as cache:
            pictures = self.pictures(paths, preprocessing, augment)
            activations = Activations(preprocessing, origin, cache, SilentReporter(), augment)
            made = activations.compute(self.boundary(frozen), pictures, views, dtype)
        return made, self.passed - before

    def keys(self) -> list[bytes]:
        with closing(sqlite3.connect(self.cache_file)) as database:
            return [key for (key,) in database.execute("SELECT key FROM entry")]


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def squeezenet() -> Iterator[Network]:
    """Give a SqueezeNet on one thread: it is so small that threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield assemble(build_backbone(load_plugins().find_backbone("squeezenet1_1"), SIZE), 2, SIZE)
    torch.set_num_threads(threads)
