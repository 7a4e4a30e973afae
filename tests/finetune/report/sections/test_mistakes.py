"""The section of mistakes: pairs that are confused, and the pictures that the model is worst at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finetune.report.sections.mistakes import COMPARED, FEWEST_LOSSES, LOSS, MOST_LOSSES, MOST_PAIRS, mistakes
from finetune.types import HeatMap, RunRecords

from .drawn_run import captions, drawn, galleries, paragraphs, pictures, records_of

LABELS = ("<b>ant</b>", "لقلق أبيض كبير جدا", "wasp")


def certain(answers: list[int], of: int, probability: float = 0.9) -> np.ndarray:
    """Return probabilities (N, K) of which each picture's answer has the largest."""
    found = np.full((len(answers), of), (1 - probability) / (of - 1))
    found[np.arange(len(answers)), answers] = probability
    return found


@pytest.fixture
def confused(tmp_path: Path) -> RunRecords:
    """Three pictures of the first label, two of them taken for the second; none is taken for the third."""
    truth, answers = [0, 0, 0, 1, 1], [0, 1, 1, 1, 1]
    rows = drawn(tmp_path, [LABELS[at] for at in truth], "valid")
    probabilities = certain(answers, of=3)
    probabilities[2] = (0.01, 0.98, 0.01)
    return records_of(rows, LABELS, probabilities, truth)


def test_a_confused_pair_is_shown_with_a_picture_of_what_it_was_taken_for(confused: RunRecords) -> None:
    pair, worst = galleries(mistakes(confused))

    assert pair.caption == f"{LABELS[0]} taken for {LABELS[1]}: 2 of its 3 validation pictures"
    assert [picture.lines for picture in pair.pictures] == [("98.0%",), ("90.0%",), (COMPARED, LABELS[1])]
    assert pair.compact
    assert not worst.compact
    assert all(picture.image and picture.alt for picture in (*pair.pictures, *worst.pictures))


def test_the_largest_losses_come_first_with_truth_answer_loss_and_name(confused: RunRecords) -> None:
    worst = galleries(mistakes(confused))[-1]

    assert worst.caption == f"Of 5 validation pictures the 5 with the largest losses. {LOSS['single-label']}"
    assert worst.pictures[0].lines == (
        f"taken for {LABELS[1]}, 98.0% ({LABELS[0]}: 1.0%)",
        "loss 4.61 · valid/2.png",
    )
    assert worst.pictures[-1].lines[0] == f"rightly {LABELS[1]}, 90.0%"


def test_a_heat_map_is_laid_over_the_picture_that_it_is_of_and_no_other(confused: RunRecords) -> None:
    heat_map = HeatMap(picture=1, label=1, cells=((0, 255), (0, 0)))
    rows = [dict(row) for row in confused.split]
    records = records_of(rows, LABELS, confused.answers, confused.targets, heat_maps=(heat_map,))

    worst = galleries(mistakes(records))[-1]

    assert [picture.overlay is not None for picture in worst.pictures] == [False, True, False, False, False]
    assert worst.pictures[1].alt.endswith(f"; bright: spoke for {LABELS[1]}")
    assert "Grad-CAM" in worst.caption
    assert "Grad-CAM" not in galleries(mistakes(confused))[-1].caption


def test_a_model_without_a_mistake_shows_what_it_is_least_certain_of(tmp_path: Path) -> None:
    answers = certain([0, 1, 0], of=2)
    answers[2] = (0.6, 0.4)
    records = records_of(drawn(tmp_path, ["a", "b", "a"], "valid"), ("a", "b"), answers, [0, 1, 0])

    blocks = list(mistakes(records))

    assert paragraphs(blocks) == ["No validation picture was given another label."]
    (worst,) = galleries(blocks)
    assert worst.caption.startswith("Of 3 validation pictures the 3 that the model is least certain of.")
    assert worst.pictures[0].lines[0] == "rightly a, 60.0%"


def test_right_answers_are_shown_only_where_few_are_wrong(tmp_path: Path) -> None:
    rows = drawn(tmp_path, ["a"] * 30, "valid")
    numbers = []
    for wrong in (3, 17, 29):
        answers = certain([1] * wrong + [0] * (30 - wrong), of=2)
        numbers.append(len(galleries(mistakes(records_of(rows, ("a", "b"), answers, [0] * 30)))[-1].pictures))
    assert numbers == [FEWEST_LOSSES, 17, MOST_LOSSES]


def test_without_validation_pictures_there_is_nothing_to_say(tmp_path: Path) -> None:
    records = records_of(drawn(tmp_path, ["a"], "train"), ("a", "b"), np.zeros((0, 2)), [])
    assert list(mistakes(records)) == []


def test_what_no_validation_picture_shows_is_compared_with_a_training_picture(tmp_path: Path) -> None:
    rows = [*drawn(tmp_path, ["b"], "train"), *drawn(tmp_path, ["a"], "valid")]
    pair = galleries(mistakes(records_of(rows, ("a", "b"), [[0.2, 0.8]], [0])))[0]
    assert [picture.lines for picture in pair.pictures] == [("80.0%",), (COMPARED, "b")]
    assert all(picture.image for picture in pair.pictures)


def test_an_answer_below_its_threshold_is_said_to_be_none(tmp_path: Path) -> None:
    records = records_of(drawn(tmp_path, ["a"], "valid"), ("a", "b"), [[0.6, 0.4]], [0], thresholds={"a": 0.7})
    assert "below its threshold: the model abstains" in galleries(mistakes(records))[-1].pictures[0].lines


def test_a_picture_that_is_gone_is_a_placeholder_and_the_section_begins_with_it(confused: RunRecords) -> None:
    confused.paths[2].unlink()
    first, *others = mistakes(confused)
    assert paragraphs([first])[0].startswith("1 of 5 pictures cannot be shown")
    assert [picture.image is None for picture in galleries(others)[0].pictures] == [True, False, False]


def test_of_a_thousand_labels_so_much_is_shown_as_one_looks_at(tmp_path: Path) -> None:
    labels = [f"label {number}" for number in range(1000)]
    (row,) = drawn(tmp_path, ["label 0"], "valid")
    rows = [{**row, "label": label} for label in labels]
    answers = np.full((1000, 1000), 1e-4, np.float32)
    answers[np.arange(1000), (np.arange(1000) + 1) % 1000] = 0.9

    blocks = list(mistakes(records_of(rows, labels, answers, np.arange(1000))))

    assert len(galleries(blocks)) == MOST_PAIRS + 1
    assert captions(blocks)[0].endswith("(pair 1 of 1,000)")
    assert len(galleries(blocks)[-1].pictures) == MOST_LOSSES


# ── several labels ──────────────────────────────────────────────────────────────────────────────────


def test_of_several_labels_those_missed_and_those_wrongly_given_are_shown(tmp_path: Path) -> None:
    rows = drawn(tmp_path, ["a|b", "a", ""], "valid")
    targets = [[1, 1], [1, 0], [0, 0]]
    answers = [[0.9, 0.2], [0.8, 0.3], [0.1, 0.7]]
    records = records_of(rows, ("a", "b"), answers, targets, task="multi-label")

    missed, given, worst = galleries(mistakes(records))

    assert missed.caption == "b missed in 1 of 1 validation pictures that show b"
    assert missed.pictures[0].lines == ("20.0%", "shows a, b")
    assert given.caption == "b wrongly given to 1 of 2 validation pictures that do not show b"
    assert given.pictures[0].lines == ("70.0%", "shows none of the labels")
    assert worst.pictures[0].lines[:2] == ("shows a, b", "missed: b (20.0%)")
    assert worst.pictures[1].lines[:2] == ("shows none of the labels", "wrongly given: b (70.0%)")
    assert worst.pictures[2].lines[:2] == ("shows a", "all labels right")


def test_a_label_that_is_given_from_its_own_threshold_on_is_not_missed(tmp_path: Path) -> None:
    rows, several = drawn(tmp_path, ["a"], "valid"), {"task": "multi-label", "thresholds": {"a": 0.2}}
    found = list(mistakes(records_of(rows, ("a",), [[0.3]], [[1]], **several)))
    assert paragraphs(found) == ["Every validation picture was given its labels, and no others."]


# ── values ──────────────────────────────────────────────────────────────────────────────────────────


def test_of_values_the_furthest_off_are_shown_with_both_numbers(tmp_path: Path) -> None:
    rows = drawn(tmp_path, ["1.0 1000.0", "2.0 3000.0"], "valid")
    answers, targets = [[1.0, 1500.0], [2.5, 3000.0]], [[1.0, 1000.0], [2.0, 3000.0]]
    blocks = list(mistakes(records_of(rows, ("age", "mass"), answers, targets, task="regression")))

    assert captions(blocks) == [f"Of 2 validation pictures the 2 with the largest losses. {LOSS['regression']}"]
    first, second = pictures(blocks)
    assert first.lines[:2] == ("age: 2, predicted 2.5", "mass: 3000, predicted 3000")
    assert second.lines[:2] == ("mass: 1000, predicted 1500", "age: 1, predicted 1")
