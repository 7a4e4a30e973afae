"""The options in a TOML file: read, checked, and written so that they read back to the same run."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from finetune.config.checks import FIELDS, PATHS, converted, is_file_of_weights, problem_of
from finetune.config.options import RunOptions
from finetune.config.run_config import RunConfig
from finetune.errors import ConfigError

_LARGEST_FILE_BYTES = 2**20


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
        options[name] = converted(name, value)
        if problem := problem_of(name, options[name], f"{name} ="):
            problems.append(problem)
    if problems:
        raise ConfigError(f"{path}: {' '.join(problems)}")
    return cast(RunOptions, {name: _from_file(name, value, path.parent) for name, value in options.items()})


def _from_file(name: str, value: Any, folder: Path) -> Any:
    if name in PATHS:
        return folder / value
    return str(folder / value) if is_file_of_weights(name, value) else value


def to_toml(config: RunConfig, command: str = "run", said: Sequence[str] = ()) -> str:
    """Return the resolved configuration as TOML that ``read_file`` reads back to the same run, paths absolute.

    ``command`` is that of finetune's own commands which it is for, and ``said`` are words that repeat the run beside
    the file.
    """
    words = shlex.join(("finetune", command, "--config", "THIS_FILE", *said))
    lines = [f"# Everything that decided this run; repeat it with: {words}"]
    for name in FIELDS:
        value = getattr(config, name)
        if name in PATHS or is_file_of_weights(name, value):
            value = value and str(Path(value).absolute())
        if value is not None:
            lines.append(f"{name} = {_toml_value(value)}")
    return "\n".join(lines) + "\n"


def _toml_value(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = "".join(f"\\u{ord(c):04X}" if ord(c) < 32 or c in '"\\\x7f' else c for c in value)
        return f'"{escaped}"'
    return repr(value)
