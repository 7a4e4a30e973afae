"""Losses: what each task minimises, how rare labels count more, and that blends of pictures fit into it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from finetune.config import Imbalance
from finetune.training.learner.losses import (
    GAMMA,
    MOST_WEIGHT,
    class_weights,
    loss_for,
    positive_weights,
    sampling_weights,
)
from finetune.types import Task

SINGLE = torch.tensor([0] * 6 + [1] * 3 + [2])
SEVERAL = torch.tensor([[1.0, 0.0, 0.0]] * 7 + [[1.0, 1.0, 0.0]] * 2 + [[0.0, 0.0, 0.0]])
VALUES = torch.tensor([[0.5, -1.0], [2.0, 0.0], [-0.1, 4.0]])


def logits_for(targets: Tensor, width: int = 3) -> Tensor:
    return torch.randn(len(targets), width, generator=torch.Generator().manual_seed(1))


def value(task: Task, imbalance: Imbalance, targets: Tensor, width: int = 3) -> float:
    return float(loss_for(task, imbalance, targets, width)(logits_for(targets, width), targets))


# ── what is minimised ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("imbalance", ["none", "sampling"])
def test_a_single_label_is_learned_by_cross_entropy(imbalance: Imbalance) -> None:
    expected = functional.cross_entropy(logits_for(SINGLE), SINGLE)

    assert value("single-label", imbalance, SINGLE) == pytest.approx(float(expected))


@given(st.floats(0, 0.9))
def test_a_smoothed_label_is_learned_as_torch_smooths_it(smoothing: float) -> None:
    expected = functional.cross_entropy(logits_for(SINGLE), SINGLE, label_smoothing=smoothing)

    found = loss_for("single-label", "none", SINGLE, 3, smoothing)(logits_for(SINGLE), SINGLE)

    assert float(found) == pytest.approx(float(expected))


def test_smoothed_labels_are_weighed_as_others_are() -> None:
    weight = class_weights(SINGLE, 3)
    expected = functional.cross_entropy(logits_for(SINGLE), SINGLE, weight, label_smoothing=0.2)

    found = loss_for("single-label", "weights", SINGLE, 3, 0.2)(logits_for(SINGLE), SINGLE)

    assert float(found) == pytest.approx(float(expected))


UNSMOOTHED: list[tuple[Task, Imbalance, Tensor]] = [
    ("single-label", "focal", SINGLE),
    ("multi-label", "none", SEVERAL),
    ("multi-label", "focal", SEVERAL),
    ("regression", "none", SEVERAL),
]


@pytest.mark.parametrize(
    ("task", "imbalance", "targets"), UNSMOOTHED, ids=["focal", "several", "several focal", "values"]
)
def test_other_losses_go_without_smoothing(task: Task, imbalance: Imbalance, targets: Tensor) -> None:
    found = loss_for(task, imbalance, targets, 3, 0.5)(logits_for(targets), targets)

    assert float(found) == pytest.approx(value(task, imbalance, targets))


@pytest.mark.parametrize("imbalance", ["none", "sampling"])
def test_several_labels_are_learned_by_binary_cross_entropy(imbalance: Imbalance) -> None:
    expected = functional.binary_cross_entropy_with_logits(logits_for(SEVERAL), SEVERAL)

    assert value("multi-label", imbalance, SEVERAL) == pytest.approx(float(expected))


def test_values_are_learned_by_squared_errors_within_a_deviation_and_absolute_ones_beyond() -> None:
    loss = loss_for("regression", "none", VALUES, 2)

    assert float(loss(VALUES + 0.5, VALUES)) == pytest.approx(0.5**2 / 2)
    assert float(loss(VALUES + 9, VALUES)) == pytest.approx(9 - 0.5)


def test_the_focal_loss_of_a_single_label_is_that_of_lin_et_al() -> None:
    right = logits_for(SINGLE).softmax(dim=1)[torch.arange(len(SINGLE)), SINGLE]

    assert value("single-label", "focal", SINGLE) == pytest.approx(
        float((-((1 - right) ** GAMMA) * right.log()).mean())
    )


def test_the_focal_loss_of_several_labels_is_that_of_lin_et_al_for_each_label() -> None:
    probabilities = logits_for(SEVERAL).sigmoid()
    right = torch.where(SEVERAL > 0, probabilities, 1 - probabilities)

    assert value("multi-label", "focal", SEVERAL) == pytest.approx(
        float((-((1 - right) ** GAMMA) * right.log()).mean())
    )


# ── weights ─────────────────────────────────────────────────────────────────────────────────────────


def test_classes_count_alike_in_the_sum_whatever_their_number_of_pictures() -> None:
    weights = class_weights(SINGLE, 3)

    assert (weights * SINGLE.bincount()).tolist() == pytest.approx([10 / 3] * 3)
    expected = functional.cross_entropy(logits_for(SINGLE), SINGLE, weight=weights)
    assert value("single-label", "weights", SINGLE) == pytest.approx(float(expected))


@given(counts=st.lists(st.integers(0, 500), min_size=2, max_size=6).filter(lambda counts: sum(counts) > 0))
def test_class_weights_are_one_in_the_mean_over_the_pictures_and_bounded(counts: list[int]) -> None:
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))

    weights = class_weights(targets, len(counts))

    assert float(weights[targets].mean()) == pytest.approx(1, rel=1e-4)
    assert all(0 < weight < math.inf for weight in weights.tolist())


def test_a_very_rare_class_counts_ten_times_a_picture_and_not_thousands() -> None:
    weights = class_weights(torch.tensor([0] * 9_999 + [1]), 2)

    assert float(weights[1] / weights[0]) == pytest.approx(2 * MOST_WEIGHT, rel=0.01)


def test_a_label_that_is_rare_counts_more_where_it_is_and_a_frequent_one_less() -> None:
    assert positive_weights(SEVERAL).tolist() == pytest.approx([1 / 9, 4.0, MOST_WEIGHT])  # 9, 2 and 0 of 10

    expected = functional.binary_cross_entropy_with_logits(
        logits_for(SEVERAL), SEVERAL, pos_weight=positive_weights(SEVERAL)
    )
    assert value("multi-label", "weights", SEVERAL) == pytest.approx(float(expected))


@pytest.mark.parametrize(("task", "targets"), [("single-label", SINGLE), ("multi-label", SEVERAL)])
@pytest.mark.parametrize("imbalance", ["none", "weights", "sampling", "focal"])
def test_every_loss_can_be_learned_from(task: Task, targets: Tensor, imbalance: Imbalance) -> None:
    logits = logits_for(targets).requires_grad_()

    loss_for(task, imbalance, targets, 3)(logits, targets).backward()

    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().sum() > 0


# ── sampling ────────────────────────────────────────────────────────────────────────────────────────


def drawn_as(weights: Tensor | None, groups: list[slice]) -> list[float]:
    assert weights is not None
    return [float(weights[group].sum()) for group in groups]


def test_sampling_draws_every_class_alike_and_pictures_of_a_class_alike() -> None:
    weights = sampling_weights("single-label", SINGLE)

    assert drawn_as(weights, [slice(0, 6), slice(6, 9), slice(9, 10)]) == pytest.approx([1 / 3] * 3)
    assert weights is not None
    assert len(set(weights[:6].tolist())) == 1


def test_a_picture_of_several_labels_is_drawn_as_its_rarest_and_those_of_none_as_one_more() -> None:
    weights = sampling_weights("multi-label", SEVERAL)

    only_frequent, also_rare, none = drawn_as(weights, [slice(0, 7), slice(7, 9), slice(9, 10)])
    assert also_rare == pytest.approx(none)  # both are one class of so many pictures
    assert only_frequent == pytest.approx(7 / 9 * none)  # the frequent label has nine
    assert only_frequent + also_rare + none == pytest.approx(1)


def test_values_are_not_sampled() -> None:
    assert sampling_weights("regression", VALUES) is None


@given(st.data())
def test_sampling_weights_are_a_distribution(data: st.DataObject) -> None:
    rows: Any = st.lists(st.lists(st.integers(0, 1), min_size=3, max_size=3), min_size=1, max_size=12)
    targets = torch.tensor(data.draw(rows), dtype=torch.float32)

    weights = sampling_weights("multi-label", targets)

    assert weights is not None
    assert weights.shape == (len(targets),)
    assert (weights > 0).all()
    assert float(weights.sum()) == pytest.approx(1)
