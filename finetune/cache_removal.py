"""The activation cache, removed on request: where no run has it open, and only what is one."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from platformdirs import user_cache_path

from finetune.errors import ConfigError, ResourceError
from finetune.training.activation_file import CACHE_FILE, folder_lock, has_our_header

COMPANIONS = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file that is in use, or was when its process was killed."""


def cache_path() -> Path:
    """Return where runs keep their activations."""
    return user_cache_path("finetune") / CACHE_FILE


def cache_bytes(path: Path) -> int:
    """Return how large the cache is with what SQLite keeps beside it; 0 where there is none."""
    return sum(file.stat().st_size for file in _files(path))


def remove_cache(path: Path) -> int:
    """Remove the cache, and return how many bytes that freed; runs make it anew.

    Raises ``ConfigError`` for a file of another program's, and ``ResourceError`` where a run has it open or it cannot
    be removed.
    """
    path = path.resolve()  # SQLite's companion files lie where a link leads
    if not path.exists():
        return 0
    with _refusing(path), folder_lock(path.parent):  # under which alone runs open it
        if not has_our_header(path):
            raise ConfigError(f"{path} is not an activation cache; it stays as it is. Move it away yourself.")
        _refuse_open(path)
        freed = cache_bytes(path)
        for file in _files(path):
            file.unlink()
    return freed


def _files(path: Path) -> list[Path]:
    """Return the files that are there, the cache itself last: without it the others mean nothing."""
    return [file for file in (*(Path(f"{path}{end}") for end in COMPANIONS), path) if file.exists()]


def _refuse_open(path: Path) -> None:
    """Raise ``ResourceError`` where a connection is open: only the last one may leave the write-ahead log."""
    with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as database:
        try:
            database.execute("PRAGMA journal_mode = DELETE").fetchall()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise ResourceError(
                    f"The activation cache {path} is in use by a run. Wait until it has ended, and repeat the command."
                ) from error
            # damaged: then it helps nobody, and may go


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ResourceError(f"Cannot remove the activation cache {path}: {reason}.") from error
