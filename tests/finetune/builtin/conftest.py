"""Tables with pictures beside them, and what the built-in data set 'table' makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.builtin.table.loading import load
from finetune.errors import FinetuneError
from finetune.reporting import SILENT
from finetune.types import Columns, Dataset, DatasetRequest


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Write a table, as text or bytes, and empty files for pictures a.jpg to d.jpg beside it; return the table."""

    def written(content: str | bytes, name: str = "photos.csv") -> Path:
        for letter in "abcd":
            (tmp_path / f"{letter}.jpg").touch()
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path / name

    return written


@pytest.fixture
def loaded() -> Callable[..., Dataset]:
    """Load a table, with what the user says of its columns."""

    def read(path: Path, **said: Any) -> Dataset:
        columns = Columns(**said)
        return load(
            DatasetRequest(source="local", data=path, cache=path.parent / "cache", reporter=SILENT, columns=columns)
        )

    return read


@pytest.fixture
def refusal(loaded: Callable[..., Dataset]) -> Callable[..., str]:
    """Return what is said where a table is refused, without the folder; check the exit status."""

    def refused(path: Path, status: int = 3, **said: Any) -> str:
        with pytest.raises(FinetuneError) as caught:
            loaded(path, **said)
        assert caught.value.exit_code == status
        assert "\n" not in str(caught.value)
        return str(caught.value).replace(f"{path.parent}/", "")

    return refused
