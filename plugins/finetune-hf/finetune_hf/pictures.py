"""Pictures out of a set into files, byte for byte: named after their content, written once, whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from finetune.download import writing_to
from finetune.errors import DataError

_BEGINNINGS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"BM": ".bmp", b"RIFF": ".webp"}
_UNKNOWN = ".bin"
"""The audit looks inside, and says why it leaves such a file out."""


def bytes_of(cell: Any) -> bytes:
    """Return the picture in a cell of an image column; raise ``DataError`` where it holds none.

    A path in place of bytes leads to the machine that the set was made on, and is not followed.
    """
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes) or not content:
        raise DataError("names a picture and does not hold it; save the set again with its pictures embedded")
    return content


def kept(content: bytes, folder: Path) -> Path:
    """Return the file in ``folder`` with this content; write it where it is not there yet.

    Raises ``ResourceError`` where it cannot be written.
    """
    name = hashlib.sha256(content).hexdigest()
    path = folder / name[:2] / f"{name}{_suffix(content)}"
    with writing_to(folder):
        if not path.is_file() or path.stat().st_size != len(content):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.{os.getpid()}.part")
            part.write_bytes(content)
            part.replace(path)
    return path


def _suffix(content: bytes) -> str:
    return next((suffix for beginning, suffix in _BEGINNINGS.items() if content.startswith(beginning)), _UNKNOWN)
