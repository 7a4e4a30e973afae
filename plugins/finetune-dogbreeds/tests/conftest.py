from __future__ import annotations

from pathlib import Path

import pytest

from finetune.types import DatasetRequest


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
def request_for(tmp_path: Path, reporter: CountingReporter):
    def build(source: str, data: Path | None = None) -> DatasetRequest:
        return DatasetRequest(source=source, data=data, cache=tmp_path / "cache", reporter=reporter)

    return build


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `make test-all` what draws the kinds, or the sample a second time: to the rule on interruptions."""
    for item in items:
        if item.name == "test_rule[data-set-dogbreeds-from-sample-survives-an-interruption]":
            item.add_marker(pytest.mark.slow)
        elif item.name.startswith("test_rule[data-set-dogbreeds-from-kinds-"):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(900))
