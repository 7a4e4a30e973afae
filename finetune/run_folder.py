"""The run folder: everything a run leaves behind, each file whole or absent, and a status that tells the truth."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import errno
import hashlib
import io
import json
import os
import re
import secrets
import shlex
import shutil
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from finetune.errors import ConfigError, FinetuneError, ResourceError

if sys.platform != "win32":
    import fcntl

STATUS = "run.json"
CONFIG = "config.toml"
VERSIONS = "versions.json"
DATA = "data.json"
SPLIT = "split.csv"
HISTORY = "history.csv"
CURVE = "learning_curve.png"
WEIGHTS = "weights.safetensors"
RECORD = "pretrained.safetensors"
"""The weight record of a pretraining."""
RATE_CURVE = "lr_find.json"
LABEL_ERRORS = "label_errors.json"
HEAT_MAPS = "heat_maps.json"
PICTURE_MAP = "picture_map.json"
MODEL = "model.onnx"
VERIFICATION = "verification.json"
FOLDS = "folds.json"
"""What a cross-validation came to; in the folder that holds those of its runs."""
UNVERIFIED = ".unverified"
"""Where targets export to, before what they wrote was compared."""
LOCK = ".lock"
TEMPORARY = re.compile(r"^\..+\.[0-9a-f]{8}\.part$")
"""What a file is called until it is whole."""
Job = Literal["run", "pretrain"]
"""What a run's folder is of: the name of the command that made it, and goes on with it."""

_LONGEST_NAME_BYTES = 160  # with the time around it, within the 255 bytes that file systems allow
_GLANCES, _GLANCE_SECONDS = 10, 0.01  # a lock is asked for so often, and after so long
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write(path: Path, content: bytes) -> None:
    """Write a file so that a crash at any moment leaves the old file, the new one, or none; never a part.

    Raises ``ResourceError`` when the disk is full or the folder cannot be written to.
    """
    with whole(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a place beside ``path`` to write to; what was written there takes its name when the block ends well.

    Raises ``ResourceError`` as ``write`` does.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with writing(path):
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _sync(file: Path) -> None:
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def sync_folder(folder: Path) -> None:
    """Let the names of a folder's files reach the disk."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise ``ResourceError`` where the disk is full, or ``path`` cannot be written to."""
    try:
        yield
    except OSError as error:
        raise _resource_error(path, error) from error


def sha256_of(path: Path | str) -> str:
    """Return the sha256 of a file's content, in hexadecimal; raises ``OSError`` where it cannot be read."""
    with open(path, "rb") as file:  # noqa: PTH123 - a million of them: no Path is made of text
        return hashlib.file_digest(file, "sha256").hexdigest()


def _resource_error(path: Path, error: OSError) -> ResourceError:
    hint = (
        "Free some space, or choose another folder with --out."
        if error.errno in _NO_ROOM
        else "Choose another folder with --out."
    )
    return ResourceError(f"Cannot write {path}: {error.strerror or error}. {hint}")


class RunFolder:
    """A run's folder on disk; ``path`` is its own folder below the one the user chose.

    While a run is ``recorded``, and from ``reopen`` on, it holds a lock that ends with the process at the latest.
    """

    def __init__(self, path: Path, job: Job = "run") -> None:
        self.path = path
        self._facts: dict[str, Any] = {"job": job}
        self._lock: int | None = None

    @property
    def facts(self) -> Mapping[str, Any]:
        """What ``run.json`` holds."""
        return self._facts

    @property
    def job(self) -> Job:
        """Which command the folder is of."""
        return _job_in(self._facts)

    @property
    def run_id(self) -> str:
        """The folder's name, which no other run in the same place has."""
        return self.path.name

    @classmethod
    def create(cls, out: Path, name: str, job: Job = "run") -> RunFolder:
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
                    return cls(path.resolve(), job)
        except OSError as error:
            raise _resource_error(out, error) from error
        raise ResourceError(f"{out} holds a thousand runs of this second. Choose another folder with --out.")

    @classmethod
    def reopen(cls, path: Path, job: Job = "run") -> RunFolder:
        """Return the folder of a run that ended early, locked, and rid of what the end left half-made.

        Raises ``ConfigError`` for a folder that no run left, that is of another job, or whose run is done, and
        ``ResourceError`` where another process has it.
        """
        folder = cls(path.resolve())
        folder._facts = _status_in(path)
        if folder.job != job:
            raise ConfigError(f"{path} was made by 'finetune {folder.job}'; go on with: {resuming_command(path)}")
        folder._take()
        folder._facts = _status_in(path)  # again: who had the lock until now may have written more
        if folder._facts["status"] == "done":
            folder._let_go()
            config = shlex.quote(str(path / CONFIG))
            raise ConfigError(
                f"{path} is done, there is nothing to resume. Start a new run with 'finetune {job} --config {config}'."
            )
        folder._sweep()
        return folder

    def _take(self) -> None:
        """Lock the folder; a second process that wrote into it would mix two runs."""
        if sys.platform == "win32" or self._lock is not None:
            return
        try:
            self._lock = locked(self.path / LOCK)
        except BlockingIOError as error:
            owner = self._facts.get("pid", "unknown")
            raise ResourceError(
                f"{self.path} is in use by process {owner}. Wait until it has ended, or end it, and repeat the command."
            ) from error
        except OSError as error:
            raise _resource_error(self.path / LOCK, error) from error

    def _let_go(self) -> None:
        if self._lock is not None:
            let_go(self.path / LOCK, self._lock)
            self._lock = None

    def _sweep(self) -> None:
        """Remove what a run that ended early left unfinished, and what failed its proof: it is made again."""
        unfinished = [path for path in self.path.rglob(".*.part") if TEMPORARY.search(path.name)]
        for path in [*unfinished, self.path / UNVERIFIED, *self.path.glob("*.failed*")]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

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
    def staging(self) -> Iterator[Path]:
        """Make a folder for what is not verified yet; whatever is left in it does not outlive the block."""
        staging = self.path / UNVERIFIED
        with writing(staging):
            staging.mkdir()
        try:
            yield staging
        finally:
            shutil.rmtree(staging)

    @contextlib.contextmanager
    def recorded(self) -> Iterator[RunFolder]:
        """Record the run as running, then as done, failed (with the cause) or interrupted, whatever ends it.

        A run that was reopened keeps what was recorded before, but for how it ended; ``resumed`` lists when it was.
        """
        self._take()
        try:
            with self._recorded():
                yield self
        finally:
            self._let_go()

    @contextlib.contextmanager
    def _recorded(self) -> Iterator[None]:
        self._record_beginning()
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(FinetuneError):  # a full disk must not hide the cause
                self._record_ending(error)
            raise
        self.record(status="done", ended=_now())

    def _record_beginning(self) -> None:
        if "started" in self._facts:
            earlier = {name: fact for name, fact in self._facts.items() if name not in ("ended", "cause")}
            self._facts = {**earlier, "resumed": [*earlier.get("resumed", ()), _now()]}
        else:
            self._facts["started"] = _now()
        self.record(status="running", id=self.run_id, pid=os.getpid())

    def _record_ending(self, error: BaseException) -> None:
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit)  # Ctrl-C, or a signal to end
        cause = f"{type(error).__name__}: {error}".removesuffix(": ")
        self.record(status="interrupted" if interrupted else "failed", ended=_now(), cause=cause)


def locked(path: Path) -> int:
    """Return the descriptor of a lock file, made where there is none: this process's until ``let_go``; not on Windows.

    Raises ``BlockingIOError`` where another process holds it for longer than a glance takes: who only looks whether a
    run goes on (``past_runs.is_in_use``) has the lock for a moment. Raises ``OSError`` where the file cannot be opened.
    """
    for _ in range(_GLANCES - 1):
        with contextlib.suppress(BlockingIOError):
            return _locked(path)
        time.sleep(_GLANCE_SECONDS)
    return _locked(path)


def let_go(path: Path, descriptor: int) -> None:
    """Remove a lock file and give back the lock that ``locked`` took."""
    with contextlib.suppress(OSError):  # the folder may be gone
        path.unlink(missing_ok=True)
    os.close(descriptor)


def _locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:  # as in any other case here: who had the lock removed the file when letting go
            pass
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)


def is_cross_validation(run: Path) -> bool:
    """Whether a run's folder is a cross-validation's, done or not: each fold is a run in a folder within it."""
    options = options_in(run)
    return (run / FOLDS).is_file() or (options.get("folds") is not None and options.get("fold") is None)


def options_in(run: Path) -> dict[str, Any]:
    """Return what ``config.toml`` asks for, unchecked; nothing where it cannot be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        return tomllib.loads((run / CONFIG).read_text(encoding="utf-8"))
    return {}


def _status_in(path: Path) -> dict[str, Any]:
    """Return what a run recorded; raise ``ConfigError`` for a folder that no run left."""
    if not (path / STATUS).is_file():
        raise ConfigError(
            f"{path} is no run's folder: it has no {STATUS}. Name the folder that the run was written to."
        )
    try:
        facts = json.loads((path / STATUS).read_text(encoding="utf-8"))
        facts["status"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path / STATUS} is damaged; the run cannot be resumed. Start a new one.") from error
    return cast(dict[str, Any], facts)


def resuming_command(run: Path) -> str:
    """Return what goes on with the run in a folder, as it is typed."""
    facts: dict[str, Any] = {}
    with contextlib.suppress(ConfigError):  # a run that has recorded nothing yet
        facts = _status_in(run)
    return f"finetune {_job_in(facts)} --resume {shlex.quote(str(run))}"


def is_done(run: Path) -> bool:
    """Whether the folder is of a run that has recorded that it is done."""
    with contextlib.suppress(ConfigError):
        return bool(_status_in(run)["status"] == "done")
    return False


def _job_in(facts: Mapping[str, Any]) -> Job:
    return "pretrain" if facts.get("job") == "pretrain" else "run"


def to_json(content: object) -> str:
    """Return indented JSON, non-ASCII as it is; dataclasses become objects, paths become text."""
    return json.dumps(content, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else str(value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
