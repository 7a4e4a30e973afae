"""What a data set hands over is checked before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetune.errors import DataError, PluginError
from finetune.preparation import check_dataset
from finetune.types import Dataset, Example


def handed_over(labels: tuple[str, ...] = ("cat", "dog"), path: Any = Path("a.jpg")) -> Dataset:
    examples = tuple(Example(path=path, label=label) for label in labels)
    return Dataset(name="pets", examples=examples, labels=labels, source="somewhere", licence="CC0-1.0")


def test_two_labels_with_pictures_pass() -> None:
    check_dataset(handed_over())


@pytest.mark.parametrize("labels", [(), ("cat",)])
def test_fewer_than_two_classes_cannot_be_told_apart(labels: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=r"^The data set 'pets' holds . pictures of . class.*at least two classes"):
        check_dataset(handed_over(labels))


def test_labels_that_repeat_are_the_plugins_fault() -> None:
    with pytest.raises(PluginError, match="its labels are not unique: cat, cat"):
        check_dataset(handed_over(("cat", "cat")))


def test_paths_that_are_text_are_the_plugins_fault() -> None:
    with pytest.raises(PluginError, match=r"the path of an example is not a pathlib\.Path"):
        check_dataset(handed_over(path="a.jpg"))
