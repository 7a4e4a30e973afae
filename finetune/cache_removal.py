"""The activation cache, removed on request: where no run has it open, and only what is one."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from finetune.errors import ConfigError, ResourceError
from finetune.training.activation_file import files_of, folder_lock, has_our_header


def cache_bytes(path: Path) -> int:
    """Return how large the cache is with what SQLite keeps beside it; 0 where there is none."""
    return sum(file.stat().st_size for file in files_of(path) if file.exists())


def remove_cache(path: Path) -> None:
    """Remove the cache where there is one; runs make it anew.

    Raises ``ConfigError`` for a file of another program's, and ``ResourceError`` where a run has it open or it cannot
    be removed.
    """
    path = path.resolve()  # SQLite's companion files lie where a link leads
    if not path.exists():
        return
    with _refusing(path), folder_lock(path.parent):  # under which alone runs open it
        if not has_our_header(path):
            raise ConfigError(f"{path} is not an activation cache; it stays as it is. Move it away yourself.")
        _refuse_open(path)
        for file in files_of(path):
            file.unlink(missing_ok=True)


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
