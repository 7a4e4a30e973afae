"""The run folder: everything a run leaves behind, each file whole or absent, and a status that tells the truth."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import errno
import io
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from finetune.errors import FinetuneError, ResourceError

STATUS = "run.json"
CONFIG = "config.toml"
VERSIONS = "versions.json"
DATA = "data.json"
SPLIT = "split.csv"
HISTORY = "history.csv"
CURVE = "learning_curve.png"
WEIGHTS = "weights.safetensors"
MODEL = "model.onnx"
VERIFICATION = "verification.json"

_LONGEST_NAME_BYTES = 160  # with the time around it, within the 255 bytes that file systems allow
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write(path: Path, content: bytes) -> None:
    """Write a file so that a crash at any moment leaves the old file, the new one, or none; never a part.

    Raises ``ResourceError`` when the disk is full or the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _resource_error(path, error) from error


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _resource_error(path: Path, error: OSError) -> ResourceError:
    hint = (
        "Free some space, or choose another folder with --out."
        if error.errno in _NO_ROOM
        else "Choose another folder with --out."
    )
    return ResourceError(f"Cannot write {path}: {error.strerror or error}. {hint}")


class RunFolder:
    """A run's folder on disk; ``path`` is its own, new folder below the one the user chose."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._facts: dict[str, Any] = {}

    @property
    def run_id(self) -> str:
        """The folder's name, which no other run in the same place has."""
        return self.path.name

    @classmethod
    def create(cls, out: Path, name: str) -> RunFolder:
        """Make a new folder named after the time and ``name``; raise ``ResourceError`` where that is impossible."""
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
        safe = safe.encode()[:_LONGEST_NAME_BYTES].decode(errors="ignore")
        try:
            out.mkdir(parents=True, exist_ok=True)
            for attempt in range(1, 1000):
                path = out / (f"{stamp}-{safe}" if attempt == 1 else f"{stamp}-{safe}-{attempt}")
                with contextlib.suppress(FileExistsError):
                    path.mkdir()
                    return cls(path.resolve())
        except OSError as error:
            raise _resource_error(out, error) from error
        raise ResourceError(f"{out} holds a thousand runs of this second. Choose another folder with --out.")

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def write(self, name: str, content: bytes | str) -> Path:
        """Write one file whole and return its path.

        Text becomes UTF-8; bytes of a file name that are none are escaped as JSON does it, so that no name ever keeps
        a record from being written.
        """
        path = self.path / name
        write(path, content.encode(errors="backslashreplace") if isinstance(content, str) else content)
        return path

    def write_json(self, name: str, content: Any) -> Path:
        """Write JSON, indented, non-ASCII as it is; dataclasses become objects and paths text."""
        return self.write(name, to_json(content) + "\n")

    def write_csv(self, name: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
        """Write a CSV table with a header line."""
        text = io.StringIO(newline="")
        plain = csv.writer(text, lineterminator="\n")
        quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in (header, *rows):
            # Before Python 3.13 a carriage return goes unquoted, and reads back as the end of the row.
            (quoted if any("\r" in str(field) for field in row) else plain).writerow(row)
        return self.write(name, text.getvalue())

    def record(self, **facts: object) -> None:
        """Add facts to ``run.json``; earlier ones stay."""
        self._facts |= facts
        self.write_json(STATUS, self._facts)

    @contextlib.contextmanager
    def recorded(self) -> Iterator[RunFolder]:
        """Record the run as running, then as done, failed (with the cause) or interrupted, whatever ends it."""
        self.record(status="running", id=self.run_id, started=_now(), pid=os.getpid())
        try:
            yield self
        except BaseException as error:
            with contextlib.suppress(FinetuneError):  # a full disk must not hide the cause
                self._record_ending(error)
            raise
        self.record(status="done", ended=_now())

    def _record_ending(self, error: BaseException) -> None:
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit)  # Ctrl-C, or a signal to end
        cause = f"{type(error).__name__}: {error}".removesuffix(": ")
        self.record(status="interrupted" if interrupted else "failed", ended=_now(), cause=cause)


def to_json(content: object) -> str:
    """Return indented JSON, non-ASCII as it is; dataclasses become objects, paths become text."""
    return json.dumps(content, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else str(value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
