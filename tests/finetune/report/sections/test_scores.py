"""Every metric and each label: what is undefined, never answered or never shown is said, and never a number."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from finetune.report.sections.scores import scores
from finetune.types import RunRecords

from .conftest import Made, said, table

RIGHT = np.eye(3, dtype=np.float32)


def test_every_metric_stands_beside_that_of_an_answer_that_looks_at_no_picture(made: Made) -> None:
    found = table(scores(made("single-label", RIGHT[[0, 0, 1, 1]], [0, 0, 1, 2])), "Every metric")

    assert found.header == ("metric", "validation", "looks at no picture")
    assert [row[:3] for row in found.rows if row[0] == "accuracy"] == [("accuracy", "75.0%", "50.0%")]


def test_a_metric_of_a_plugin_has_no_constant_answer(made: Made) -> None:
    records = with_values(made("single-label", RIGHT, [0, 1, 2]), {"accuracy": 1.0, "stranger": 0.25})

    assert table(scores(records), "Every metric").rows[1] == ("stranger", "0.25", "–")


def test_what_is_defined_for_one_part_only_is_left_open_for_the_other(made: Made) -> None:
    records = made("single-label", RIGHT, [0, 1, 2])
    test = {"values": {"accuracy": 0.5}, "labels": [], "coverage": None, "precision": None}
    records = replace(records, metrics=MappingProxyType({**records.metrics, "test": test}))

    found = table(scores(records), "Every metric")

    assert found.header[1:3] == ("validation", "test")
    assert {row[0]: row[2] for row in found.rows} == {"accuracy": "50.0%", "log-loss": "–"}


def test_a_class_that_is_never_answered_and_one_that_is_never_shown_are_named(made: Made) -> None:
    sentences = said(scores(made("single-label", RIGHT[[0, 0]], [0, 1])))

    assert sentences == [
        "The model never answered 'b', although validation pictures show it: 1 of 3 labels.",
        "No validation picture shows 'c', so nothing is known of how well it is told: 1 of 3 labels.",
    ]


def test_where_every_class_is_answered_and_shown_nothing_is_said(made: Made) -> None:
    assert said(scores(made("single-label", RIGHT, [0, 1, 2]))) == []


def test_of_a_thousand_classes_the_worst_are_shown_and_twenty_are_named(made: Made) -> None:
    labels = tuple(f"class {number:04}" for number in range(1000))
    answers = np.zeros((1000, 1000), np.float32)
    answers[np.arange(1000), np.arange(1000) // 2 * 2] = 1  # every odd one is taken for the even one before it

    blocks = list(scores(made("single-label", answers, np.arange(1000), labels=labels)))

    assert said(blocks)[0].startswith("The model never answered 'class 0001', 'class 0003', ")
    assert said(blocks)[0].endswith(" and 480 more, although validation pictures show it: 500 of 1,000 labels.")
    worst = table(blocks, "The 100 labels with the worst f1, of 1,000, validation pictures")
    assert [row[0] for row in worst.rows] == list(labels[1:200:2])
    assert said(blocks)[-1] == "All labels are in metrics.json."


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_other_tasks_have_their_own_columns(task: str, made: Made) -> None:
    targets = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1]], np.float32)

    found = table(scores(made(task, targets, targets)), "Each label by itself")

    assert found.header[1] == ("pictures" if task == "multi-label" else "mae")
    assert [row[0] for row in found.rows] == ["a", "b", "c"]


def test_without_pictures_that_is_what_is_said(made: Made) -> None:
    blocks = list(scores(made("single-label", [], [], train=[0, 1, 2])))

    assert said(blocks) == ["There were no pictures to score the model on."]
    assert len(blocks) == 1


def with_values(records: RunRecords, values: dict[str, float]) -> RunRecords:
    return replace(
        records, metrics=MappingProxyType({**records.metrics, "valid": {**records.metrics["valid"], "values": values}})
    )
