"""A page stays small enough to be sent by mail: pictures share what room the texts leave, in the order of the page."""

from __future__ import annotations

from finetune.report.markup.texts import size_bytes

LARGEST_PAGE_BYTES = 5_000_000
WHY = f"the page would be larger than {LARGEST_PAGE_BYTES / 1e6:g} MB"


class Room:
    """The ``left`` bytes that a page still has for pictures."""

    def __init__(self, left: int) -> None:
        self.left = left

    def takes(self, picture: str) -> bool:
        """Return whether the markup of a picture still fits; if it does, its room is gone."""
        size = size_bytes(picture)
        if size > self.left:
            return False
        self.left -= size
        return True


def left_out(count: int, of: int) -> str:
    """Return the sentence on pictures that no longer fit."""
    return f"{count:,} of {of:,} pictures left out here: {WHY}."
