"""Pictures that were moved or renamed since a run, found again by their content."""

from __future__ import annotations

import contextlib
from pathlib import Path

from finetune.errors import DataError
from finetune.run_folder import sha256_of
from finetune_export.image import PICTURE_SUFFIXES


def by_content(data: Path) -> dict[str, Path]:
    """Return every picture below the folder ``data`` by the sha256 of its content, in hexadecimal.

    Every file that is named as a picture is read whole; one that cannot be read is not among them. Raises
    ``DataError`` for what is no folder.
    """
    if not data.is_dir():
        raise DataError(f"--data {data} is not a folder. Give the folder where the pictures are now.")
    found: dict[str, Path] = {}
    for path in sorted(path for path in data.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()):
        with contextlib.suppress(OSError):
            found.setdefault(sha256_of(path), path)
    return found
