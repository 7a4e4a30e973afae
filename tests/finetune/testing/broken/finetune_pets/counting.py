"""The command ``count-pets``."""

from pathlib import Path


def count_pets(folder: Path, *, deep: bool = False) -> None:
    """Count the pets in a folder."""
    print(len(list(folder.glob("**/*.png" if deep else "*.png"))))  # noqa: T201 - it is its result
