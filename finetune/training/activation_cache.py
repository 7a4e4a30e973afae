"""Activations of the frozen part on disk: blobs by key in one SQLite file that runs share and that may fail freely.

What comes out is what was put in, or nothing. A fault of the store (damage, no room, no permission, another process's
lock) costs time alone: it is said once, in a sentence, and never raised.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from finetune.training.activation_file import FAULTS, ActivationFile, ForeignFileError, OtherVersionError, error_code

# Of these, ERROR means that a table is missing, and CONSTRAINT that an index and its table disagree.
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}


class ActivationCache(contextlib.AbstractContextManager["ActivationCache"]):
    """Blobs by key in one SQLite file: bounded, shared by runs, safe when one is killed; a fault turns it off.

    Keys are digests of everything a value depends on, 32 bytes. ``capacity_bytes`` bounds the sum of the values'
    sizes; at 0 the cache is off and touches no disk. The file is opened, or made, when it is first needed. ``note``
    receives one sentence for the user per kind of trouble. Threads may share an object.
    """

    def __init__(self, path: Path, capacity_bytes: int, note: Callable[[str], None]) -> None:
        self.path = path
        self.capacity_bytes = capacity_bytes
        self._file = ActivationFile(path)
        self._note = note
        self._lock = threading.RLock()
        self._reads = self._writes = capacity_bytes > 0
        self._made_anew = False

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the values that are there and whole, in no particular order, and mark them as used."""
        found: dict[bytes, bytes] = {}
        with self._lock:
            if self._reads and keys:
                with self._faults("read"):
                    self._read_into(found, keys)
        return found

    def _read_into(self, found: dict[bytes, bytes], keys: Sequence[bytes]) -> None:
        """Add values as they come, so that a fault on the way leaves what was read before."""
        used, broken = [], []
        for entry, key, value in self._file.read(keys):
            if value is None:
                broken.append(entry)
            else:
                found[key] = value
                used.append(entry)
        if self._writes and (used or broken):
            with self._faults("written to"):
                self._file.mark(used, broken)

    def put(self, items: Mapping[bytes, bytes]) -> None:
        """Keep the values, all or none of them, and let the least recently used go so that the capacity is kept.

        Of values that exceed the capacity together, the last ones are kept; one that exceeds it alone never is.
        """
        with self._lock:
            made_anew_before = self._made_anew
            self._put(items)
            if self._made_anew and not made_anew_before:
                self._put(items)

    def _put(self, items: Mapping[bytes, bytes]) -> None:
        if self._writes and items:
            with self._faults("written to"):
                self._file.write(_fitting(items, self.capacity_bytes), self.capacity_bytes)

    def close(self) -> None:
        """Close the file; from then on nothing is found and nothing is kept."""
        with self._lock:
            self._reads = self._writes = False
            self._file.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _faults(self, purpose: str) -> Iterator[None]:
        """Swallow what goes wrong with the store: make it anew, write to it no more, or do without it."""
        try:
            yield
        except FAULTS as error:
            if _is_replaceable(error) and not self._made_anew:
                self._make_anew(error)
            elif purpose == "written to" and self._file.is_open and not _is_replaceable(error):
                self._writes = False
                self._say(error, purpose, "this run only reads from it")
            else:
                was_open = self._file.is_open
                self.close()
                self._say(error, purpose if was_open else "opened", "this run does without it")

    def _make_anew(self, error: Exception) -> None:
        self._made_anew = True  # once per run: what breaks again is better left alone
        consequence = "it is made anew"
        try:
            self._file.replace()
        except ForeignFileError as foreign:
            self.close()
            error, consequence = foreign, "this run does without it"
        except FAULTS as obstacle:
            self.close()
            consequence = f"it cannot be replaced ({_reason(obstacle)}), and this run does without it"
        self._say(error, "read", consequence)

    def _say(self, error: Exception, purpose: str, consequence: str) -> None:
        trouble, next_step = _explain(error, purpose)
        self._note(f"The activation cache {self.path} {trouble}; {consequence}.{next_step}")


def _fitting(items: Mapping[bytes, bytes], capacity_bytes: int) -> dict[bytes, bytes]:
    """Return the last of the items that fit into the capacity together."""
    fitting: dict[bytes, bytes] = {}
    for key, value in reversed(list(items.items())):
        if len(value) <= capacity_bytes:
            capacity_bytes -= len(value)
            fitting[key] = value
    return dict(reversed(fitting.items()))


def _is_replaceable(error: Exception) -> bool:
    return isinstance(error, OtherVersionError | UnicodeDecodeError) or error_code(error) in _DAMAGE


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "malformed database schema"
    return str(getattr(error, "strerror", None) or error).partition(" (")[0]  # what damage left of a name follows


def _explain(error: Exception, purpose: str) -> tuple[str, str]:
    """Return what is wrong, and the next step where the user has one."""
    if isinstance(error, ForeignFileError):
        return "is something else and stays as it is", " Move it away, and the next run makes one."
    if isinstance(error, OtherVersionError):
        return "is of another version", ""
    if _is_replaceable(error):
        return f"is damaged ({_reason(error)})", ""
    if error_code(error) in _LOCKED:
        return "is locked by another process", ""
    next_step = " Free some space." if error_code(error) == sqlite3.SQLITE_FULL else ""
    return f"cannot be {purpose} ({_reason(error)})", next_step
