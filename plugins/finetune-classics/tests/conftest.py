from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from finetune.testing.published import Published
from finetune.types import DatasetRequest

PROJECT = Path(__file__).parent.parent


class CountingReporter:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.steps = 0

    def note(self, text: str) -> None:
        self.titles.append(text)

    def begin(self, title: str, total: int | None = None, unit: str = "") -> None:
        self.titles.append(title)
        self.total = total

    def advance(self, steps: int = 1, detail: str = "") -> None:
        self.steps += steps
        self.detail = detail

    def figure(self, name: str, value: float, shown: str) -> None:
        pass

    def end(self) -> None:
        pass


@pytest.fixture
def reporter() -> CountingReporter:
    return CountingReporter()


@pytest.fixture
def request_for(tmp_path: Path, reporter: CountingReporter) -> Callable[..., DatasetRequest]:
    def build(data: Path | None = None) -> DatasetRequest:
        return DatasetRequest(source="any", data=data, cache=tmp_path / "cache", reporter=reporter)

    return build


@pytest.fixture
def publish(published: Published, monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType, bytes], Published]:
    """Offer these bytes as the data set's archive on a server, and let their checksum be the published one."""

    def offered(module: ModuleType, content: bytes) -> Published:
        archive = published.offer(module.PUBLISHED.archive.name, content)
        monkeypatch.setattr(module, "PUBLISHED", replace(module.PUBLISHED, archive=archive))
        monkeypatch.setenv(module.PUBLISHED.variable, published.url)
        return published

    return offered


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the plugin's metadata on the path, so that it is found whether or not it is installed."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    facts = tmp_path / "site" / "finetune_classics-0.1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(f"{name} = {value}\n" for name, value in project["entry-points"]["finetune"].items())
    (facts / "entry_points.txt").write_text(f"[finetune]\n{points}")
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.fixture
def photos() -> Callable[[Path, list[str]], Path]:
    """Write small pictures of these names into a folder, and return the folder."""

    def written(folder: Path, names: list[str]) -> Path:
        for number, name in enumerate(names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (24, 20), (9 * number % 256, 90, 60)).save(folder / name)
        return folder

    return written
