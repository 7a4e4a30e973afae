"""The headline: a sentence that holds by itself, whatever the task, and whatever is not known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from finetune.report import against
from finetune.report.sections.summary import summary

from .conftest import Made, said, table

RIGHT = np.eye(3, dtype=np.float32)


def test_the_first_sentence_says_how_often_the_model_is_right_and_how_often_one_label_would_be(made: Made) -> None:
    targets = [0] * 6 + [1] * 3 + [2]
    answers = RIGHT[[0] * 6 + [1] * 3 + [0]]

    (first, *_) = summary(made("single-label", answers, targets, interval=(0.6, 0.98)))

    assert said([first]) == [
        "Right on 90.0% of 10 validation pictures (95 % interval: 60.0% to 98.0%); always saying 'a' would be right "
        "on 60.0%."
    ]


def test_the_constant_answer_is_learned_from_the_training_pictures_alone(made: Made) -> None:
    (first, *_) = summary(made("single-label", RIGHT, [0, 1, 2], train=[1, 1, 1, 0]))

    assert "always saying 'b' would be right on 33.3%" in said([first])[0]


def test_several_labels_are_held_against_their_frequencies(made: Made) -> None:
    targets = [[1, 0, 0], [0, 1, 0], [0, 1, 1], [1, 0, 1]]

    (first, *_) = summary(made("multi-label", targets, targets))

    assert said([first]) == [
        "A mean average precision of 100.0% on 4 validation pictures; always answering how often each label is in the "
        "training pictures would reach 50.0%."
    ]


def test_values_are_held_against_their_mean(made: Made) -> None:
    targets = np.arange(12, dtype=np.float32).reshape(4, 3)

    (first, *_) = summary(made("regression", targets + 0.5, targets))

    assert said([first]) == [
        "Of a possible 1, an r2 of 0.9778 on 4 validation pictures; always answering the mean of the training pictures "
        "would reach 0."
    ]


def test_without_validation_pictures_nothing_is_claimed(made: Made) -> None:
    blocks = list(summary(made("single-label", [], [], train=[0, 1], value=float("nan"))))

    assert said(blocks)[0] == "There were no validation pictures, so nothing is known of how good the model is."
    assert "--test-share" not in " ".join(said(blocks))


@pytest.mark.parametrize("task", ["single-label", "multi-label", "regression"])
def test_a_metric_that_is_undefined_is_said_to_be(task: str, made: Made) -> None:
    targets = [0] if task == "single-label" else np.zeros((1, 3))
    blocks = list(summary(made(task, [[np.nan] * 3], targets)))

    assert said(blocks)[0].startswith("How good the model is remains unknown: ")
    assert said(blocks)[0].endswith(" is undefined on its 1 validation picture.")
    assert "nan" not in str(blocks)


def test_a_model_that_may_be_no_better_than_the_constant_answer_is_told_apart(made: Made) -> None:
    targets = [0] * 6 + [1] * 4

    blocks = list(summary(made("single-label", RIGHT[[0] * 7 + [1] * 3], targets, interval=(0.596, 0.98))))

    assert (
        "The interval of the model begins at 59.6%: these pictures do not show that it is any better than always "
        "saying 'a'."
    ) in said(blocks)


@pytest.mark.parametrize(("probe", "kept", "better"), [(0.9, 0.95, "+5.0 points"), (0.7, 0.7, "+0.0 points")])
def test_the_probe_and_the_constant_answer_stand_beside_the_model(
    probe: float, kept: float, better: str, made: Made
) -> None:
    phases = {"frozen": probe, "unfrozen": kept}
    records = made("single-label", RIGHT, [0, 1, 2], phases=phases, kept="unfrozen")

    rows = table(summary(records), "What the model is held against").rows

    assert rows == (
        ("the probe, phase 'frozen'", "accuracy", f"{probe:.1%}", f"{kept:.1%}", better),
        ("always saying 'a'", "accuracy", "33.3%", "100.0%", "+66.7 points"),
    )


def test_where_all_is_held_against_one_score_it_is_named_once_in_the_caption(made: Made) -> None:
    records = made("single-label", RIGHT, [0, 1, 2], value=0.95, phases={"frozen": 0.95}, kept="frozen")

    found = table(summary(records), "What the model is held against")

    assert found.caption == "What the model is held against, by accuracy; the model reaches 95.0%"
    assert (found.header, found.rows) == (
        ("against", "it reaches", "better by"),
        (("always saying 'a'", "33.3%", "+61.7 points"),),
    )


def test_where_a_metric_is_to_be_low_the_lower_one_is_better(made: Made) -> None:
    phases = {"frozen": 0.5, "unfrozen": 0.25}
    records = made("single-label", RIGHT, [0, 1, 2], monitor="log-loss", phases=phases, kept="unfrozen")

    assert table(summary(records), "What the model is held against").rows[0][1:] == ("log-loss", "0.5", "0.25", "+0.25")


def test_a_phase_without_a_score_is_neither_better_nor_worse(made: Made) -> None:
    phases = {"frozen": float("nan"), "unfrozen": 0.25}
    records = made("single-label", RIGHT, [0, 1, 2], phases=phases, kept="unfrozen")

    assert table(summary(records), "What the model is held against").rows[0][2:] == ("–", "25.0%", "–")


def test_the_test_part_has_its_own_sentence(made: Made) -> None:
    tested = {"test_scores": {"accuracy": 0.75}, "test_interval": (0.5, 0.9), "test_images": 8}

    sentences = said(summary(made("single-label", RIGHT, [0, 1, 2], **tested)))

    assert sentences[1].startswith("Right on 75.0% of 8 test pictures (95 % interval: 50.0% to 90.0%), which were")
    assert "--test-share" not in " ".join(sentences)


def test_without_a_test_part_it_is_said_that_the_score_flatters(made: Made) -> None:
    assert "--test-share sets pictures aside" in said(summary(made("single-label", RIGHT, [0, 1, 2])))[1]


def test_what_was_trained_on_what_is_a_table(made: Made) -> None:
    seconds = {"prepare": 0.01, "frozen": 2.0, "total": 3.0}
    records = made("single-label", RIGHT, [0, 1, 2], seconds=seconds)

    found = dict(table(summary(records), "The run at a glance").rows)

    assert found["data"] == "insects & <b>more</b>: 3 classes, 8 training and 3 validation pictures"
    assert found["phase 'frozen'"] == "accuracy 50.0%, kept"
    assert found["time"] == "3 s: frozen 2.0\N{NO-BREAK SPACE}s"
    assert found["what it sees of a picture"] == "8 × 8 pixels"


def test_reasons_and_notes_come_last(made: Made) -> None:
    last = said(summary(made("single-label", RIGHT, [0, 1, 2])))[-3:]

    assert last == ["The probe is kept.", "Few pictures.", "A note."]


def test_without_training_pictures_there_is_no_constant_answer(made: Made) -> None:
    records = replace(made("single-label", RIGHT, [0, 1, 2]), split=())

    assert said(summary(records))[0] == "Right on all 3 validation pictures."


def test_the_phases_that_leave_the_body_as_it_is_are_those_of_the_strategies() -> None:
    from finetune.training.strategies import PROBES

    assert against.PROBES == PROBES
