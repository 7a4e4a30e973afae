"""From a name and a kind to a distribution that installs, passes its tests and runs."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from finetune import __version__, hookspecs
from finetune.download import whole_folder, writing_to
from finetune.scaffold import Kind
from finetune.scaffold.filling import fill
from finetune.scaffold.naming import PREFIX, free_name, refuse_existing

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
    name = free_name(name)
    folder = parent / name
    refuse_existing(folder, "Choose another name, or another place with --out DIR.")
    with writing_to(parent), whole_folder(folder, anew=True) as unfinished:
        fill(unfinished, "common", "apache", "module", kind, words=_words(name, kind))
    return folder


def _words(name: str, kind: Kind) -> dict[str, str]:
    """Return what stands for the placeholders of the templates."""
    assert kind in get_args(Kind)
    return {
        **identity(name),
        "summary": _SUMMARIES[kind],
        "requirements": ", ".join(f'"{requirement}"' for requirement in _REQUIREMENTS[kind]),
    }


def identity(name: str) -> dict[str, str]:
    """Return what a plugin of this name, its distribution and its module are called, and the API they are made for."""
    return {
        "name": name,
        "api": hookspecs.API_VERSION,
        "distribution": PREFIX + name,
        "module": (PREFIX + name).replace("-", "_"),
    }
