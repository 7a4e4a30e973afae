"""Which labels are taken for which others: counted once, by name, and only where there are labels to confuse."""

from __future__ import annotations

import numpy as np
import pytest

from finetune.report.sections.confusion import confusion
from finetune.types import Confusion

from .conftest import Made, said, table

RIGHT = np.eye(3, dtype=np.float32)


def test_each_picture_is_counted_where_its_label_meets_its_answer(made: Made) -> None:
    blocks = list(confusion(made("single-label", RIGHT[[0, 0, 1, 1, 1]], [0, 1, 1, 2, 2])))

    (matrix,) = [block for block in blocks if isinstance(block, Confusion)]
    assert matrix.labels == ("a", "b", "c")
    assert matrix.counts == ((1, 0, 0), (1, 1, 0), (0, 2, 0))
    assert table(blocks, "Which labels").rows == (("c", "b", "2", "100.0%"), ("b", "a", "1", "50.0%"))


def test_where_nothing_is_wrong_that_is_what_is_said(made: Made) -> None:
    blocks = list(confusion(made("single-label", RIGHT, [0, 1, 2])))

    assert said(blocks) == ["Not one of 3 validation pictures was given a wrong label."]


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_other_tasks_have_nothing_to_confuse(task: str, made: Made) -> None:
    assert list(confusion(made(task, RIGHT, RIGHT))) == []


def test_answers_that_are_no_numbers_are_counted_apart(made: Made) -> None:
    answers = np.where(np.arange(3)[:, None] == 1, np.nan, RIGHT)

    blocks = list(confusion(made("single-label", answers, [0, 1, 2])))

    assert said(blocks)[0] == "1 picture got answers that are no finite numbers, and are left out here."
    assert [block.counts for block in blocks if isinstance(block, Confusion)] == [((1, 0, 0), (0, 0, 0), (0, 0, 1))]


def test_without_validation_pictures_there_is_no_empty_matrix(made: Made) -> None:
    blocks = list(confusion(made("single-label", [], [], train=[0, 1, 2])))

    assert said(blocks) == ["There are no validation pictures."]
    assert len(blocks) == 1


def test_of_very_many_labels_there_is_no_matrix_but_the_pairs_that_are_confused(made: Made) -> None:
    labels = tuple(f"class {number}" for number in range(1001))
    answers = np.zeros((60, 1001), np.float32)
    answers[np.arange(60), np.arange(60) + 1] = 1

    blocks = list(confusion(made("single-label", answers, np.arange(60), labels=labels)))

    assert said(blocks) == ["With 1,001 labels, a confusion matrix is too large for a page."]
    assert not any(isinstance(block, Confusion) for block in blocks)
    assert len(table(blocks, "The 50 pairs of labels that are confused most, of 60").rows) == 50
