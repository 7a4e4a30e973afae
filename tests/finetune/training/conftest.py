"""A cache of activations, and what its tests put into it and do to its file."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from finetune.training.activation_cache import ActivationCache

PLENTY = 1 << 30
Opens = Callable[..., ActivationCache]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "activations.sqlite"


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def cache(path: Path, notes: list[str]) -> Iterator[Opens]:
    """Return what opens caches, with ``notes`` as their user; they are closed in the end."""
    opened: list[ActivationCache] = []

    def opens(capacity_bytes: int = PLENTY) -> ActivationCache:
        opened.append(ActivationCache(path, capacity_bytes, notes.append))
        return opened[-1]

    yield opens
    for one in opened:
        one.close()


def items(numbers: Sequence[int], size: int = 3_000) -> dict[bytes, bytes]:
    """Return values that can be told from their keys."""
    keys = [hashlib.sha256(str(i).encode()).digest() for i in numbers]
    return {key: hashlib.shake_128(key).digest(size) for key in keys}


def keys(numbers: Sequence[int]) -> list[bytes]:
    return list(items(numbers, size=1))


def fill(path: Path, content: dict[bytes, bytes]) -> None:
    with ActivationCache(path, PLENTY, lambda sentence: pytest.fail(sentence)) as writer:
        writer.put(content)


def sql(path: Path, *statements: str) -> list[tuple[int]]:
    """Run statements behind the cache's back and return what the last one finds."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return [connection.execute(statement).fetchall() for statement in statements][-1]
    finally:
        connection.close()


def kept_bytes(path: Path) -> int:
    return int(sql(path, "SELECT coalesce(sum(length(content)), 0) FROM value")[0][0])


def cut(path: Path, size: int) -> None:
    os.truncate(path, size)
