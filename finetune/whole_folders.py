"""Folders that are whole or not there, and what disks refuse, said as errors that a user can act on."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from finetune.errors import ConfigError, DataError, ResourceError
from finetune.run_folder import sync_folder

_ABANDONED_AFTER_S = 86_400.0


@contextlib.contextmanager
def whole_folder(folder: Path, *, anew: bool = False) -> Iterator[Path]:
    """Give an empty folder beside ``folder`` to fill, which takes its name when the block ends without an error.

    So the name never stands for half a set. Of two processes, the second leaves what the first has made; where the
    folder has to be made ``anew``, the second raises ``ConfigError``, and what was written is on the disk before it has
    its name (for few files: each is waited for). What killed processes have left is swept away when nothing in it has
    changed for a day.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)  # mkdtemp made it for this user only
        if anew:
            _sync(unfinished)
        _rename(unfinished, folder, anew)
        if anew:
            sync_folder(folder.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _rename(unfinished: Path, folder: Path, anew: bool) -> None:
    try:
        unfinished.replace(folder)
    except OSError as error:
        if anew and os.path.lexists(folder):
            raise ConfigError(f"{folder} was made by another process meanwhile. Choose another name.") from error
        if not folder.is_dir():  # else another process was first
            raise


def _sync(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb+") as file:
                os.fsync(file.fileno())


def _sweep(folder: Path) -> None:
    for old in folder.parent.glob(f".{folder.name}-*"):
        with contextlib.suppress(OSError):  # it changes while it is looked at, and so is not abandoned
            changed = max(path.lstat().st_mtime for path in (old, *old.rglob("*")))  # old's own misses what is below
            if time.time() - changed > _ABANDONED_AFTER_S:
                shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn an ``OSError`` of the block into a ``ResourceError`` that names ``folder``."""
    try:
        yield
    except OSError as error:
        cause = f"Cannot write to {folder}: {error.strerror or error}."
        raise ResourceError(f"{cause} Check space and permissions there, then run again.") from error


@contextlib.contextmanager
def reading(file: Path) -> Iterator[None]:
    """Turn an ``OSError`` of the block into a ``DataError`` that names ``file``."""
    try:
        yield
    except OSError as error:
        cause = f"Cannot read {file}: {error.strerror or error}."
        raise DataError(f"{cause} Check it and its permissions, then run again.") from error
