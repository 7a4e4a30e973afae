"""The options of a run, with their defaults and what the command line says of each.

``RunOptions`` is the partial form: the command line, a TOML file, a plugin's recipe and ``finetune.run`` all
speak it. ``resolve`` lays them over each other (defaults < recipe < file < command line) into one ``RunConfig``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from cyclopts import Group, Parameter

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


_DATA = Group("Data", sort_key=1)
_SPLIT = Group("Split", sort_key=2)
_NETWORK = Group("Network", sort_key=3)
_TRAINING = Group("Training", sort_key=4)
_CHOICE = Group("Choice of the best, and what it answers", sort_key=5)
_RUN = Group("The run", sort_key=6)


def _says(group: Group, help_text: str, default: object = None, **more: object) -> Parameter:
    shown = help_text if default is None else f"{help_text} [default: {default}]"
    return Parameter(help=shown, group=group, **more)  # type: ignore[arg-type]


class RunOptions(TypedDict, total=False):
    """The options of a run that somebody has said; what is absent was not said."""

    plugin: Annotated[
        str,
        _says(_DATA, "Data set to train on, by name, with the recipe it recommends; see 'finetune list datasets'."),
    ]
    data: Annotated[
        Path,
        _says(
            _DATA,
            "Folder with one subfolder of pictures per class, or with train/, valid/ (val/) and test/ folders of such; "
            "or a table of pictures and labels (.csv, .tsv, .parquet).",
        ),
    ]
    name: Annotated[
        str, _says(_DATA, "Name under which the data set is published, for a --plugin that fetches by name.")
    ]
    source: Annotated[str, _says(_DATA, "Which of the data set's sources to use; the first it offers by default.")]
    recipe: Annotated[str, _says(_DATA, "Which of the data set's recipes to follow; see 'finetune list recipes'.")]
    task: Annotated[
        TaskOption,
        _says(_DATA, "What the network answers; 'auto' goes by the form of the labels.", RunConfig.task),
    ]
    image_col: Annotated[
        str,
        _says(
            _DATA, "Column of a table with the pictures' paths. [default: image, path, file, filename or image_path]"
        ),
    ]
    label_col: Annotated[
        tuple[str, ...],
        _says(
            _DATA,
            "Column of a table with the label, repeatable: several columns of 0 and 1 are several labels, several of "
            "numbers several values. [default: label or labels]",
        ),
    ]
    label_separator: Annotated[
        str, _says(_DATA, "What separates the labels of one picture in a column of a table: several labels.")
    ]
    split_col: Annotated[
        str, _says(_SPLIT, "Column of a table that says 'train', 'valid' or 'test'. [default: a column named split]")
    ]
    group_col: Annotated[
        str,
        _says(
            _SPLIT,
            "Column of a table with what must not be divided: the patient, the animal, the scene. [default: a column "
            "named group]",
        ),
    ]
    group_pattern: Annotated[
        str,
        _says(
            _SPLIT,
            "The same as a regular expression on a picture's path below the folder that all pictures share: its first "
            "group, or all it matches.",
        ),
    ]
    skip_missing: Annotated[
        bool, _says(_DATA, "Train without the pictures of a table that are not there, instead of refusing it.")
    ]
    max_unreadable: Annotated[
        float,
        _says(_DATA, "Share of unreadable pictures above which a run refuses to start.", RunConfig.max_unreadable),
    ]
    valid_share: Annotated[
        float,
        _says(
            _SPLIT, "Share of each class held out for validation where the data has no split.", RunConfig.valid_share
        ),
    ]
    test_share: Annotated[
        float,
        _says(
            _SPLIT,
            "Share of each class that is never trained on nor chosen by; the exported file is scored on it at the end.",
            RunConfig.test_share,
        ),
    ]
    split: Annotated[Path, _says(_SPLIT, "The split.csv of an earlier run, to divide the pictures in the same way.")]
    folds: Annotated[
        int, _says(_SPLIT, "Cross-validate: train so many networks, each validated on another part of the pictures.")
    ]
    fold: Annotated[int, _says(_SPLIT, "Train only this one of the --folds, from 1.")]
    backbone: Annotated[
        str, _says(_NETWORK, "Network to start from; see 'finetune list backbones'.", RunConfig.backbone)
    ]
    weights: Annotated[
        str, _says(_NETWORK, "'pretrained', 'none' (from scratch), or a .safetensors or .pth file.", RunConfig.weights)
    ]
    head: Annotated[Head, _says(_NETWORK, "New head: one linear layer, or fastai's of two layers.", RunConfig.head)]
    layer: Annotated[
        str, _says(_NETWORK, "Last stage of the body to keep; see 'finetune run --dry-run'. [default: all]")
    ]
    image_size: Annotated[
        int, _says(_NETWORK, "Side of the square that the network sees, in pixels. [default: the backbone's]")
    ]
    crop_fraction: Annotated[
        float, _says(_NETWORK, "Share of a picture's shorter side that the network sees. [default: the backbone's]")
    ]
    strategy: Annotated[
        Strategy,
        _says(
            _TRAINING, "How much of the network learns; 'auto' measures, and goes on where it pays.", RunConfig.strategy
        ),
    ]
    epochs: Annotated[int, _says(_TRAINING, "Epochs after unfreezing.", RunConfig.epochs)]
    freeze_epochs: Annotated[
        int, _says(_TRAINING, "Epochs before that, in which only the new head is trained.", RunConfig.freeze_epochs)
    ]
    views: Annotated[
        int,
        _says(
            _TRAINING, "Views of each picture that frozen layers are computed for, the first as it is.", RunConfig.views
        ),
    ]
    augment: Annotated[
        Augmentation,
        _says(
            _TRAINING,
            "How the other views differ: cut, mirrored and lit ('light'), as fastai's aug_transforms, by "
            "TrivialAugment ('trivial'), or not at all.",
            RunConfig.augment,
        ),
    ]
    mix: Annotated[Mixing, _says(_TRAINING, "Blend pairs of pictures while training.", RunConfig.mix)]
    imbalance: Annotated[
        Imbalance,
        _says(
            _TRAINING,
            "Against unequal classes: weights in the loss, sampling each class alike, or the focal loss.",
            RunConfig.imbalance,
        ),
    ]
    lr: Annotated[
        float | Literal["find"],
        _says(_TRAINING, "Highest learning rate, of the head while the body is frozen; 'find' measures it.", 0.003),
    ]
    unfreeze: Annotated[
        int, _says(_TRAINING, "Unfreeze only the last N stages of the body. [default: 2 for 'partial', else all]")
    ]
    unfrozen_lr: Annotated[
        float, _says(_TRAINING, "Highest learning rate after unfreezing. [default: a tenth of --lr]")
    ]
    rate_span: Annotated[
        float,
        _says(
            _TRAINING, "How many times slower the lowest layers learn than the head; 1: all alike.", RunConfig.rate_span
        ),
    ]
    optimizer: Annotated[Optimizer, _says(_TRAINING, "Optimizer, as torch.optim names it.", RunConfig.optimizer)]
    momentum: Annotated[
        float,
        _says(_TRAINING, "Momentum, or Adam's first beta, where the schedule does not move it.", RunConfig.momentum),
    ]
    weight_decay: Annotated[float, _says(_TRAINING, "Weight decay.", RunConfig.weight_decay)]
    schedule: Annotated[
        Schedule,
        _says(_TRAINING, "Course of the learning rate, as torch.optim.lr_scheduler names it.", RunConfig.schedule),
    ]
    step_epochs: Annotated[int, _says(_TRAINING, "Epochs from one step of StepLR to the next.", RunConfig.step_epochs)]
    gamma: Annotated[float, _says(_TRAINING, "Factor of the learning rate at each step of StepLR.", RunConfig.gamma)]
    batch_size: Annotated[int, _says(_TRAINING, "Pictures per training step.", RunConfig.batch_size)]
    precision: Annotated[
        Precision,
        _says(_TRAINING, "Arithmetic of training; 'auto' is bf16 where the processor has it.", RunConfig.precision),
    ]
    cache_gb: Annotated[
        float,
        _says(
            _TRAINING, "Room on disk for what frozen layers computed, for later runs; 0 keeps none.", RunConfig.cache_gb
        ),
    ]
    callback: Annotated[
        tuple[str, ...],
        _says(_TRAINING, "Callback of a plugin that takes part, repeatable; see 'finetune list callbacks'."),
    ]
    metric: Annotated[
        tuple[str, ...],
        _says(_CHOICE, "Metric of a plugin to be measured as well, repeatable; see 'finetune list metrics'."),
    ]
    monitor: Annotated[
        str,
        _says(
            _CHOICE,
            "Validation metric that chooses the best epoch; see 'finetune list metrics'. [default: accuracy, "
            "mean-average-precision or r2, by the task]",
        ),
    ]
    patience: Annotated[
        int, _says(_CHOICE, "End a phase after so many epochs without a better one. [default: go to the end]")
    ]
    average: Annotated[
        Averaging,
        _says(
            _CHOICE,
            "Also try averages of the weights, and keep one where it wins: a moving average ('ema'), a greedy soup of "
            "the best epochs, or both.",
            RunConfig.average,
        ),
    ]
    calibration: Annotated[
        CalibrationMethod,
        _says(_CHOICE, "Fit the confidence of the answers to the validation pictures.", RunConfig.calibration),
    ]
    abstain_at: Annotated[
        float,
        _says(
            _CHOICE,
            "Let the model abstain below the probability from which this share of its validation answers is right.",
        ),
    ]
    target: Annotated[
        tuple[str, ...], _says(_RUN, "Export target beside 'onnx', repeatable; see 'finetune list targets'.")
    ]
    max_drop: Annotated[
        float,
        _says(_RUN, "How much of the metric a target of other arithmetic, such as 'int8', may lose.", 0.005),
    ]
    max_minutes: Annotated[
        float,
        _says(
            _RUN,
            "End training in time, so that the export is done so many minutes after the start; all --folds together.",
        ),
    ]
    checkpoint_seconds: Annotated[
        float,
        _says(
            _RUN, "Seconds of training that a killed run may lose: how often it is saved.", RunConfig.checkpoint_seconds
        ),
    ]
    track: Annotated[tuple[Tracker, ...], _says(_RUN, "Follow the run in a tracker, repeatable.")]
    seed: Annotated[int, _says(_RUN, "Seed of the split, the new head and the order of pictures.", RunConfig.seed)]
    out: Annotated[Path, _says(_RUN, "Folder in which the run gets a folder of its own.", RunConfig.out)]
