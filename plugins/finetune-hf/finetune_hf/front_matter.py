"""What a card of the hub states at its top, read as what a stranger wrote: bounded, and nothing in it is expanded.

YAML lets a few lines name each other until they stand for more than any memory holds. Read as text alone, without
merged mappings, they stay as small as they are; and what is no plain text counts as not stated, so that nobody makes
one string of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

CARD = "README.md"
MAX_CARD_BYTES = 1 << 20
MAX_TEXT_CHARACTERS = 200
MOST_LICENCES = 20
NOTHING = ("", "~", "null", "Null", "NULL")
"""What stands in YAML for nothing."""
_FENCE = re.compile(r"^---[ \t]*$", re.MULTILINE)


def front_matter(card: Path) -> Mapping[str, Any]:
    """Return what a card states at its top, where every scalar is a string.

    {} where there is no card, one of more than ``MAX_CARD_BYTES``, or nothing that can be read.
    """
    try:
        if card.stat().st_size > MAX_CARD_BYTES:
            return {}
        before, block, _ = _FENCE.split(card.read_text(encoding="utf-8").lstrip(), maxsplit=2)
        stated = {} if before else yaml.load(block, Loader=yaml.BaseLoader)  # which knows strings, lists and mappings
    except (OSError, ValueError, yaml.YAMLError, RecursionError):  # not there, not UTF-8, no block, or no YAML
        return {}
    return stated if isinstance(stated, dict) else {}


def text_of(stated: object) -> str | None:
    """Return what is stated where that is plain text and says something; else None."""
    return stated if isinstance(stated, str) and stated not in NOTHING else None


def licence_in(card: Mapping[str, Any], key: str = "license") -> str:
    """Return the licence that a card states, or its few licences with commas between; '' where it states none."""
    stated = card.get(key)
    names: list[Any] = stated if isinstance(stated, list) else [stated]
    if len(names) > MOST_LICENCES or not all(isinstance(name, str) for name in names):
        return ""
    return ", ".join(name[:MAX_TEXT_CHARACTERS] for name in filter(text_of, names))
