"""From a name and a kind to a distribution that installs, passes its tests and runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from string import Template
from typing import get_args

from finetune import __version__, hookspecs
from finetune.download import whole_folder, writing_to
from finetune.errors import ConfigError
from finetune.plugins import Plugins, load_plugins
from finetune.scaffold import Kind

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST_NAME = 40
PREFIX = "finetune-"
_SUFFIX = ".template"
_HIDDEN = "dot."
"""What the names of hidden files begin with among the templates, so that tools do not take them for ours."""
_SUMMARIES = {
    "dataset": "Patterns, drawn for a start",
    "backbone": "A ResNet of ten layers, for a start",
    "target": "The verified model with a program beside it that asks it",
}
_REQUIREMENTS = {
    "dataset": (f"finetune>={__version__}", "pillow"),
    "backbone": (f"finetune>={__version__}", "torch", "torchvision"),
    "target": (f"finetune>={__version__}", f"finetune-export>={__version__}"),
}


def write_plugin(name: str, kind: Kind, parent: Path) -> Path:
    """Write a distribution into ``parent/name``, whole or not at all, and return that folder.

    ``name`` is that of the plugin; a prefix ``finetune-`` belongs to the distribution and is left out. Raises
    ``ConfigError`` for a name that is not allowed, or taken by an installed plugin or an existing folder, and
    ``ResourceError`` where ``parent`` cannot be written.
    """
    name = name.removeprefix(PREFIX)
    _check_name(name, load_plugins())
    folder = parent / name
    if folder.exists() or folder.is_symlink():
        raise ConfigError(f"{folder} exists already. Choose another name, or another place with --out DIR.")
    words = _words(name, kind)
    with writing_to(parent), whole_folder(folder) as unfinished:
        for place, text in _templates(kind):
            path = unfinished / Template(place).substitute(words)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(Template(text).substitute(words), encoding="utf-8")
    return folder


def _check_name(name: str, plugins: Plugins) -> None:
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise ConfigError(
            f"The name '{name}' is not allowed; give lower-case letters, digits and single hyphens, such as "
            f"'street-signs', beginning with a letter, {LONGEST_NAME} characters at most."
        )
    owner = _owner(name, plugins)
    if owner:
        raise ConfigError(
            f"The name '{name}' is taken by {owner}. Choose another; 'finetune plugins' shows those that are taken."
        )


def _owner(name: str, plugins: Plugins) -> str | None:
    """Return who has the name already, as that of a plugin, of something registered, or of a distribution."""
    for info in plugins.infos:
        if name == info.name or any(name in names for names in info.offers.values()):
            return f"{info.distribution} {info.version}"
    with suppress(PackageNotFoundError):
        return f"{PREFIX}{name} {version(PREFIX + name)}"
    return None


def _words(name: str, kind: Kind) -> dict[str, str]:
    """Return what stands for the placeholders of the templates."""
    assert kind in get_args(Kind)
    return {
        "name": name,
        "api": hookspecs.API_VERSION,
        "distribution": PREFIX + name,
        "module": (PREFIX + name).replace("-", "_"),
        "summary": _SUMMARIES[kind],
        "requirements": ", ".join(f'"{requirement}"' for requirement in _REQUIREMENTS[kind]),
    }


def _templates(kind: Kind) -> Iterator[tuple[str, str]]:
    """Yield the place of each file in the new distribution, and its text, both with placeholders."""
    for root in ("common", kind):
        for place, file in _files(files("finetune.scaffold") / "templates" / root, PurePosixPath()):
            yield place.removesuffix(_SUFFIX), file.read_text(encoding="utf-8")


def _files(folder: Traversable, above: PurePosixPath) -> Iterator[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        hidden = entry.name.startswith(_HIDDEN)
        place = above / (entry.name.replace(_HIDDEN, ".", 1) if hidden else entry.name)
        if entry.is_dir():
            yield from _files(entry, place)
        elif entry.name.endswith(_SUFFIX):
            yield str(place), entry
