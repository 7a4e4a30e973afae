"""Pictures by the hundred, and what is asked about them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune_export.bulk.answers import Question, answer, open_predictor
from finetune_export.bulk.sources import Entry


@pytest.fixture
def many(tmp_path: Path, photo: Callable[..., Any]) -> Path:
    """Return a folder of 200 pictures that take a few milliseconds each, some of them broken."""
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(200):
        if i < 10:
            photo(60, 40, seed=i).resize((600, 400)).save(folder / f"{i:03}.png", compress_level=1)
        else:
            shutil.copy(folder / f"{i % 10:03}.png", folder / f"{i:03}.png")
    for i in (0, 77, 199):
        (folder / f"{i:03}.png").write_bytes(b"")
    return folder


@pytest.fixture
def question(model_path: Path) -> Question:
    return Question(model=str(model_path), top=2)


@pytest.fixture
def ask(question: Question) -> Callable[..., list[Any]]:
    """Return the answers in this process."""
    predictor = open_predictor(question, check=False)
    return lambda entries: answer(predictor, question, [Entry(*entry) for entry in entries])
