"""A weight record to write plugins of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def written(toys: Callable[..., bytes], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a record of toys, with other facts where a test gives them, and return its path."""

    def record(**facts: object) -> Path:
        path = tmp_path_factory.mktemp("run") / "pretrained.safetensors"
        path.write_bytes(toys(**facts))
        return path

    return record


@pytest.fixture(scope="session")
def record(written: Callable[..., Path]) -> Path:
    """The record of toys as it is."""
    return written()
