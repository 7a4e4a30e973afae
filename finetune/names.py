"""Names that people type: what to say when one is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST_LIST = 12


def unknown_name(kind: str, given: str, known: Iterable[str], more: str = "") -> str:
    """Return one line: the name that was given, the nearest known one, what is allowed, and how to see more."""
    names = sorted(known)
    near = difflib.get_close_matches(given.casefold(), [name.casefold() for name in names], n=1, cutoff=0.5)
    guess = next((f" Did you mean '{name}'?" for name in names if near and name.casefold() == near[0]), "")
    shown = ", ".join(names[:LONGEST_LIST]) + (", …" if len(names) > LONGEST_LIST else "")
    listed = f" Known: {shown}." if names else f" No {kind} is known."
    return f"Unknown {kind} '{given}'.{guess}{listed}{' ' + more if more else ''}"
