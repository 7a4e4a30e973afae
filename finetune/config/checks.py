"""Which values an option may have, and how options are laid over each other."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, get_args

from finetune.config.options import RunOptions
from finetune.config.run_config import (
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
from finetune.errors import ConfigError
from finetune.names import unknown_name

_LIMITS: dict[str, tuple[float, float, str]] = {
    "epochs": (0, 10_000, "a whole number from 0 to 10000"),
    "freeze_epochs": (0, 10_000, "a whole number from 0 to 10000"),
    "views": (1, 64, "a whole number from 1 to 64"),
    "label_smoothing": (0, 0.9, "between 0 and 0.9"),
    "lr": (1e-10, 10, "between 1e-10 and 10, or 'find'"),
    "unfreeze": (1, 1_000, "a whole number of stages, at least 1"),
    "unfrozen_lr": (1e-10, 10, "between 1e-10 and 10"),
    "rate_span": (1, 1e6, "between 1 and 1e6"),
    "momentum": (0, 0.9999, "between 0 and 0.9999"),
    "weight_decay": (0, 1, "between 0 and 1"),
    "step_epochs": (1, 10_000, "a whole number from 1 to 10000"),
    "gamma": (1e-6, 1, "between 1e-6 and 1"),
    "cache_gb": (0, 10_000, "a number of gigabytes from 0 to 10000"),
    "crop_fraction": (0.1, 1, "between 0.1 and 1"),
    "image_size": (16, 4_096, "a whole number of pixels from 16 to 4096"),
    "batch_size": (2, 65_536, "a whole number from 2 to 65536"),  # batch norm cannot learn from one picture
    "valid_share": (0.01, 0.9, "between 0.01 and 0.9"),
    "test_share": (0, 0.9, "between 0 and 0.9"),
    "folds": (2, 100, "a whole number from 2 to 100"),
    "fold": (1, 100, "a whole number from 1 to the number of --folds"),
    "patience": (1, 10_000, "a whole number of epochs, at least 1"),
    "abstain_at": (0.01, 1, "a share between 0.01 and 1"),
    "max_minutes": (0.1, 1e6, "a number of minutes, at least 0.1"),
    "checkpoint_seconds": (0, 1e6, "a number of seconds from 0 to 1000000"),
    "max_unreadable": (0, 1, "between 0 and 1"),
    "max_drop": (0, 1, "between 0 and 1"),
    "seed": (0, 2**32 - 1, "a whole number from 0 to 4294967295"),
}

_CHOICES: dict[str, tuple[str, ...]] = {
    "task": get_args(TaskOption),
    "strategy": get_args(Strategy),
    "head": get_args(Head),
    "optimizer": get_args(Optimizer),
    "schedule": get_args(Schedule),
    "precision": get_args(Precision),
    "augment": get_args(Augmentation),
    "mix": get_args(Mixing),
    "imbalance": get_args(Imbalance),
    "average": get_args(Averaging),
    "calibration": get_args(CalibrationMethod),
}

FIELDS = tuple(f.name for f in dataclasses.fields(RunConfig))
_UNSET = {f.name for f in dataclasses.fields(RunConfig) if f.default is None}
_WHOLE = {
    "epochs",
    "freeze_epochs",
    "views",
    "unfreeze",
    "step_epochs",
    "image_size",
    "batch_size",
    "folds",
    "fold",
    "patience",
    "seed",
}
_SWITCHES = {"skip_missing"}
_ITEMS: dict[str, tuple[str, ...]] = {"track": get_args(Tracker)}
_EXPECTED = {
    "target": "a list of names",
    "callback": "a list of names",
    "metric": "a list of names",
    "label_col": "a list of columns",
    "track": "a list of " + ", ".join(get_args(Tracker)),
    "skip_missing": "true or false",
    "group_pattern": "a regular expression",
    "data": "the path of a folder or a table",
    "split": "the path of a split.csv",
    "out": "the path of a folder",
}
_LISTS = {"target", "callback", "metric", "label_col", "track"}
PATHS = {"data", "split", "out"}
WORDS_FOR_WEIGHTS = ("pretrained", "none")  # anything else is the path of a file
RECORD_SUFFIX = ".safetensors"  # no backbone has a name that ends so


def is_file_of_weights(name: str, value: object) -> bool:
    """Whether an option's value is the path of a file of weights: one in place of a backbone has a record."""
    if name == "weights":
        return value not in WORDS_FOR_WEIGHTS
    return name == "backbone" and str(value).endswith(RECORD_SUFFIX)


def flag(name: str) -> str:
    """Return a field's name as it is typed: ``freeze_epochs`` → ``--freeze-epochs``."""
    return "--" + name.replace("_", "-")


def resolve(*layers: RunOptions) -> RunConfig:
    """Lay the options over the defaults, later layers over earlier ones, and check the result.

    A script may give a path as text and the targets as a list. Raises ``ConfigError`` with every name and value
    that is not allowed, all at once.
    """
    said: dict[str, Any] = {}
    for layer in layers:
        said.update(layer)
    said = {name: converted(name, value) for name, value in said.items()}
    problems = [problem for name, value in said.items() if (problem := problem_of(name, value, flag(name)))]
    if problems:
        raise ConfigError(" ".join(problems))
    return RunConfig(**said)


def converted(name: str, value: Any) -> Any:
    """Return a value that a script or a file gave as the type that the option has."""
    if name in PATHS and isinstance(value, str) and value:
        return Path(value)
    if name in ("backbone", "weights") and isinstance(value, Path):
        return str(value)
    return tuple(value) if name in _LISTS and isinstance(value, list) else value


def problem_of(name: str, value: object, said_as: str) -> str | None:
    """Return one sentence on what is wrong with an option's name or value; None where nothing is."""
    if name not in FIELDS:
        return unknown_name("option", name, FIELDS)
    if _is_allowed(name, value):
        return None
    if name in _CHOICES and _is_text(value):
        return unknown_name(flag(name), str(value), _CHOICES[name])
    shown = str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
    return f"{said_as} {shown!r} is not allowed; give {_expected(name)}."


def _is_allowed(name: str, value: object) -> bool:
    if value is None:
        return name in _UNSET
    if name in _LISTS:
        return isinstance(value, tuple) and all(_is_text(item) and item in _ITEMS.get(name, (item,)) for item in value)
    if name in _SWITCHES:
        return isinstance(value, bool)
    if name in PATHS:
        return isinstance(value, Path) and _is_text(str(value))
    if name in _CHOICES:
        return value in _CHOICES[name]
    if name == "group_pattern":
        return _is_text(value) and _is_pattern(str(value))
    if name not in _LIMITS:
        return _is_text(value)
    return (name == "lr" and value == "find") or _is_within_limits(name, value)


def _is_text(value: object) -> bool:
    """Whether a file, a path and a line of text can hold the value: not empty, no NUL, no undecodable bytes."""
    return isinstance(value, str) and value != "" and not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value)


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def _is_within_limits(name: str, value: object) -> bool:
    kinds = int if name in _WHOLE else int | float
    low, high, _ = _LIMITS[name]
    # Not a number (NaN) is not within any limits.
    return isinstance(value, kinds) and not isinstance(value, bool) and low <= value <= high


def _expected(name: str) -> str:
    if name in _LIMITS:
        return _LIMITS[name][2]
    if name in _CHOICES:
        return "one of " + ", ".join(_CHOICES[name])
    return _EXPECTED.get(name, "text that is not empty")
