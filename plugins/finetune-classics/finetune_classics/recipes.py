"""The articles' systems, as options of a run.

Where an article states an option, it stands here; what none states is said in the README. Optimizers have torch's
defaults where nothing else is stated: no weight decay for SGD and Adam. A plain loop keeps its rate, which is StepLR
with steps that change nothing.
"""

from __future__ import annotations

from finetune.config import RunOptions
from finetune.types import Recipe

# "ConvNet as fixed feature extractor" of the PyTorch tutorial, beginner_source/transfer_learning_tutorial.py in
# github.com/pytorch/tutorials: another random crop of each picture in each epoch, hence as many views as epochs.
RESNET18_FROZEN = Recipe(
    name="resnet18-frozen",
    summary="ResNet-18 frozen, new head: SGD 0.001, StepLR, best of 25 epochs (articles report 0.9216)",
    options=RunOptions(
        backbone="resnet18",
        weights="pretrained",
        strategy="probe",
        head="linear",
        freeze_epochs=25,
        epochs=0,
        views=25,
        lr=0.001,
        optimizer="SGD",
        momentum=0.9,
        weight_decay=0.0,
        schedule="StepLR",
        step_epochs=7,
        gamma=0.1,
        batch_size=4,
    ),
)

RESNET18_A = Recipe(
    name="resnet18-a",
    summary="ResNet-18, model A: only the new head is trained, Adam 0.001, 10 epochs",
    options=RunOptions(
        backbone="resnet18",
        weights="pretrained",
        strategy="probe",
        head="linear",
        freeze_epochs=10,
        epochs=0,
        views=10,
        lr=0.001,
        optimizer="Adam",
        weight_decay=0.0,
        schedule="StepLR",
        gamma=1.0,
    ),
)

_ALL_LAYERS = RunOptions(
    weights="pretrained",
    strategy="finetune",
    head="linear",
    freeze_epochs=0,
    rate_span=1,
    weight_decay=0.0,
    schedule="StepLR",
    gamma=1.0,
)
"""All layers learn from the first epoch, and alike."""

RESNET18_B = Recipe(
    name="resnet18-b",
    summary="ResNet-18, model B: all layers are trained at once, Adam 0.0001, 10 epochs",
    options=RunOptions(**_ALL_LAYERS, backbone="resnet18", epochs=10, optimizer="Adam", lr=0.0001, unfrozen_lr=0.0001),
)

RESNET50 = Recipe(
    name="resnet50",
    summary="ResNet-50, all layers, Adam 0.0001, 5 epochs: hours on a processor",
    options=RunOptions(**_ALL_LAYERS, backbone="resnet50", epochs=5, optimizer="Adam", lr=0.0001, unfrozen_lr=0.0001),
)

RESNET18_CIFAR10 = Recipe(
    name="resnet18",
    summary="ResNet-18, all layers, SGD 0.001 with momentum 0.9, 10 epochs: hours on a processor",
    options=RunOptions(
        **_ALL_LAYERS,
        backbone="resnet18",
        epochs=10,
        optimizer="SGD",
        momentum=0.9,
        lr=0.001,
        unfrozen_lr=0.001,
    ),
)
