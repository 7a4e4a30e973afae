"""What one may say about a run, and what a run is once everything was said."""

from finetune.config.checks import FIELDS, PATHS, WORDS_FOR_WEIGHTS, flag, is_file_of_weights, resolve
from finetune.config.files import read_file, to_toml
from finetune.config.options import OF_PICTURES, PretrainOptions, RunOptions
from finetune.config.run_config import (
    FROM_SCRATCH,
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

__all__ = [
    "FIELDS",
    "FROM_SCRATCH",
    "OF_PICTURES",
    "PATHS",
    "PRETRAINING",
    "WORDS_FOR_WEIGHTS",
    "Augmentation",
    "Averaging",
    "CalibrationMethod",
    "Head",
    "Imbalance",
    "Mixing",
    "Optimizer",
    "Precision",
    "PretrainOptions",
    "RunConfig",
    "RunOptions",
    "Schedule",
    "Strategy",
    "TaskOption",
    "Tracker",
    "flag",
    "is_file_of_weights",
    "read_file",
    "resolve",
    "to_toml",
]
