"""Folders for what the kit writes while it tries things."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path


def new_folder() -> Path:
    """Return a new folder for temporary files, which goes when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="finetune-check-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
