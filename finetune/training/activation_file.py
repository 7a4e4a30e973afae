"""The SQLite file of the activation cache: its tables, and how it is opened, locked, read, written and kept small.

Several processes may have it open, and any of them may be killed. Whatever goes wrong is raised; what that means is
decided in ``activation_cache``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

if sys.platform != "win32":
    import fcntl

CACHE_FILE = "activations.sqlite"
"""The name of the file, in finetune's own cache folder."""
LOCK_SECONDS = 5.0
"""How long another process may hold the file before this run does without."""

_COMPANIONS = ("-wal", "-shm", "-journal")  # beside a file in use, or that was when its process was killed
_APPLICATION_ID = 0x66744163  # "ftAc", at byte 68 of the file; a file without it is not ours to replace
_VERSION = 1  # of the tables below and of what a digest covers
_PAGE_BYTES = 2_048  # a value of half a page takes a whole one, so pages are no larger than the smallest values
_WAL_BYTES = 16 << 20  # the write-ahead log is emptied at this size, and cut to it after a longer transaction
_VACUUM_BYTES = 64 << 20  # given back to the disk per write at most, so that none takes long
_KEYS_PER_QUERY = 500  # SQLite before 3.32 takes 999 parameters

# ``entry`` is small, so that marking as used and finding the oldest never touch the values themselves.
_SCHEMA = f"""
PRAGMA page_size = {_PAGE_BYTES};
PRAGMA auto_vacuum = INCREMENTAL;
BEGIN EXCLUSIVE;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, key BLOB UNIQUE, used INTEGER, size INTEGER);
CREATE INDEX IF NOT EXISTS by_use ON entry (used);
CREATE TABLE IF NOT EXISTS value (id INTEGER PRIMARY KEY, digest BLOB, content BLOB);
CREATE TABLE IF NOT EXISTS total (id INTEGER PRIMARY KEY, bytes INTEGER);
CREATE TRIGGER IF NOT EXISTS came AFTER INSERT ON entry BEGIN
    UPDATE total SET bytes = bytes + new.size;
END;
CREATE TRIGGER IF NOT EXISTS went AFTER DELETE ON entry BEGIN
    DELETE FROM value WHERE id = old.id;
    UPDATE total SET bytes = bytes - old.size;
END;
COMMIT;
"""
_SETTINGS = {
    "journal_mode": "WAL",  # where the file system has the means; otherwise slower, and as safe
    "synchronous": "NORMAL",  # a power cut may cost the last puts, not the file
    "wal_autocheckpoint": _WAL_BYTES // _PAGE_BYTES,
    "journal_size_limit": _WAL_BYTES,
    "secure_delete": "OFF",  # Debian's SQLite would overwrite what is evicted with zeros
    "cache_size": -65_536,  # KB, at most; with 2 MB, letting half a gigabyte go takes 18 s
    "cell_size_check": "ON",  # finds damage earlier
}
# Damage may put anything anywhere; what is calculated with is cast, so that the answer is always one whole number.
_NOW = "SELECT CAST(coalesce(max(used), 0) + 1 AS INTEGER) FROM entry"  # a count, because clocks are set back
_TOTAL_BYTES = "SELECT CAST(coalesce(max(bytes), 0) AS INTEGER) FROM total"
_COUNT_ANEW = "INSERT OR REPLACE INTO total SELECT 0, coalesce(sum(size), 0) FROM entry"
_NEXT_ID = "SELECT coalesce(max(id), 0) + 1 FROM entry"
_OLDEST_FIRST = "SELECT id, CAST(coalesce(size, 0) AS INTEGER) FROM entry ORDER BY used, id"
_READ = "SELECT id, key, size, digest, content FROM entry LEFT JOIN value USING (id) WHERE key IN ({})"


class ForeignFileError(Exception):
    """Something else has the cache's name."""


class OtherVersionError(Exception):
    """The file is ours, of another version."""


FAULTS = (sqlite3.Error, OSError, UnicodeDecodeError, ForeignFileError, OtherVersionError)
"""All that an `ActivationFile` raises. UnicodeDecodeError: SQLite's own message may quote a damaged name."""


class ActivationFile:
    """Values by key and when each was used last, in one file that is opened, or made, when it is first needed.

    Raises:
        sqlite3.Error: Damage, no room, no permission, or another process's lock for `LOCK_SECONDS`.
        OSError: The file or its folder cannot be made, opened or removed.
        UnicodeDecodeError: Damage.
        ForeignFileError: The file is not an activation cache; it is never changed.
        OtherVersionError: The file is a cache of another version.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(os.path.realpath(path))  # SQLite's companion files lie where a link leads
        self._connection: sqlite3.Connection | None = None
        self._opened: os.stat_result | None = None
        self._counted = False

    @property
    def is_open(self) -> bool:
        """Whether the file was opened and is not closed yet."""
        return self._connection is not None

    def read(self, keys: Sequence[bytes]) -> Iterator[tuple[int, bytes, bytes | None]]:
        """Yield number, key and value of each entry that is there; None is the value of a broken one."""
        for batch in _batches(list(dict.fromkeys(keys))):
            rows = self._database().execute(_READ.format(_marks(batch)), batch).fetchall()
            for entry, key, size, digest, content in rows:
                whole = isinstance(key, bytes) and isinstance(content, bytes) and len(content) == size
                yield entry, key, content if whole and _digest(key, content) == digest else None

    def mark(self, used: Sequence[int], broken: Sequence[int]) -> None:
        """Say of entries, by number, that they are used now, and remove the broken ones."""
        with _transaction(self._database()) as database:
            database.executemany("DELETE FROM entry WHERE id = ?", [(entry,) for entry in broken])
            now = _number(database, _NOW)
            for batch in _batches(used):
                database.execute(f"UPDATE entry SET used = ? WHERE id IN ({_marks(batch)})", (now, *batch))

    def write(self, items: Mapping[bytes, bytes], capacity_bytes: int) -> None:
        """Put items that fit into the capacity together, all or none, in the place of the least recently used ones."""
        with _transaction(self._database()) as database:
            if not self._counted:  # once per run, lest damage to the total should last
                database.execute(_COUNT_ANEW)
            database.executemany("DELETE FROM entry WHERE key = ?", [(key,) for key in items])
            _evict(database, capacity_bytes - sum(map(len, items.values())))  # first, so that pages are used again
            _insert(database, items)
        self._counted = True
        _shrink(database)

    def replace(self) -> None:
        """Open a new file, in the place of the one that was opened if that still is there."""
        self.close()
        _remove(self._path, self._opened)
        self._database()

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        connection, self._connection, self._counted = self._connection, None, False
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _database(self) -> sqlite3.Connection:
        if self._connection is None:
            with contextlib.suppress(FileExistsError):
                self._path.parent.mkdir(parents=True)
            with folder_lock(self._path.parent):
                if not self._path.exists():
                    self._path.touch()  # says why it is impossible, which SQLite does not
                self._opened = self._path.stat()
                self._connection = _open(self._path)
        return self._connection


def cache_path() -> Path:
    """Return where runs keep their activations."""
    return user_cache_path("finetune") / CACHE_FILE


def files_of(file: Path) -> list[Path]:
    """Return where a cache and its companions may be, these first: without the file itself they mean nothing."""
    return [*(Path(f"{file}{end}") for end in _COMPANIONS), file]


def error_code(error: Exception) -> int:
    """Return SQLite's primary result code, without its finer distinctions; another value if it is not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", -1)) & 0xFF


def _open(file: Path) -> sqlite3.Connection:
    if not file.is_file() or file.stat().st_size == 1:  # which SQLite takes for empty
        raise ForeignFileError
    try:
        return _connect(file, "mode=rw")
    except sqlite3.Error as error:
        if error_code(error) in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
            # A write-ahead log needs files next to ours. Where none can be made, the file is read as it stands; should
            # somebody with more rights write to it meanwhile, the digests tell.
            return _connect(file, "immutable=1")
        raise


def _connect(file: Path, mode: str) -> sqlite3.Connection:
    # Autocommit, because transactions are begun by name; text as bytes, because damage can turn a blob into text.
    database = sqlite3.connect(
        f"{file.as_uri()}?{mode}", uri=True, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False
    )
    database.text_factory = bytes
    try:
        _prepare(database)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection) -> None:
    """Make our tables in an empty file, and refuse what is not ours."""
    owner, version = _number(database, "PRAGMA application_id"), _number(database, "PRAGMA user_version")
    if (owner, version) == (0, 0) and not _number(database, "SELECT count(*) FROM sqlite_master"):
        database.executescript(_SCHEMA)  # before the write-ahead log, so that the header says whose file it is
    elif owner != _APPLICATION_ID:
        raise ForeignFileError
    elif version != _VERSION:
        raise OtherVersionError
    for name, setting in _SETTINGS.items():
        with contextlib.suppress(sqlite3.OperationalError):  # none is worth doing without the cache
            database.execute(f"PRAGMA {name} = {setting}").fetchall()


def _remove(file: Path, opened: os.stat_result | None) -> None:
    """Remove the file and its companions, unless it is another program's, or a new one since it was opened."""
    with folder_lock(file.parent):
        if opened and file.exists() and os.path.samestat(file.stat(), opened):
            if not has_our_header(file):
                raise ForeignFileError
            for each in files_of(file):
                each.unlink(missing_ok=True)


def has_our_header(file: Path) -> bool:
    """Whether a file is one of these: what else is there is not ours to replace."""
    # Only for a file that is about to go: closing it drops the locks of this process's other connections.
    with file.open("rb") as content:
        header = content.read(72)
    return header.startswith(b"SQLite format 3\0") and header[68:] == _APPLICATION_ID.to_bytes(4, "big")


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Let one process at a time open or replace the file; where folders cannot be locked, or not soon, go on."""
    if sys.platform == "win32":  # a file that is open cannot be removed there anyway
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # among them: another process takes too long; a file system without locks
            _wait_for(descriptor)
        yield
    finally:
        os.close(descriptor)  # and unlock


def _wait_for(descriptor: int) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield database
        database.execute("COMMIT")
    finally:
        if database.in_transaction:  # something went wrong, and SQLite has not rolled back already
            with contextlib.suppress(sqlite3.Error):
                database.execute("ROLLBACK")


def _evict(database: sqlite3.Connection, room_bytes: int) -> None:
    """Delete the least recently used entries until the others take ``room_bytes`` at most."""
    excess_bytes = _number(database, _TOTAL_BYTES) - room_bytes
    oldest: list[tuple[int]] = []
    for entry, size in database.execute(_OLDEST_FIRST) if excess_bytes > 0 else ():
        oldest.append((entry,))
        excess_bytes -= size
        if excess_bytes <= 0:
            break
    database.executemany("DELETE FROM entry WHERE id = ?", oldest)


def _insert(database: sqlite3.Connection, items: Mapping[bytes, bytes]) -> None:
    now, first = _number(database, _NOW), _number(database, _NEXT_ID)
    rows = [(first + i, key, value) for i, (key, value) in enumerate(items.items())]
    database.executemany("INSERT INTO entry VALUES (?, ?, ?, ?)", [(i, k, now, len(v)) for i, k, v in rows])
    database.executemany("INSERT INTO value VALUES (?, ?, ?)", [(i, _digest(k, v), v) for i, k, v in rows])


def _shrink(database: sqlite3.Connection) -> None:
    """Give free pages back to the disk when they are more than a quarter, as after the capacity was lowered."""
    if _number(database, "PRAGMA freelist_count") * 4 > _number(database, "PRAGMA page_count"):
        pages = _VACUUM_BYTES // _PAGE_BYTES
        database.executescript(f"PRAGMA incremental_vacuum({pages})")  # execute() would stop after a page


def _number(database: sqlite3.Connection, query: str) -> int:
    return int(database.execute(query).fetchone()[0])


def _digest(key: bytes, value: bytes) -> bytes:
    digest = hashlib.blake2b(key, digest_size=16)  # about 1 GB/s; a checksum against accidents, not against people
    digest.update(value)
    return digest.digest()


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[i : i + _KEYS_PER_QUERY] for i in range(0, len(items), _KEYS_PER_QUERY))


def _marks(batch: Sequence[Any]) -> str:
    return ",".join("?" * len(batch))
