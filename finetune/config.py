"""What one may say about a run, and what a run is once everything was said.

``RunOptions`` is the partial form: the command line, a TOML file, a plugin's recipe and ``finetune.run`` all
speak it. ``resolve`` lays them over each other (defaults < recipe < file < command line) into one ``RunConfig``.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, cast, get_args

from cyclopts import Parameter

from finetune.errors import ConfigError
from finetune.names import unknown_name

Strategy = Literal["auto", "probe", "svm", "logreg", "finetune", "partial", "gradual", "scratch"]
Head = Literal["linear", "fastai"]
Optimizer = Literal["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"]
Schedule = Literal["OneCycleLR", "CosineAnnealingLR", "StepLR"]
Precision = Literal["auto", "bf16", "fp32"]


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a run; the defaults of all options are written here and nowhere else.

    ``None`` means: as the data set (``source``), the backbone (``image_size``, ``crop_fraction``) or the other options
    (``layer``: the last stage, ``unfreeze``: two stages for 'partial' and else every one, ``unfrozen_lr``: a
    tenth of ``lr``) have it.
    """

    plugin: str | None = None
    data: Path | None = None
    source: str | None = None
    recipe: str | None = None
    backbone: str = "mobilenet_v2"
    weights: str = "pretrained"
    strategy: Strategy = "auto"
    head: Head = "linear"
    layer: str | None = None
    epochs: int = 3
    freeze_epochs: int = 20
    views: int = 2
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
    precision: Precision = "auto"
    cache_gb: float = 4.0
    image_size: int | None = None
    crop_fraction: float | None = None
    batch_size: int = 32
    valid_share: float = 0.2
    max_unreadable: float = 0.05
    target: tuple[str, ...] = ()
    max_drop: float = 0.005
    seed: int = 42
    out: Path = Path("runs")


def _says(help_text: str, default: object = None) -> Parameter:
    return Parameter(help=help_text if default is None else f"{help_text} [default: {default}]")


class RunOptions(TypedDict, total=False):
    """The options of a run that somebody has said; what is absent was not said."""

    plugin: Annotated[
        str, _says("Data set to train on, by name, with the recipe it recommends; see 'finetune list datasets'.")
    ]
    data: Annotated[
        Path,
        _says("Folder with one subfolder of pictures per class, or with train/ and valid/ (val/) folders of such."),
    ]
    source: Annotated[str, _says("Which of the data set's sources to use; the first it offers by default.")]
    recipe: Annotated[str, _says("Which of the data set's recipes to follow; see 'finetune list recipes'.")]
    backbone: Annotated[str, _says("Network to start from; see 'finetune list backbones'.", RunConfig.backbone)]
    weights: Annotated[
        str, _says("'pretrained', 'none' (from scratch), or a .safetensors or .pth file.", RunConfig.weights)
    ]
    strategy: Annotated[
        Strategy,
        _says("How much of the network learns; 'auto' measures, and goes on where it pays.", RunConfig.strategy),
    ]
    head: Annotated[Head, _says("New head: one linear layer, or fastai's of two layers.", RunConfig.head)]
    layer: Annotated[str, _says("Last stage of the body to keep; see 'finetune run --dry-run'. [default: all]")]
    epochs: Annotated[int, _says("Epochs after unfreezing.", RunConfig.epochs)]
    freeze_epochs: Annotated[
        int, _says("Epochs before that, in which only the new head is trained.", RunConfig.freeze_epochs)
    ]
    views: Annotated[
        int, _says("Views of each picture that frozen layers are computed for, the first as it is.", RunConfig.views)
    ]
    lr: Annotated[
        float | Literal["find"],
        _says("Highest learning rate, of the head while the body is frozen; 'find' measures it.", RunConfig.lr),
    ]
    unfreeze: Annotated[int, _says("Unfreeze only the last N stages of the body. [default: 2 for 'partial', else all]")]
    unfrozen_lr: Annotated[float, _says("Highest learning rate after unfreezing. [default: a tenth of --lr]")]
    rate_span: Annotated[
        float, _says("How many times slower the lowest layers learn than the head; 1: all alike.", RunConfig.rate_span)
    ]
    optimizer: Annotated[Optimizer, _says("Optimizer, as torch.optim names it.", RunConfig.optimizer)]
    momentum: Annotated[
        float, _says("Momentum, or Adam's first beta, where the schedule does not move it.", RunConfig.momentum)
    ]
    weight_decay: Annotated[float, _says("Weight decay.", RunConfig.weight_decay)]
    schedule: Annotated[
        Schedule, _says("Course of the learning rate, as torch.optim.lr_scheduler names it.", RunConfig.schedule)
    ]
    step_epochs: Annotated[int, _says("Epochs from one step of StepLR to the next.", RunConfig.step_epochs)]
    gamma: Annotated[float, _says("Factor of the learning rate at each step of StepLR.", RunConfig.gamma)]
    precision: Annotated[
        Precision, _says("Arithmetic of training; 'auto' is bf16 where the processor has it.", RunConfig.precision)
    ]
    cache_gb: Annotated[
        float, _says("Room on disk for what frozen layers computed, for later runs; 0 keeps none.", RunConfig.cache_gb)
    ]
    image_size: Annotated[int, _says("Side of the square that the network sees, in pixels. [default: the backbone's]")]
    crop_fraction: Annotated[
        float, _says("Share of a picture's shorter side that the network sees. [default: the backbone's]")
    ]
    batch_size: Annotated[int, _says("Pictures per training step.", RunConfig.batch_size)]
    valid_share: Annotated[
        float, _says("Share of each class held out for validation where the data has no split.", RunConfig.valid_share)
    ]
    max_unreadable: Annotated[
        float, _says("Share of unreadable pictures above which a run refuses to start.", RunConfig.max_unreadable)
    ]
    target: Annotated[tuple[str, ...], _says("Export target beside 'onnx', repeatable; see 'finetune list targets'.")]
    max_drop: Annotated[
        float,
        _says("How much of the metric a target of other arithmetic, such as 'int8', may lose.", RunConfig.max_drop),
    ]
    seed: Annotated[int, _says("Seed of the split, the new head and the order of pictures.", RunConfig.seed)]
    out: Annotated[Path, _says("Folder in which the run gets a folder of its own.", RunConfig.out)]


_LIMITS: dict[str, tuple[float, float, str]] = {
    "epochs": (0, 10_000, "a whole number from 0 to 10000"),
    "freeze_epochs": (0, 10_000, "a whole number from 0 to 10000"),
    "views": (1, 64, "a whole number from 1 to 64"),
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
    "max_unreadable": (0, 1, "between 0 and 1"),
    "max_drop": (0, 1, "between 0 and 1"),
    "seed": (0, 2**32 - 1, "a whole number from 0 to 4294967295"),
}

_CHOICES: dict[str, tuple[str, ...]] = {
    "strategy": get_args(Strategy),
    "head": get_args(Head),
    "optimizer": get_args(Optimizer),
    "schedule": get_args(Schedule),
    "precision": get_args(Precision),
}

FIELDS = tuple(f.name for f in dataclasses.fields(RunConfig))
_UNSET = {f.name for f in dataclasses.fields(RunConfig) if f.default is None}
_WHOLE = {"epochs", "freeze_epochs", "views", "unfreeze", "step_epochs", "image_size", "batch_size", "seed"}
_PATHS = {"data", "out"}
WORDS_FOR_WEIGHTS = ("pretrained", "none")  # anything else is the path of a file
_LARGEST_FILE_BYTES = 2**20


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
    said = {name: _converted(name, value) for name, value in said.items()}
    problems = [problem for name, value in said.items() if (problem := _problem(name, value, flag(name)))]
    if problems:
        raise ConfigError(" ".join(problems))
    return RunConfig(**said)


def _converted(name: str, value: Any) -> Any:
    if name in _PATHS and isinstance(value, str) and value:
        return Path(value)
    if name == "weights" and isinstance(value, Path):
        return str(value)
    return tuple(value) if name == "target" and isinstance(value, list) else value


def _problem(name: str, value: object, said_as: str) -> str | None:
    if name not in FIELDS:
        return unknown_name("option", name, FIELDS)
    if _is_allowed(name, value):
        return None
    if name in _CHOICES and _is_text(value):
        return unknown_name(flag(name), str(value), _CHOICES[name])
    shown = str(value) if isinstance(value, Path) else value
    return f"{said_as} {shown!r} is not allowed; give {_expected(name)}."


def _is_allowed(name: str, value: object) -> bool:
    if value is None:
        return name in _UNSET
    if name == "target":
        return isinstance(value, tuple) and all(_is_text(item) for item in value)
    if name in _PATHS:
        return isinstance(value, Path) and _is_text(str(value))
    if name in _CHOICES:
        return value in _CHOICES[name]
    if name not in _LIMITS:
        return _is_text(value)
    return (name == "lr" and value == "find") or _is_within_limits(name, value)


def _is_text(value: object) -> bool:
    """Whether a file, a path and a line of text can hold the value: not empty, no NUL, no undecodable bytes."""
    return isinstance(value, str) and value != "" and not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value)


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
    return {"target": "a list of names", "data": "the path of a folder", "out": "the path of a folder"}.get(
        name, "text that is not empty"
    )


def read_file(path: Path) -> RunOptions:
    """Return the options in a TOML file; relative paths in it are relative to the file.

    Raises ``ConfigError`` for a file that cannot be read or is not TOML, and for keys and values that no option has,
    all at once.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        cause = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"Cannot read the configuration file {path}: {cause}. Check --config.") from error
    if len(data) > _LARGEST_FILE_BYTES:
        raise ConfigError(f"{path} is larger than a configuration file's {_LARGEST_FILE_BYTES} bytes. Check --config.")
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"{path} begins with a byte order mark; save it as plain UTF-8, without one.")
    return _options(_parsed(data, path), path)


def _parsed(data: bytes, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # also what tomllib lets through: an endless number, a deep nest
        example = 'backbone = "resnet18"'
        raise ConfigError(f"{path} is not a UTF-8 TOML file: {error}. Write lines such as: {example}") from error


def _options(content: Mapping[str, Any], path: Path) -> RunOptions:
    problems = []
    options: dict[str, Any] = {}
    for name, value in content.items():
        options[name] = _converted(name, value)
        if problem := _problem(name, options[name], f"{name} ="):
            problems.append(problem)
    if problems:
        raise ConfigError(f"{path}: {' '.join(problems)}")
    return cast(RunOptions, {name: _from_file(name, value, path.parent) for name, value in options.items()})


def _from_file(name: str, value: Any, folder: Path) -> Any:
    if name in _PATHS:
        return folder / value
    return str(folder / value) if name == "weights" and value not in WORDS_FOR_WEIGHTS else value


def to_toml(config: RunConfig) -> str:
    """Return the resolved configuration as TOML that ``read_file`` reads back to the same run, paths absolute."""
    lines = ["# Everything that decided this run; repeat it with: finetune run --config THIS_FILE"]
    for name in FIELDS:
        value = getattr(config, name)
        if name in _PATHS or (name == "weights" and value not in WORDS_FOR_WEIGHTS):
            value = value and str(Path(value).absolute())
        if value is not None:
            lines.append(f"{name} = {_toml_value(value)}")
    return "\n".join(lines) + "\n"


def _toml_value(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        escaped = "".join(f"\\u{ord(c):04X}" if ord(c) < 32 or c in '"\\\x7f' else c for c in value)
        return f'"{escaped}"'
    return repr(value)
