"""Which version of the plugin API a plugin needs, and whether this finetune has it."""

from __future__ import annotations

import re

from finetune import __version__, hookspecs
from finetune.errors import PluginError

STATEMENT = "FINETUNE_API"
"""What a plugin's module says it as: ``FINETUNE_API = "1.0"``."""

_FORM = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)", re.ASCII)


def needed_api(plugin: object, distribution: str) -> str | None:
    """Return the version of the plugin API that a plugin states it needs, None where it states none.

    Raises ``PluginError`` for one that this finetune does not have, and for what is no version.
    """
    stated = getattr(plugin, STATEMENT, None)
    if stated is None:
        return None
    match = _FORM.fullmatch(stated) if isinstance(stated, str) else None
    if match is None:
        raise PluginError(
            f"{STATEMENT} = {stated!r} is not a version of the plugin API; it has to be text, such as "
            f'"{hookspecs.API_VERSION}"'
        )
    _refuse_others(stated, distribution)
    return match[0]


def _refuse_others(stated: str, distribution: str) -> None:
    (major, minor), (our_major, our_minor) = _numbers(stated), _numbers(hookspecs.API_VERSION)
    ours = f"finetune {__version__} has {hookspecs.API_VERSION}"
    if (major, minor) > (our_major, our_minor):
        raise PluginError(
            f"it needs plugin API {stated}, and {ours}; upgrade finetune (pip install --upgrade finetune)"
        )
    if major < our_major:
        raise PluginError(
            f"it was written for plugin API {stated}, and {ours}; upgrade the plugin "
            f"(pip install --upgrade {distribution})"
        )


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")
    return int(major), int(minor)
