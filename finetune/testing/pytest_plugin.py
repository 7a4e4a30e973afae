"""Fixtures for the tests of plugins; pytest has them wherever finetune is installed.

``published`` is a publisher's server on this machine, ``finetune_caches`` a folder for everything that is cached.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from finetune.testing.published import Published


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    """Give a server on the loopback interface, which publishes what it is told to, and fails as it is told to.

    ``archive = published.offer("pets.zip", content)`` is what a publisher says of it, and ``published.url`` where it
    is. ``hang_up_after = 500`` cuts connections, ``ignores_range`` has the server send everything again, ``status``
    answers with an error, and other ``files`` under the same name are other bytes. ``asked`` is what it was asked for.
    """
    from finetune.testing.published import publishing

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with publishing() as server:
        yield server


@pytest.fixture
def finetune_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let finetune and torch cache below a folder of this test's, and return it."""
    caches = tmp_path / "caches"
    monkeypatch.setenv("XDG_CACHE_HOME", str(caches))
    monkeypatch.setenv("TORCH_HOME", str(caches / "torch"))
    return caches
