"""A backbone whose weights a server on this machine publishes, and what a download says and leaves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.errors import FinetuneError
from finetune.networks.published import MIRROR, obtain, place_of
from finetune.reporting import SilentReporter
from finetune.testing.published import Published
from finetune.types import Backbone, Weights

NAME = "tiny-00c0ffee.pth"
CONTENT = hashlib.shake_256(b"weights").digest(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = CONTENT[::-1]
BEHIND = " or into the folder that FINETUNE_WEIGHTS_DIR names, or give --weights FILE or --weights none."
REFUSED = "Pretrained weights of 'tiny': Cannot download "

Obtain = Callable[[], tuple[Path, str]]


class Recorder(SilentReporter):
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.jobs: list[tuple[str, int | None]] = []
        self.steps = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, title: str, total: int | None = None, unit: str = "") -> None:
        self.jobs.append((title, total))
        self.steps = 0

    def advance(self, steps: int = 1, detail: str = "") -> None:
        self.steps += steps
        super().advance(steps, detail)


@pytest.fixture
def reporter() -> Recorder:
    return Recorder()


@pytest.fixture
def backbone(published: Published, finetune_caches: Path, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """A backbone whose weights are offered by a server on this machine, and are in no cache."""
    monkeypatch.delenv(MIRROR, raising=False)
    published.offer(NAME, CONTENT)
    return backbone_at(f"{published.url}/{NAME}")


@pytest.fixture
def get(backbone: Backbone, reporter: Recorder) -> Obtain:
    return lambda: obtain(backbone, weights_of(backbone), reporter)


@pytest.fixture
def place(backbone: Backbone) -> Path:
    """Where the weights are looked for last, and downloaded to."""
    place = place_of(weights_of(backbone))
    place.parent.mkdir(parents=True)
    return place


@pytest.fixture
def part(place: Path) -> Path:
    """Where a download is until it is whole."""
    return place.with_name(f"{NAME}.part")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the variable names."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv(MIRROR, str(folder))
    return folder


def backbone_at(url: str) -> Backbone:
    weights = Weights(name="V1", url=url, sha256=SHA256[:8], licence="MIT", source="the publisher")
    return Backbone(name="tiny", family="tiny", summary="", build="tiny:build", parameters=1, weights=weights)


def weights_of(backbone: Backbone) -> Weights:
    assert backbone.weights is not None
    return backbone.weights


def left(place: Path) -> list[str]:
    return sorted(path.name for path in place.parent.iterdir())


def refusal(get: Obtain, kind: type[FinetuneError]) -> str:
    with pytest.raises(kind) as refused:
        get()
    assert "\n" not in str(refused.value)
    return str(refused.value)
