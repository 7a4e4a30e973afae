"""Which pictures were answered rightly: one label, all of several, and values, which never are."""

from __future__ import annotations

import numpy as np

from finetune.evaluation.metrics import score
from finetune.evaluation.mistakes import right

from .conftest import several, single, values


def test_of_single_labels_the_most_probable_one_has_to_be_right() -> None:
    answers, targets = single()
    found = right("single-label", answers, targets)
    assert (found.shape, found.dtype) == ((200,), np.bool_)
    assert found.mean() == score("accuracy", "single-label", answers, targets)


def test_of_several_labels_exactly_those_have_to_reach_their_thresholds() -> None:
    answers = np.array([[0.6, 0.4], [0.6, 0.6], [0.1, 0.1]], np.float32)
    targets = np.array([[1, 0], [1, 0], [0, 0]], np.float32)
    assert right("multi-label", answers, targets).tolist() == [True, False, True]
    assert right("multi-label", answers, targets, [0.6, 0.7]).tolist() == [True, True, True]
    assert right("multi-label", answers, targets, [0.7, 0.5]).tolist() == [False, False, True]


def test_of_no_pictures_none_is_right_and_values_never_are() -> None:
    answers, targets = several(0, 2)
    assert right("multi-label", answers, targets).shape == (0,)
    answers, targets = values(5)
    assert not right("regression", targets, targets).any()
