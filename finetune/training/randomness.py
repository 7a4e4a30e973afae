"""The state of every random generator that training uses, as tensors that a checkpoint can hold."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def seed_of(seed: int, step: str) -> int:
    """Return the seed of one step of a run, so that no step depends on how much chance the ones before it took."""
    return int.from_bytes(hashlib.sha256(f"{seed} {step}".encode()).digest()[:4])


def random_state() -> dict[str, Tensor]:
    """Return the state of torch's, numpy's and Python's global generators."""
    _, words, has_gauss = random.getstate()
    kind, keys, position, has_cached, cached = np.random.get_state(legacy=True)
    assert kind == "MT19937", "numpy's global generator is another"
    return {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.append(np.asarray(keys, np.int64), [position, has_cached])),
        "numpy_cached": torch.tensor([cached], dtype=torch.float64),
        "python": torch.tensor(words, dtype=torch.int64),
        "python_gauss": torch.tensor([] if has_gauss is None else [has_gauss], dtype=torch.float64),
    }


def restore_random_state(state: Mapping[str, Tensor]) -> None:
    """Put back what ``random_state`` returned."""
    torch.set_rng_state(state["torch"])
    *keys, position, has_cached = state["numpy"].tolist()
    cached = float(state["numpy_cached"])
    np.random.set_state(("MT19937", np.array(keys, np.uint32), position, has_cached, cached))
    gauss = state["python_gauss"].tolist()
    random.setstate((3, tuple(state["python"].tolist()), gauss[0] if gauss else None))
