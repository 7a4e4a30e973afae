"""Past runs: what is in a folder of runs, read from the little that each has written down; no torch, no numpy."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from finetune import run_folder
from finetune.errors import ConfigError

if sys.platform != "win32":
    import fcntl

LEVELS = 3
"""How deep below a folder runs are looked for: ``--out runs/demo`` puts them on the second."""
AUDIT = "audit.json"
"""What ``finetune audit`` writes; here as a word, for its module loads what reads pictures."""

What = Literal["run", "cross-validation", "pretrain", "audit", "lr-find"]
Status = Literal["done", "failed", "interrupted", "running", "stopped", "damaged"]
UNFINISHED: tuple[Status, ...] = ("failed", "interrupted", "stopped")

_RECORDED = ("running", "done", "failed", "interrupted")
_FOLD = re.compile(r"-fold-\d+(-\d+)?$")
_FAULTS = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


class _DamagedError(Exception):
    """A file of a run's cannot be read."""


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """A run as its folder ``path`` tells of it; ``name`` is the folder's path below the one that was looked into.

    ``status`` is "running" only while a process holds the run's lock, and "stopped" where one was killed before it
    could say how it ended; ``note`` is why a run failed, or what is wrong with a damaged one. ``value`` is the headline
    ``metric`` on the validation pictures with its 95 % ``interval``; of a cross-validation the mean over its folds
    with their standard deviation, ``spread``; of an lr-find the rate. What is not known is "" or None. ``started`` and
    ``ended`` are UTC, as ISO 8601 has it; ``size_bytes`` are those of all files.
    """

    path: Path
    name: str
    what: What
    status: Status
    note: str
    dataset: str
    backbone: str
    strategy: str
    metric: str
    value: float | None
    interval: tuple[float, float] | None
    spread: float | None
    started: str
    ended: str
    size_bytes: int


def past_runs(folder: Path) -> list[PastRun]:
    """Return the runs in a folder and up to ``LEVELS`` below it, newest first; folders that are no runs are ignored.

    The folds of a cross-validation are part of it, and links to folders are not followed. Raises ``ConfigError`` for a
    ``folder`` that is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder that runs were written to.")
    found = [read_run(path, folder) for path in run_folders(folder)]
    return sorted((run for run in found if run), key=lambda run: (run.started, run.name), reverse=True)


def run_folders(folder: Path, levels: int = LEVELS) -> Iterator[Path]:
    """Yield the folders that have a status, those within others as well, but for the folds of a cross-validation."""
    names = _folders_in(folder)
    if (folder / run_folder.STATUS).is_file():
        yield folder
        folds = {fold.name for fold in folds_in(folder, names)}
        names = [name for name in names if name not in folds]
    if levels:
        for name in names:
            yield from run_folders(folder / name, levels - 1)


def folds_in(run: Path, names: list[str] | None = None) -> list[Path]:
    """Return the folders of a cross-validation's folds, in the order in which they were begun; of other runs none.

    ``names`` are those of the folders in it, where they are known already.
    """
    named = [name for name in (_folders_in(run) if names is None else names) if _FOLD.search(name)]
    return [run / name for name in sorted(named)] if named and run_folder.is_cross_validation(run) else []


def _folders_in(folder: Path) -> list[str]:
    """Return the names of the folders in a folder but for hidden ones and links; none where it cannot be read."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.name[0] != "." and entry.is_dir(follow_symlinks=False)]
    return []


def read_run(path: Path, below: Path) -> PastRun | None:
    """Return what a run's folder tells, damaged or not; None where its status is another program's.

    ``below`` is the folder that its name is given from.
    """
    name = path.relative_to(below).as_posix() if path != below and path.is_relative_to(below) else path.name
    try:
        facts = json.loads((path / run_folder.STATUS).read_bytes())
        if isinstance(facts, dict) and not facts.keys() & {"job", "status"}:
            return None
        return _read(path, name, facts)
    except _DamagedError as error:
        return _damaged(path, name, str(error))
    except _FAULTS as error:
        return _damaged(path, name, _problem(run_folder.STATUS, error))


def _read(path: Path, name: str, facts: Mapping[str, Any]) -> PastRun:
    if facts["status"] not in _RECORDED:
        raise ValueError(f"status {facts['status']!r}")
    what = _what(path, facts)
    return PastRun(
        path=path,
        name=name,
        what=what,
        status=_status(path, facts["status"]),
        note=str(facts.get("cause", "")),
        **_made_of(path, what, facts),
        **_came_to(path, what, facts),
        started=str(facts.get("started", "")),
        ended=str(facts.get("ended", "")),
        size_bytes=size_bytes(path),
    )


def _damaged(path: Path, name: str, problem: str) -> PastRun:
    return PastRun(
        path=path,
        name=name,
        what="run",
        status="damaged",
        note=problem,
        dataset="",
        backbone="",
        strategy="",
        metric="",
        value=None,
        interval=None,
        spread=None,
        started="",
        ended="",
        size_bytes=size_bytes(path),
    )


def _what(path: Path, facts: Mapping[str, Any]) -> What:
    if facts.get("job") == "pretrain":
        return "pretrain"
    if (path / AUDIT).is_file():
        return "audit"
    if "suggestion" in facts:
        return "lr-find"
    return "cross-validation" if run_folder.is_cross_validation(path) else "run"


def _status(path: Path, recorded: Status) -> Status:
    """Return the status as it is now: a run that goes on again is running whatever it said when it ended."""
    if is_in_use(path):
        return "running"
    return "stopped" if recorded == "running" else recorded


def is_in_use(run: Path) -> bool:
    """Whether a process holds the lock of a run's folder; without locks, as on Windows, whether the run says so."""
    if sys.platform == "win32":
        return bool(json.loads((run / run_folder.STATUS).read_bytes()).get("status") == "running")
    try:
        descriptor = os.open(run / run_folder.LOCK, os.O_RDONLY)
    except OSError:  # nobody holds what is not there
        return False
    try:  # shared, so that two who ask do not take each other for a run; given back at once
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks, on which no run can be told from a killed one
        return False
    finally:
        os.close(descriptor)
    return False


def _made_of(path: Path, what: What, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return data set, backbone and strategy: of the result where there is one, or else of what was asked for.

    An lr-find has no result; what it was of is beside its suggestion.
    """
    result, options = facts.get("result") or facts, run_folder.options_in(path)
    folds = folds_in(path) if what == "cross-validation" else []
    strategy = {"pretrain": "from random weights", "audit": "", "lr-find": ""}.get(what, options.get("strategy", ""))
    return {
        "dataset": str(result.get("dataset") or _dataset(folds[0] if folds else path, what, options)),
        "backbone": str(result.get("backbone") or options.get("backbone") or ""),
        "strategy": str(result.get("strategy") or strategy),
    }


def _dataset(path: Path, what: What, options: Mapping[str, Any]) -> str:
    """Return what the data set is called: as it was read, or else as it was asked for."""
    recorded = _json(path / AUDIT).get("dataset") if what == "audit" else _json(path / run_folder.DATA).get("name")
    return str(recorded or options.get("name") or options.get("plugin") or Path(options.get("data", "")).name)


def _came_to(path: Path, what: What, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headline metric, its value, and how certain that is."""
    result = facts.get("result") or {}
    metric, value, interval, spread = result.get("metric", ""), result.get("value"), result.get("interval"), None
    if what == "cross-validation" and (found := _json(path / run_folder.FOLDS)):
        metric = found["metric"]
        value, spread = found["scores"].get(metric) or (None, None)
    elif what == "lr-find":
        metric, value = "lr", facts["suggestion"]
    low, high = (_number(bound) for bound in interval or (None, None))
    between = None if low is None or high is None else (low, high)
    return {"metric": str(metric), "value": _number(value), "interval": between, "spread": _number(spread)}


def _number(value: float | None) -> float | None:
    """Return a number, None where it is undefined."""
    return float(value) if value is not None and isfinite(value) else None


def _json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file that a run may not have written; nothing where there is none."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except _FAULTS as error:
        raise _DamagedError(_problem(path.name, error)) from error
    return content if isinstance(content, dict) else {}


def _problem(name: str, error: Exception) -> str:
    return f"{name} is damaged ({' '.join(str(error).split()) or type(error).__name__})"


def size_bytes(folder: Path) -> int:
    """Return how large the files in a folder are together; what links lead to does not count."""
    total = 0
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += size_bytes(Path(entry.path))
            else:
                total += entry.stat(follow_symlinks=False).st_size
    return total
