"""The options of a run, and what the command line says of each.

``RunOptions`` is the partial form: the command line, a TOML file, a plugin's recipe and ``finetune.run`` all
speak it; ``PretrainOptions`` are those of a training from scratch. ``resolve`` lays them over each other (defaults <
recipe < file < command line) into one ``RunConfig``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypedDict

from cyclopts import Group, Parameter

from finetune.config.run_config import (
    PRETRAINING,
    Augmentation,
    Averaging,
    CalibrationMethod,
    Head,
    Imbalance,
    Mixing,
    Optimizer,
    Precision,
    RunConfig,
    Schedule,
    Strategy,
    TaskOption,
    Tracker,
)

_DATA = Group("Data", sort_key=1)
_SPLIT = Group("Split", sort_key=2)
_NETWORK = Group("Network", sort_key=3)
_TRANSFER = Group("Transfer", sort_key=4)
_TRAINING = Group("Training", sort_key=5)
_CHOICE = Group("Choice of the best, and what it answers", sort_key=6)
_EXPORT = Group("Export", sort_key=7)
_RUN = Group("The run", sort_key=8)


def _says(group: Group, help_text: str, default: object = None, **more: object) -> Parameter:
    shown = help_text if default is None else f"{help_text} [default: {default}]"
    return Parameter(help=shown, group=group, **more)  # type: ignore[arg-type]


_SMOOTHING = (
    "Share of each answer, of single labels, that is spread over all of them, so that the network is never quite sure."
)
_DECAY = "Weight decay."
_BATCH = "Pictures per training step."


class _Pace(TypedDict, total=False):
    """What learns, and how, where it may have learned before."""

    backbone: Annotated[
        str,
        _says(
            _NETWORK,
            "Network to start from, or a file of 'finetune pretrain'; see 'finetune list backbones'.",
            RunConfig.backbone,
        ),
    ]
    epochs: Annotated[int, _says(_TRAINING, "Epochs after unfreezing.", RunConfig.epochs)]
    label_smoothing: Annotated[float, _says(_TRAINING, _SMOOTHING, RunConfig.label_smoothing)]
    weight_decay: Annotated[float, _says(_TRAINING, _DECAY, RunConfig.weight_decay)]
    batch_size: Annotated[int, _says(_TRAINING, _BATCH, RunConfig.batch_size)]


class _PaceFromScratch(TypedDict, total=False):
    """What learns, and how, from scratch."""

    backbone: Annotated[
        str, _says(_NETWORK, "Network to train; see 'finetune list backbones'.", PRETRAINING["backbone"])
    ]
    epochs: Annotated[int, _says(_TRAINING, "Epochs; the best is kept.", PRETRAINING["epochs"])]
    label_smoothing: Annotated[float, _says(_TRAINING, _SMOOTHING, PRETRAINING["label_smoothing"])]
    weight_decay: Annotated[float, _says(_TRAINING, _DECAY, PRETRAINING["weight_decay"])]
    batch_size: Annotated[int, _says(_TRAINING, _BATCH, PRETRAINING["batch_size"])]


class _OfPictures(TypedDict, total=False):
    """What is trained on, and what is held out."""

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
            "Share of each class that is never trained on nor chosen by; the result is scored on it at the end.",
            RunConfig.test_share,
        ),
    ]
    split: Annotated[Path, _says(_SPLIT, "The split.csv of an earlier run, to divide the pictures in the same way.")]


class _Shared(_OfPictures, total=False):
    """What can be said of every training."""

    head: Annotated[Head, _says(_NETWORK, "Head: one linear layer, or fastai's of two layers.", RunConfig.head)]
    image_size: Annotated[
        int, _says(_NETWORK, "Side of the square that the network sees, in pixels. [default: the backbone's]")
    ]
    crop_fraction: Annotated[
        float, _says(_NETWORK, "Share of a picture's shorter side that the network sees. [default: the backbone's]")
    ]
    augment: Annotated[
        Augmentation,
        _says(
            _TRAINING,
            "How pictures differ from view to view, or from epoch to epoch: cut, mirrored and lit ('light'), as "
            "fastai's aug_transforms, by TrivialAugment ('trivial'), or not at all.",
            RunConfig.augment,
        ),
    ]
    lr: Annotated[
        float | Literal["find"],
        _says(_TRAINING, "Highest learning rate, the head's where layers differ; 'find' measures it.", 0.003),
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
    optimizer: Annotated[Optimizer, _says(_TRAINING, "Optimizer, as torch.optim names it.", RunConfig.optimizer)]
    momentum: Annotated[
        float,
        _says(_TRAINING, "Momentum, or Adam's first beta, where the schedule does not move it.", RunConfig.momentum),
    ]
    schedule: Annotated[
        Schedule,
        _says(_TRAINING, "Course of the learning rate, as torch.optim.lr_scheduler names it.", RunConfig.schedule),
    ]
    step_epochs: Annotated[int, _says(_TRAINING, "Epochs from one step of StepLR to the next.", RunConfig.step_epochs)]
    gamma: Annotated[float, _says(_TRAINING, "Factor of the learning rate at each step of StepLR.", RunConfig.gamma)]
    precision: Annotated[
        Precision,
        _says(_TRAINING, "Arithmetic of training; 'auto' is bf16 where the processor has it.", RunConfig.precision),
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
    max_minutes: Annotated[
        float,
        _says(
            _RUN,
            "End training in time, so that all is done so many minutes after the start.",
        ),
    ]
    checkpoint_seconds: Annotated[
        float,
        _says(
            _RUN, "Seconds of training that a killed run may lose: how often it is saved.", RunConfig.checkpoint_seconds
        ),
    ]
    track: Annotated[tuple[Tracker, ...], _says(_RUN, "Follow the run in a tracker, repeatable.")]
    seed: Annotated[int, _says(_RUN, "Seed of the split, of new weights and of the order of pictures.", RunConfig.seed)]
    out: Annotated[Path, _says(_RUN, "Folder in which the run gets a folder of its own.", RunConfig.out)]


class PretrainOptions(_PaceFromScratch, _Shared, total=False):
    """The options of a training from scratch that somebody has said; what is absent was not said."""


class RunOptions(_Pace, _Shared, total=False):
    """The options of a run that somebody has said; what is absent was not said."""

    folds: Annotated[
        int,
        _says(
            _SPLIT,
            "Cross-validate: train so many networks, each validated on another part of the pictures; --max-minutes is "
            "for all of them.",
        ),
    ]
    fold: Annotated[int, _says(_SPLIT, "Train only this one of the --folds, from 1.")]
    weights: Annotated[
        str, _says(_TRANSFER, "'pretrained', 'none' (from scratch), or a .safetensors or .pth file.", RunConfig.weights)
    ]
    layer: Annotated[
        str, _says(_TRANSFER, "Last stage of the body to keep; see 'finetune run --dry-run'. [default: all]")
    ]
    strategy: Annotated[
        Strategy,
        _says(
            _TRANSFER, "How much of the network learns; 'auto' measures, and goes on where it pays.", RunConfig.strategy
        ),
    ]
    freeze_epochs: Annotated[
        int, _says(_TRANSFER, "Epochs at first, in which only the new head is trained.", RunConfig.freeze_epochs)
    ]
    views: Annotated[
        int,
        _says(
            _TRANSFER, "Views of each picture that frozen layers are computed for, the first as it is.", RunConfig.views
        ),
    ]
    unfreeze: Annotated[
        int, _says(_TRANSFER, "Unfreeze only the last N stages of the body. [default: 2 for 'partial', else all]")
    ]
    unfrozen_lr: Annotated[
        float, _says(_TRANSFER, "Highest learning rate after unfreezing. [default: a tenth of --lr]")
    ]
    rate_span: Annotated[
        float,
        _says(
            _TRANSFER, "How many times slower the lowest layers learn than the head; 1: all alike.", RunConfig.rate_span
        ),
    ]
    cache_gb: Annotated[
        float,
        _says(
            _TRANSFER, "Room on disk for what frozen layers computed, for later runs; 0 keeps none.", RunConfig.cache_gb
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
        tuple[str, ...], _says(_EXPORT, "Export target beside 'onnx', repeatable; see 'finetune list targets'.")
    ]
    max_drop: Annotated[
        float,
        _says(_EXPORT, "How much of the metric a target of other arithmetic, such as 'int8', may lose.", 0.005),
    ]


OF_PICTURES = (*_OfPictures.__annotations__, "image_size", "crop_fraction")
"""The options that say which pictures there are and how large the network sees them, however it is trained."""
