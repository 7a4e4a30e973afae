"""What a run is once everything was said: every option, with its default, and the words that it knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

TaskOption = Literal["auto", "single-label", "multi-label", "regression"]
Strategy = Literal["auto", "probe", "svm", "logreg", "finetune", "partial", "gradual", "scratch"]
Head = Literal["linear", "fastai"]
Imbalance = Literal["none", "weights", "sampling", "focal"]
Augmentation = Literal["none", "light", "fastai", "trivial"]
Mixing = Literal["none", "mixup", "cutmix"]
Averaging = Literal["none", "ema", "soup", "both"]
Optimizer = Literal["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"]
Schedule = Literal["OneCycleLR", "CosineAnnealingLR", "StepLR"]
Precision = Literal["auto", "bf16", "fp32"]
CalibrationMethod = Literal["temperature", "none"]
Tracker = Literal["tensorboard", "wandb", "mlflow"]


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a run; the defaults of all options are written here and nowhere else.

    ``None`` means: as the data set (``source``, ``image_col``), the task (``monitor``), the backbone (``image_size``,
    ``crop_fraction``) or the other options (``layer``: the last stage, ``unfreeze``: two stages for 'partial' and else
    every one, ``unfrozen_lr``: a tenth of ``lr``) have it, or that there is none.
    """

    plugin: str | None = None
    data: Path | None = None
    name: str | None = None
    source: str | None = None
    recipe: str | None = None
    task: TaskOption = "auto"
    image_col: str | None = None
    label_col: tuple[str, ...] = ()
    label_separator: str | None = None
    split_col: str | None = None
    group_col: str | None = None
    group_pattern: str | None = None
    skip_missing: bool = False
    max_unreadable: float = 0.05
    valid_share: float = 0.2
    test_share: float = 0.0
    split: Path | None = None
    folds: int | None = None
    fold: int | None = None
    backbone: str = "mobilenet_v2"
    weights: str = "pretrained"
    head: Head = "linear"
    layer: str | None = None
    image_size: int | None = None
    crop_fraction: float | None = None
    strategy: Strategy = "auto"
    epochs: int = 3
    freeze_epochs: int = 20
    views: int = 2
    augment: Augmentation = "light"
    mix: Mixing = "none"
    imbalance: Imbalance = "none"
    label_smoothing: float = 0.0
    lr: float | Literal["find"] = 0.003
    unfreeze: int | None = None
    unfrozen_lr: float | None = None
    rate_span: float = 100
    optimizer: Optimizer = "AdamW"
    momentum: float = 0.9
    weight_decay: float = 0.01
    schedule: Schedule = "OneCycleLR"
    step_epochs: int = 7
    gamma: float = 0.1
    batch_size: int = 32
    precision: Precision = "auto"
    cache_gb: float = 4.0
    callback: tuple[str, ...] = ()
    metric: tuple[str, ...] = ()
    monitor: str | None = None
    patience: int | None = None
    average: Averaging = "none"
    calibration: CalibrationMethod = "temperature"
    abstain_at: float | None = None
    target: tuple[str, ...] = ()
    max_drop: float = 0.005
    max_minutes: float | None = None
    checkpoint_seconds: float = 30.0
    track: tuple[Tracker, ...] = ()
    seed: int = 42
    out: Path = Path("runs")


PRETRAINING: Mapping[str, Any] = {
    "backbone": "resnet18_half",
    "epochs": 40,
    "label_smoothing": 0.1,
    "weight_decay": 0.05,
    "batch_size": 64,
}
"""The defaults of a training from scratch, where they are not those of a run."""

FROM_SCRATCH: Mapping[str, Any] = {
    "folds": None,
    "fold": None,
    "weights": "none",
    "layer": None,
    "strategy": "scratch",
    "freeze_epochs": RunConfig.freeze_epochs,
    "views": RunConfig.views,
    "unfreeze": None,
    "unfrozen_lr": None,
    "rate_span": RunConfig.rate_span,
    "cache_gb": RunConfig.cache_gb,
    "calibration": "none",
    "abstain_at": None,
    "target": (),
    "max_drop": RunConfig.max_drop,
}
"""What a training from scratch is, whatever a file or a recipe says: one network, whole, of random weights.

These are the options of a run that it does not have."""
