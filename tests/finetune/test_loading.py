"""What a data set hands over is looked at before anything is done with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from finetune.errors import DataError, PluginError
from finetune.loading import check_dataset
from finetune.types import Dataset, Example, Task


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


@pytest.mark.parametrize(
    ("task", "example"), [("multi-label", {"labels": ("cat",)}), ("regression", {"values": (1.0,)})]
)
def test_one_label_or_value_is_enough_where_it_is_not_told_apart_from_others(task: Task, example: Any) -> None:
    given = Example(path=Path("a.jpg"), **example)
    check_dataset(Dataset(name="pets", examples=(given,), labels=("cat",), source="", licence="", task=task))


def test_a_data_set_without_a_value_is_refused() -> None:
    with pytest.raises(DataError, match=r"holds 0 pictures of 0 label\(s\); at least one is needed\. Check --data\."):
        check_dataset(Dataset(name="pets", examples=(), labels=(), source="", licence="", task="regression"))


def test_of_several_labels_none_may_hold_what_separates_them_in_tables() -> None:
    given = Example(path=Path("a.jpg"), labels=("cat|dog",))
    dataset = Dataset(name="pets", examples=(given,), labels=("cat|dog",), source="", licence="", task="multi-label")
    with pytest.raises(DataError, match=r"has the label 'cat\|dog', and '\|' separates labels in tables\. Rename it"):
        check_dataset(dataset)
