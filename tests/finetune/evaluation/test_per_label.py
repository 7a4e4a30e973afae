from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, r2_score, roc_auc_score

from finetune.evaluation.metrics import score
from finetune.evaluation.per_label import LabelScore, ValueScore, per_label, per_value
from finetune.types import Task

from .conftest import EXAMPLES, several, single, values

LABELS = list("abcdefgh")


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_the_scores_of_a_label_are_scikit_learns(task: Task) -> None:
    answers, targets = EXAMPLES[task]()
    shown = np.eye(8)[targets] if task == "single-label" else targets
    given = np.eye(8)[answers.argmax(axis=1)] if task == "single-label" else answers >= 0.5
    expected = zip(*precision_recall_fscore_support(shown, given), strict=True)
    for k, (found, (precision, recall, f1, pictures)) in enumerate(
        zip(per_label(task, answers, targets, LABELS), expected, strict=True)
    ):
        assert (found.label, found.pictures) == (LABELS[k], pictures)
        assert (found.precision, found.recall, found.f1) == pytest.approx((precision, recall, f1))
        assert found.auroc == pytest.approx(roc_auc_score(shown[:, k], answers[:, k]))
        assert found.average_precision == pytest.approx(average_precision_score(shown[:, k], answers[:, k]))


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_the_metrics_over_labels_are_the_means_of_the_labels_own(task: Task) -> None:
    answers, targets = EXAMPLES[task]()
    scores = per_label(task, answers, targets, LABELS)
    for name, own in (("macro-f1", "f1"), ("mean-auroc", "auroc"), ("mean-average-precision", "average_precision")):
        mean = np.mean([getattr(found, own) for found in scores])
        assert score(name, task, answers, targets) == pytest.approx(mean)


def test_what_has_nothing_to_be_measured_on_is_none_and_not_zero() -> None:
    answers = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0]], np.float32)
    always, missed, absent = per_label("single-label", answers, np.array([0, 1]), ["always", "missed", "absent"])
    assert (always.precision, always.recall, always.f1) == (0.5, 1.0, pytest.approx(2 / 3))
    assert (missed.precision, missed.recall, missed.f1, missed.auroc) == (None, 0.0, 0.0, 1.0)
    assert absent == LabelScore(
        label="absent", pictures=0, precision=None, recall=None, f1=None, auroc=None, average_precision=None
    )


def test_a_label_that_every_picture_shows_has_no_auroc() -> None:
    answers, _ = several(4, 1)
    (found,) = per_label("multi-label", answers, np.ones((4, 1), np.float32), ["everywhere"])
    assert (found.auroc, found.average_precision) == (None, 1.0)


def test_thresholds_decide_which_labels_are_given() -> None:
    answers = np.array([[0.3], [0.2]], np.float32)
    targets = np.array([[1], [0]], np.float32)
    assert per_label("multi-label", answers, targets, ["a"])[0].recall == 0
    assert per_label("multi-label", answers, targets, ["a"], (0.25,))[0].f1 == 1


def test_the_scores_of_a_value_are_in_its_own_units() -> None:
    answers, targets = values(50, 2)
    answers[:, 1], targets[:, 1] = answers[:, 1] * 1000, targets[:, 1] * 1000
    metres, millimetres = per_value(answers, targets, ["m", "mm"])
    errors = np.abs(answers - targets).astype(np.float64)
    assert (metres.label, millimetres.label) == ("m", "mm")
    assert millimetres.mae == pytest.approx(errors[:, 1].mean())
    assert millimetres.rmse == pytest.approx(np.square(errors[:, 1]).mean() ** 0.5)
    assert metres.r2 == pytest.approx(r2_score(targets[:, 0], answers[:, 0]))


def test_a_value_that_never_varies_has_no_r2() -> None:
    same = np.full((3, 1), 2, np.float32)
    assert per_value(same + 1, same, ["v"]) == [ValueScore(label="v", mae=1, rmse=1, r2=None)]


def test_the_scores_of_no_pictures_are_refused() -> None:
    answers, targets = single(labels=8)
    with pytest.raises(ValueError, match="of no pictures"):
        per_label("single-label", answers[:0], targets[:0], LABELS)
    with pytest.raises(ValueError, match="of no pictures"):
        per_value(answers[:0], answers[:0], LABELS)
