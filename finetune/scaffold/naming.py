"""What a plugin may be called, and where it may be written."""

from __future__ import annotations

import re
import tempfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from finetune.download import writing_to
from finetune.errors import ConfigError
from finetune.plugins import Plugins, load_plugins

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST_NAME = 40
PREFIX = "finetune-"
"""What the names of distributions begin with, and those of plugins do not."""


def free_name(name: str) -> str:
    """Return the name of a plugin without the prefix ``finetune-``, which belongs to its distribution.

    Raises ``ConfigError`` for a name that is not allowed, or taken by something that is installed.
    """
    name = name.removeprefix(PREFIX)
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise ConfigError(
            f"The name '{name}' is not allowed; give lower-case letters, digits and single hyphens, such as "
            f"'street-signs', beginning with a letter, {LONGEST_NAME} characters at most."
        )
    owner = _owner(name, load_plugins())
    if owner:
        raise ConfigError(
            f"The name '{name}' is taken by {owner}. Choose another; 'finetune plugins' shows those that are taken."
        )
    return name


def _owner(name: str, plugins: Plugins) -> str | None:
    """Return who has the name already, as that of a plugin, of something registered, or of a distribution."""
    for info in plugins.infos:
        if name == info.name or any(name in names for names in info.offers.values()):
            return f"{info.distribution} {info.version}"
    with suppress(PackageNotFoundError):
        return f"{PREFIX}{name} {version(PREFIX + name)}"
    return None


def refuse_existing(folder: Path, remedy: str) -> None:
    """Raise ``ConfigError``, which ends with the remedy, where there is something of that name already."""
    if folder.exists() or folder.is_symlink():
        raise ConfigError(f"{folder} exists already. {remedy}")


def refuse_unwritable(folder: Path) -> None:
    """Raise ``ResourceError`` where nothing can be made in a folder, or in what it would be made in; leave no trace."""
    place = next(above for above in (folder, *folder.absolute().parents) if above.exists())
    with writing_to(folder), tempfile.TemporaryDirectory(dir=place):
        pass
