"""Blends: their loss is the blend of the losses, they are the same after the same seed, and only where they can be."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.progress import ProgressCallback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from torch import Tensor, nn

from finetune.config import Imbalance, Mixing
from finetune.training.batches import Batches
from finetune.training.learner.losses import loss_for
from finetune.training.learner.mixing import is_applicable, mixing
from finetune.types import Task

POOLED, MAPS = (6,), (3, 8, 8)
TARGETS: dict[Task, Tensor] = {
    "single-label": torch.arange(12) % 3,
    "multi-label": (torch.arange(36).reshape(12, 3) % 2).float(),
    "regression": torch.linspace(-1, 1, 36).reshape(12, 3),
}
Shape = tuple[int, ...]


class Blend(NamedTuple):
    """A training batch as the network got it: ``share`` of it are pictures with the targets ``mine``."""

    inputs: Tensor
    logits: Tensor
    loss: float
    mine: Tensor
    other: Tensor
    share: Tensor


class Noting(Callback):  # type: ignore[misc]
    """Notes all blends; comes before what makes them."""

    order = -1

    def __init__(self, blending: Any) -> None:
        self.blending = blending
        self.blends: list[Blend] = []

    def before_batch(self) -> None:
        self.mine = self.y

    def after_loss(self) -> None:
        if self.training:
            share, other = self.blending.lam, self.blending.yb1[0]
            loss = float(self.loss_grad.detach())
            self.blends.append(Blend(self.x, self.pred.detach(), loss, self.mine, other, share))


class Flat(nn.Module):
    """Takes inputs of any arithmetic, as autocast does."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.float().flatten(1)


def learner_of(task: Task, shape: Shape, loss: Any, callbacks: list[Callback], dtype: torch.dtype) -> Any:
    torch.manual_seed(0)
    inputs = torch.randn(12, *shape).to(dtype)
    model = nn.Sequential(Flat(), nn.Linear(inputs[0].numel(), 3))
    train = Batches(lambda indices, _: inputs[indices], TARGETS[task], 4, shuffled=True)
    valid = Batches(lambda indices, _: inputs[indices].float(), TARGETS[task], 4)
    learner = Learner(
        DataLoaders(train, valid), model, loss, opt_func=partial(OptimWrapper, opt=torch.optim.SGD), cbs=callbacks
    )
    learner.remove_cb(ProgressCallback)
    learner.logger = lambda _: None
    return learner


def trained(
    task: Task, mix: Mixing, shape: Shape, loss: Any = None, dtype: torch.dtype = torch.float32, seed: int = 1
) -> list[Blend]:
    blending = mixing(mix, is_spatial=len(shape) == 3)
    assert blending is not None
    noting = Noting(blending)
    learner = learner_of(task, shape, loss or loss_for(task, "none", TARGETS[task], 3), [blending, noting], dtype)
    torch.manual_seed(seed)
    learner.fit(1, 0.01)
    assert len(noting.blends) == 3
    return noting.blends


every_blend = pytest.mark.parametrize(
    ("mix", "shape"), [("mixup", POOLED), ("mixup", MAPS), ("cutmix", MAPS)], ids=["mixup", "mixup-maps", "cutmix-maps"]
)
every_task = pytest.mark.parametrize("task", TARGETS)


@every_blend
@pytest.mark.parametrize("imbalance", ["none", "weights", "sampling", "focal"])
@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_the_loss_of_a_blend_is_the_blend_of_the_losses(
    task: Task, mix: Mixing, shape: Shape, imbalance: Imbalance
) -> None:
    blends = trained(task, mix, shape, loss_for(task, imbalance, TARGETS[task], 3))
    each = loss_for(task, imbalance, TARGETS[task], 3)
    each.reduction = "none"

    for blend in blends:
        mine, other = (each(blend.logits, targets).reshape(4, -1).mean(dim=1) for targets in (blend.mine, blend.other))
        assert blend.loss == pytest.approx(float(torch.lerp(other, mine, blend.share).mean()), rel=1e-5)


@every_blend
def test_values_are_blended_as_the_pictures_are(mix: Mixing, shape: Shape) -> None:
    loss = loss_for("regression", "none", TARGETS["regression"], 3)

    for blend in trained("regression", mix, shape):
        share = blend.share.reshape(-1, 1)
        targets = share * blend.mine + (1 - share) * blend.other
        assert blend.loss == pytest.approx(float(loss(blend.logits, targets)), rel=1e-5)


@every_task
@every_blend
def test_the_same_seed_makes_the_same_blends_and_another_others(task: Task, mix: Mixing, shape: Shape) -> None:
    first, again, other = (trained(task, mix, shape, seed=seed) for seed in (5, 5, 6))

    assert all(torch.equal(a.inputs, b.inputs) and a.loss == b.loss for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a.inputs, b.inputs) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_activations_that_are_kept_in_bfloat16_are_blended(mix: Mixing) -> None:
    exactly = trained("single-label", mix, MAPS)

    for blend, exact in zip(trained("single-label", mix, MAPS, dtype=torch.bfloat16), exactly, strict=True):
        assert torch.allclose(blend.inputs.float(), exact.inputs, atol=0.02)


def test_validation_sees_no_blends_and_the_loss_afterwards_is_the_one_before() -> None:
    blending = mixing("mixup", is_spatial=False)
    loss = loss_for("single-label", "none", TARGETS["single-label"], 3)
    learner = learner_of("single-label", POOLED, loss, [blending], torch.float32)

    learner.fit(1, 0.01)
    inputs, targets = (torch.cat(parts) for parts in zip(*learner.dls.valid, strict=True))
    with torch.no_grad():
        expected = float(loss(learner.model(inputs), targets))

    assert learner.recorder.values[-1][1] == pytest.approx(expected, rel=1e-5)
    assert learner.loss_func is loss


def test_pooled_features_have_no_part_to_cut_out() -> None:
    assert not is_applicable("cutmix", is_spatial=False)
    assert mixing("cutmix", is_spatial=False) is None
    assert is_applicable("cutmix", is_spatial=True)
    assert is_applicable("mixup", is_spatial=False)


def test_nothing_is_blended_unless_it_is_asked_for() -> None:
    assert mixing("none", is_spatial=True) is None
