"""What training minimises, by task and by what is done against unequal classes.

Shapes: ``N`` pictures, ``K`` labels. Losses take logits float32 (N, K) and targets as ``finetune.data.targets`` makes
them, values scaled to mean 0 and standard deviation 1.
"""

from __future__ import annotations

from typing import Any

import torch
from fastai.losses import BaseLoss, BCEWithLogitsLossFlat, CrossEntropyLossFlat, FocalLossFlat
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from finetune.config import Imbalance
from finetune.types import Task

GAMMA = 2.0
"""How much the focal loss looks away from what is right already, as Lin et al. 2017 found best."""
MOST_WEIGHT = 10.0
"""How many times as much a rare label may count; a few pictures with more than that would be all that is learned."""


class FocalLossOverLabels(nn.Module):
    """The focal loss (Lin et al. 2017) of several labels, a mean over the labels of each picture.

    ``y_int`` tells fastai's callbacks for mixed pictures to blend losses: they blend targets otherwise, and this loss
    is no straight line between two targets.
    """

    y_int = True

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return a scalar, or with the reduction 'none' one loss for each picture: (N,)."""
        losses: Tensor = sigmoid_focal_loss(logits, targets.to(logits.dtype), alpha=-1, gamma=GAMMA).mean(dim=1)
        return losses.mean() if self.reduction == "mean" else losses


def loss_for(task: Task, imbalance: Imbalance, targets: Tensor, classes: int, label_smoothing: float = 0.0) -> Any:
    """Return the loss of a task; ``targets`` are all that are trained on, ``classes`` is K.

    ``label_smoothing`` (0 to 0.9, Szegedy et al. 2016) is the share of each single label that is spread over all
    classes; the focal loss and other tasks go without.
    Values are learned by the smooth L1 loss: squared errors within a standard deviation, absolute ones beyond. Where
    errors are normal it comes to the same r2 as the squared error, and where some values are grossly wrong to a better.
    """
    if task == "regression":
        return BaseLoss(nn.SmoothL1Loss, floatify=True, is_2d=False)
    if task == "single-label":
        if imbalance == "focal":
            return FocalLossFlat(gamma=GAMMA)
        weight = class_weights(targets, classes) if imbalance == "weights" else None
        return CrossEntropyLossFlat(weight=weight, label_smoothing=label_smoothing)
    if imbalance == "focal":
        return FocalLossOverLabels()
    return BCEWithLogitsLossFlat(pos_weight=positive_weights(targets) if imbalance == "weights" else None)


def class_weights(targets: Tensor, classes: int) -> Tensor:
    """Return how much each class counts, float32 (K,): N / (K n), and no more than ``MOST_WEIGHT``.

    Their mean over the pictures is 1, so that learning rates keep their meaning.
    """
    counts = targets.bincount(minlength=classes)
    weights = (len(targets) / (classes * counts.clamp(min=1))).clamp(max=MOST_WEIGHT)
    return weights * (len(targets) / (weights * counts).sum())


def positive_weights(targets: Tensor) -> Tensor:
    """Return how much more a label counts where it is than where it is not: float32 (K,), limited both ways."""
    shown = targets.sum(dim=0)
    return ((len(targets) - shown) / shown.clamp(min=1)).clamp(1 / MOST_WEIGHT, MOST_WEIGHT)


def sampling_weights(task: Task, targets: Tensor) -> Tensor | None:
    """Return how often to draw each picture so that all labels are seen alike: float64 (N,) of sum 1.

    A picture of several labels is drawn as its rarest one; those of none are one more class. None for regression.
    """
    if task == "regression":
        return None
    counts = targets.bincount()[targets] if task == "single-label" else _pictures_with_the_rarest_label(targets)
    weights = 1 / counts.double()
    return weights / weights.sum()


def _pictures_with_the_rarest_label(targets: Tensor) -> Tensor:
    """Return for each picture how many show its rarest label, or how many show none: (N,)."""
    shown = targets > 0
    with_label = shown.sum(dim=0).expand(targets.shape)
    rarest = with_label.where(shown, torch.tensor(len(targets))).amin(dim=1)
    empty = ~shown.any(dim=1)
    return rarest.where(~empty, empty.sum())
