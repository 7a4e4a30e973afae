"""Room on the disk: past runs that are chosen to go, and go whole; never one that runs, or what no run has written."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from finetune import run_folder
from finetune.cache_removal import cache_bytes, remove_cache
from finetune.errors import ConfigError, ResourceError
from finetune.past_runs import (
    AUDIT,
    LEVELS,
    UNFINISHED,
    PastRun,
    folds_in,
    past_runs,
    read_run,
    run_folders,
    size_bytes,
)
from finetune.training.activation_file import cache_path

OWN_NAMES = frozenset(
    {
        *(run_folder.STATUS, run_folder.CONFIG, run_folder.VERSIONS, run_folder.DATA, run_folder.SPLIT),
        *(run_folder.HISTORY, run_folder.CURVE, run_folder.WEIGHTS, run_folder.RECORD, run_folder.RATE_CURVE),
        *(run_folder.LABEL_ERRORS, run_folder.HEAT_MAPS, run_folder.PICTURE_MAP, run_folder.MODEL),
        *(run_folder.VERIFICATION, run_folder.FOLDS, AUDIT),
        *("metrics.json", "answers.npy", "report.html", "MODEL_CARD.md", "comparison.html", "augmented.png"),
        *("suspicious.png", "lr_find.png", "checkpoints", "callbacks", "tracking.json"),
        *("tensorboard", "mlflow", "wandb"),
    }
)
"""What runs and other commands write into a run's folder, beside artifacts; as words, for most modules load torch."""

MOST_DAYS = 36_500

_REMOVING = re.compile(r"^\.removing-.+-[0-9a-f]{8}$")
_LONGEST_NAME_BYTES = 200
_FAILED = ".failed"  # in the name of an artifact that did not pass its proof


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A run that was asked for, and why it has to stay, "" where it may go."""

    run: PastRun
    kept: str = ""


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What is to go: the runs of ``choices`` that may, ``remainders`` of removals that were stopped, and the cache.

    ``remainders`` are given with their sizes in bytes, ``cache_bytes`` is that of the cache; ``cache`` is None where it
    was not asked for, or is not there.
    """

    choices: tuple[Choice, ...]
    remainders: Mapping[Path, int]
    cache: Path | None
    cache_bytes: int

    @property
    def runs(self) -> tuple[PastRun, ...]:
        """The runs that go."""
        return tuple(choice.run for choice in self.choices if not choice.kept)

    @property
    def freed_bytes(self) -> int:
        """How much room that makes."""
        return sum(run.size_bytes for run in self.runs) + sum(self.remainders.values()) + self.cache_bytes

    def carry_out(self) -> None:
        """Remove it all; raise ``ConfigError`` and ``ResourceError`` as ``remove`` and ``remove_cache`` do."""
        if self.cache:  # first, for it alone may be refused only now
            remove_cache(self.cache)
        for remainder in self.remainders:
            with _removing(remainder):
                _delete(remainder)
        for run in self.runs:
            remove(run)


def removal(
    folder: Path,
    named: Sequence[Path] = (),
    *,
    unfinished: bool = False,
    older_than_days: float | None = None,
    cache: bool = False,
) -> Removal:
    """Return what is to go of a folder of runs, and remove nothing; the conditions are those of ``choose``.

    Raises ``ConfigError`` where nothing is asked for, and as ``choose`` does.
    """
    by_run = bool(named) or unfinished or older_than_days is not None
    if not (by_run or cache):
        raise ConfigError(
            "Nothing is chosen to be removed; name runs, or give --unfinished, --older-than-days N or --cache."
        )
    choices = choose(folder, named, unfinished=unfinished, older_than_days=older_than_days) if by_run else []
    left = {path: size_bytes(path) for path in remainders(folder)}
    path = cache_path() if cache and cache_path().exists() else None
    return Removal(choices=tuple(choices), remainders=left, cache=path, cache_bytes=cache_bytes(path) if path else 0)


def choose(
    folder: Path,
    named: Sequence[Path] = (),
    *,
    unfinished: bool = False,
    older_than_days: float | None = None,
    now: datetime | None = None,
) -> list[Choice]:
    """Return the runs below a folder that every condition holds for, newest first; of those ``named``, if any are.

    ``unfinished`` are those that failed, were interrupted or killed; ``older_than_days`` looks at when a run ended. A
    run that goes on, or that holds what no run has written, stays; the latter goes where it was named. Raises
    ``ConfigError`` for a name that is no run's folder, ``ResourceError`` for a named one in which a run goes on.
    """
    if older_than_days is not None and not 0 <= older_than_days <= MOST_DAYS:
        raise ConfigError(f"--older-than-days {older_than_days:g} is not allowed; give a number from 0 to {MOST_DAYS}.")
    runs = [_named(name, folder) for name in dict.fromkeys(named)] or past_runs(folder)
    latest = None if older_than_days is None else (now or datetime.now(UTC)) - timedelta(days=older_than_days)
    meant = [run for run in runs if run.status != "damaged"]
    meant = [run for run in meant if not unfinished or run.status in UNFINISHED]
    meant = [run for run in meant if latest is None or _when(run) <= latest]
    return [Choice(run=run, kept=_obstacle(run, is_named=bool(named))) for run in meant]


def _named(name: Path, folder: Path) -> PastRun:
    """Return the run in a folder, named by its path, or below ``folder`` as the table of runs shows it."""
    path = name if name.exists() or name.is_symlink() else folder / name
    if path.is_symlink():
        raise ConfigError(f"{name} is a link, and what it leads to stays as it is. Name the run's folder itself.")
    path = path.resolve()
    run = read_run(path, path.parent) if (path / run_folder.STATUS).is_file() else None
    if run is None:
        if path.is_dir():
            raise ConfigError(f"{name} is no run's folder; for the runs that are in it, say --folder {name}.")
        raise ConfigError(f"{name} is no run's folder. See 'finetune runs {shlex.quote(str(folder))}' for those.")
    if run.status == "damaged":
        raise ConfigError(f"{name}: {run.note}; no run is removed that cannot be told from others. Delete it yourself.")
    if run.status == "running":
        raise ResourceError(f"{name} is in use: the run goes on. Wait until it has ended, or end it, and repeat.")
    return run


def _when(run: PastRun) -> datetime:
    """Return when a run ended, or began where that is not known; one that says neither is never old."""
    with contextlib.suppress(ValueError):
        found = datetime.fromisoformat(run.ended or run.started)
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return datetime.max.replace(tzinfo=UTC)


def _obstacle(run: PastRun, is_named: bool) -> str:
    if run.status == "running":
        return "it goes on"
    folds = folds_in(run.path)
    others = [path for path in run_folders(run.path, LEVELS) if path not in (run.path, *folds)]
    if others:
        return f"it holds another run, {others[0].relative_to(run.path).as_posix()}; remove that first, or move it"
    strangers = [] if is_named else [name for each in (run.path, *folds) for name in strangers_in(each, folds)]
    return f"it holds {strangers[0]}, which no run has written; name the run to remove all of it" if strangers else ""


def strangers_in(run: Path, folds: Sequence[Path] = ()) -> list[str]:
    """Return the names of what is in a run's folder and was written by no command: a user's, as far as is known."""
    own = {*OWN_NAMES, *_artifacts(run), *(fold.name for fold in folds)}
    names = sorted(entry.name for entry in os.scandir(run))
    return [name for name in names if name.replace(_FAILED, "", 1) not in own and not _is_passing(name)]


def _is_passing(name: str) -> bool:
    """Whether it is what a run has only while it goes on, or until it is gone on with."""
    return name in (run_folder.LOCK, run_folder.UNVERIFIED) or bool(run_folder.TEMPORARY.match(name))


def _artifacts(run: Path) -> set[str]:
    """Return the names of what was exported, verified or not; none where the record of it cannot be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return {str(each["file"]) for each in json.loads((run / run_folder.VERIFICATION).read_bytes())}
    return set()


def remove(run: PastRun) -> None:
    """Remove a run's folder, and what links in it lead to not; a crash leaves the run, or a remainder to sweep.

    Raises ``ResourceError`` where the run goes on by now, or has since it was chosen, and where its folder cannot be
    removed.
    """
    hidden = run.path.with_name(f".removing-{_short(run.path.name)}-{secrets.token_hex(4)}")
    with ExitStack() as locks:
        for folder in (run.path, *folds_in(run.path)):  # a fold may go on by itself
            locks.enter_context(_held(folder))
        now = read_run(run.path, run.path.parent)
        if now is None or (now.started, now.ended) != (run.started, run.ended):
            raise ResourceError(f"{run.path} has changed since it was chosen; it stays. Look again: finetune runs")
        with _removing(run.path):
            run.path.rename(hidden)
        with _removing(hidden):
            _delete(hidden)


def remainders(folder: Path, levels: int = LEVELS) -> Iterator[Path]:
    """Yield what removals that were stopped have left below a folder."""
    with contextlib.suppress(OSError):
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                path = folder / entry.name
                if _REMOVING.match(entry.name) and _is_remainder(path):
                    yield path
                elif levels and not entry.name.startswith("."):
                    yield from remainders(path, levels - 1)


def _is_remainder(path: Path) -> bool:
    """Whether there still is a status of ours, which goes last, or nothing at all."""
    has_status = (path / run_folder.STATUS).is_file() and read_run(path, path.parent) is not None
    return has_status or not any(path.iterdir())


def _delete(folder: Path) -> None:
    """Remove a folder, its status last, so that what a crash leaves still says whose it is."""
    for entry in list(os.scandir(folder)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        elif entry.name != run_folder.STATUS:
            Path(entry.path).unlink()
    (folder / run_folder.STATUS).unlink(missing_ok=True)
    folder.rmdir()


@contextmanager
def _removing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResourceError(
            f"Cannot remove {path}: {error.strerror or error}. Mend that, and repeat the command."
        ) from error


@contextmanager
def _held(run: Path) -> Iterator[None]:
    """Hold the lock of a run's folder, so that no process goes on with it; raise ``ResourceError`` where one does."""
    if sys.platform == "win32":  # a folder with open files cannot be renamed there anyway
        yield
        return
    lock = run / run_folder.LOCK
    descriptor = _locked(run, lock)
    try:
        yield
    finally:
        run_folder.let_go(lock, descriptor)  # of a run that stays; with one that goes, its lock has gone


def _locked(run: Path, lock: Path) -> int:
    with _removing(run):
        try:
            return run_folder.locked(lock)
        except BlockingIOError as error:
            raise ResourceError(
                f"{run} is in use: the run goes on. Wait until it has ended, or end it, and repeat."
            ) from error


def _short(name: str) -> str:
    return name.encode(errors="surrogateescape")[:_LONGEST_NAME_BYTES].decode(errors="ignore")
