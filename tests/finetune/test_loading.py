"""What a data set hands over is looked at before anything is done with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
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


GOOD: dict[Task, dict[str, Any]] = {
    "single-label": {"label": "cat"},
    "multi-label": {"labels": ("cat", "dog")},
    "regression": {"values": (1.0, np.float32(2))},
}


@pytest.mark.parametrize("task", GOOD)
def test_what_is_declared_passes_for_each_task(task: Task) -> None:
    example = Example(path=Path("a.jpg"), part="valid", group="g", **GOOD[task])
    check_dataset(Dataset(name="pets", examples=(example,), labels=("cat", "dog"), source="", licence="", task=task))


@pytest.mark.parametrize(
    ("task", "field", "value", "told"),
    [
        ("single-label", "path", "a.jpg", "path is 'a.jpg', and not a pathlib.Path"),
        ("single-label", "part", "validation", "part is 'validation', and not None, train, valid, test"),
        ("single-label", "group", 3, "group is 3, and not None or a str"),
        ("single-label", "label", 0, "label is 0, and not a str"),
        ("multi-label", "labels", ("cat", 1), "labels is ('cat', 1), and not a tuple of str"),
        ("regression", "values", (1.0,), "values is (1.0,), and not 2 number(s), one for each label"),
        ("regression", "values", ("1", "2"), "values is ('1', '2'), and not 2 number(s), one for each label"),
    ],
)
def test_what_is_of_another_type_is_the_plugins_fault(task: Task, field: str, value: Any, told: str) -> None:
    example = Example(**{"path": Path("a.jpg")} | GOOD[task] | {field: value})
    with pytest.raises(PluginError) as caught:
        check_dataset(
            Dataset(name="pets", examples=(example,), labels=("cat", "dog"), source="", licence="", task=task)
        )
    assert str(caught.value) == f"The data set 'pets' is broken: examples[0].{told}."


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"task": "labels"}, "its task is 'labels', and not one of single-label, multi-label, regression."),
        ({"labels": (0, 1)}, "its label 0 is not a str."),
        ({"labels": ["cat", "dog"]}, "its labels is list instead of a tuple."),
        ({"examples": (("a.jpg", "cat"),)}, "examples[0] is tuple instead of Example."),
    ],
)
def test_a_malformed_data_set_is_the_plugins_fault(facts: dict[str, Any], told: str) -> None:
    with pytest.raises(PluginError) as caught:
        check_dataset(replace(handed_over(), **facts))
    assert str(caught.value) == f"The data set 'pets' is broken: {told}"


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
