"""What one may say about a run, and what a run is once everything was said."""

from finetune.config.checks import FIELDS, WORDS_FOR_WEIGHTS, flag, resolve
from finetune.config.files import read_file, to_toml
from finetune.config.options import (
    Augmentation,
    Averaging,
    CalibrationMethod,
    Head,
    Imbalance,
    Mixing,
    Optimizer,
    Precision,
    RunConfig,
    RunOptions,
    Schedule,
    Strategy,
    TaskOption,
    Tracker,
)

__all__ = [
    "FIELDS",
    "WORDS_FOR_WEIGHTS",
    "Augmentation",
    "Averaging",
    "CalibrationMethod",
    "Head",
    "Imbalance",
    "Mixing",
    "Optimizer",
    "Precision",
    "RunConfig",
    "RunOptions",
    "Schedule",
    "Strategy",
    "TaskOption",
    "Tracker",
    "flag",
    "read_file",
    "resolve",
    "to_toml",
]
