"""Confidence: how often it holds, with the temperature and without it."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from finetune.report.sections.calibration import calibration
from finetune.types import Figure

from .conftest import Made, said, table

ANSWERS = np.array([[0.9, 0.05, 0.05], [0.9, 0.05, 0.05], [0.2, 0.5, 0.3], [0.2, 0.5, 0.3]], np.float32)
TARGETS = [0, 1, 1, 1]


def test_values_have_no_confidence(made: Made) -> None:
    records = made("regression", ANSWERS, ANSWERS, ece_before=None, ece_after=None)

    assert list(calibration(records)) == []


def test_how_sure_the_model_is_stands_beside_how_often_it_is_right(made: Made) -> None:
    blocks = list(calibration(made("single-label", ANSWERS, TARGETS)))

    assert "is 70.0% sure of its answers, and 75.0% of them are right." in said(blocks)[0]
    assert table(blocks, "How often").rows == (
        ("47% to 53%", "2", "50.0%", "100.0%"),
        ("87% to 93%", "2", "90.0%", "50.0%"),
    )
    facts = dict(table(blocks, "Confidence").rows)
    assert facts == {
        "temperature": "1.250",
        "expected calibration error without it": "0.210",
        "expected calibration error with it": "0.110",
    }


@pytest.mark.parametrize(("temperature", "beside"), [(1.0, False), (2.0, True)])
def test_only_where_there_is_a_temperature_the_answers_without_it_are_drawn(
    temperature: float, beside: bool, made: Made
) -> None:
    blocks = calibration(made("single-label", ANSWERS, TARGETS, temperature=temperature))

    (figure,) = [block for block in blocks if isinstance(block, Figure)]
    assert ("with the temperature and without it" in figure.alt) is beside
    assert figure.png != figure.dark_png


def test_a_temperature_that_did_not_help_is_said_not_to_have(made: Made) -> None:
    blocks = calibration(made("single-label", ANSWERS, TARGETS, ece_before=0.01, ece_after=0.02))

    assert said(blocks)[0].endswith("the calibration error has not fallen by it.")


def test_several_labels_have_thresholds_and_every_label_of_every_picture_counts(made: Made) -> None:
    blocks = list(calibration(made("multi-label", ANSWERS, np.eye(3)[TARGETS])))

    assert sum(int(row[1]) for row in table(blocks, "How often").rows) == ANSWERS.size
    assert table(blocks, "Probability from which").rows == (("a", "0.500"), ("b", "0.500"), ("c", "0.500"))
    assert said(blocks)[0].startswith("On average a label is given a probability of 33.3%, and shown by 33.3% of")


def test_of_a_model_that_abstains_coverage_and_precision_are_shown(made: Made) -> None:
    records = made("single-label", ANSWERS, TARGETS)
    valid = {**records.metrics["valid"], "coverage": 0.5, "precision": 1.0}

    facts = dict(table(calibration(replace(records, metrics=MappingProxyType({"valid": valid}))), "Confidence").rows)

    assert facts["share of pictures that the model answers"] == "50.0%"
    assert facts["share of these answers that is right"] == "100.0%"


@pytest.mark.parametrize(
    ("answers", "targets", "why"),
    [
        ([], [], "There are no validation pictures."),
        ([[np.nan] * 3] * 2, [0, 1], "2 pictures got answers that are no finite numbers, and are left out here."),
    ],
)
def test_without_answers_there_is_no_empty_diagram(answers: object, targets: list[int], why: str, made: Made) -> None:
    blocks = list(calibration(made("single-label", answers, targets, train=[0, 1, 2])))

    assert said(blocks) == [why]
    assert not any(isinstance(block, Figure) for block in blocks)
