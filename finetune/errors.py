"""Every error that a user can act on, in one place; ``exit_code`` is the status the command line ends with."""

from __future__ import annotations

from finetune_export.errors import FinetuneError, ImageError, ModelError, ResourceError

__all__ = [
    "ConfigError",
    "DataError",
    "DivergedError",
    "FinetuneError",
    "ImageError",
    "ModelError",
    "PluginError",
    "ResourceError",
]


class ConfigError(FinetuneError):
    """An option, a name or a configuration file is wrong."""

    exit_code = 2


class DataError(FinetuneError):
    """The pictures or their labels cannot be trained on."""

    exit_code = 3


class PluginError(FinetuneError):
    """A plugin is broken, or did something its contract forbids."""

    exit_code = 5


class DivergedError(FinetuneError):
    """Training produced a loss that is not a finite number."""

    exit_code = 7
