"""What holds for labels wherever they are read from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""The characters of Unicode's category Cc."""


def composed(name: str) -> str:
    """Return a name in composed form (NFC): macOS hands out decomposed ones, and only composed ones are equal."""
    return unicodedata.normalize("NFC", name)


def has_control_character(name: str) -> bool:
    """Whether a name has a line break or another control character, which no list of labels can hold."""
    return CONTROL.search(name) is not None


def alike(labels: Sequence[str]) -> list[str]:
    """Return a sentence for each two labels that differ only in case or spaces."""
    seen: dict[str, str] = {}
    notes = []
    for label in labels:
        twin = seen.setdefault("".join(label.casefold().split()), label)
        if twin != label:
            notes.append(f"The classes '{twin}' and '{label}' differ only in case or spaces; are they one class?")
    return notes
