"""What a run has written down, read back from its folder."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune import run_folder
from finetune.config import read_file
from finetune.data.targets import Targets, example_of, targets_of
from finetune.errors import ConfigError, DataError, ModelError
from finetune.report.thumbnails import Thumbnails
from finetune.types import (
    HeatMap,
    LabelError,
    LabelErrors,
    Place,
    RateCurve,
    RunRecords,
    RunResult,
    Task,
    Verification,
)
from finetune_export.contract import read_contract

METRICS = "metrics.json"
ANSWERS = "answers.npy"
NEEDED = (
    *(run_folder.STATUS, run_folder.CONFIG, run_folder.DATA, run_folder.VERSIONS, run_folder.SPLIT),
    *(run_folder.HISTORY, METRICS, ANSWERS, run_folder.VERIFICATION, run_folder.MODEL),
)
"""Files without which there is nothing to report."""
FOR_LOOKS = (run_folder.RATE_CURVE, run_folder.LABEL_ERRORS, run_folder.HEAT_MAPS, run_folder.PICTURE_MAP)
"""Files that a report can do without."""
DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, ModelError, ConfigError)


def refuse_unfinished(run: Path) -> None:
    """Raise ``ConfigError`` for a folder that no run left, or whose run is not done; ``DataError`` if it is damaged."""
    if (run / run_folder.FOLDS).is_file():
        raise ConfigError(
            f"{run} is a cross-validation; report one of its runs, in a folder within it, or "
            f"compare them: finetune report {shlex.quote(str(run))}"
        )
    if not (run / run_folder.STATUS).is_file():
        raise ConfigError(
            f"{run} is no run's folder: it has no {run_folder.STATUS}. Name the folder that a run was written to."
        )
    with _reading(run / run_folder.STATUS):
        facts = _json(run / run_folder.STATUS)
        status = facts["status"]
    if status == "done" and ("result" not in facts or facts.get("job") == "pretrain"):
        raise ConfigError(
            f"{run} is of a pretraining, an audit or a search for the learning rate, which have no report. Name the "
            "folder of a run."
        )
    if status != "done":
        told = "running, or killed" if status == "running" else status
        raise ConfigError(
            f"{run} is not finished ({told}), so there is no result to report. Go on with: "
            f"{run_folder.resuming_command(run)}"
        )


def read_records(run: Path, shares: tuple[str, ...], moved: Mapping[str, Path] = MappingProxyType({})) -> RunRecords:
    """Return the records of the run in the folder ``run``; ``shares`` are the metrics that are read in percent.

    ``moved`` are pictures by the sha256 of their content, for those that are not where they were. Raises
    ``ConfigError`` naming what is missing, ``DataError`` or, of the model, ``ModelError`` naming what is damaged.
    """
    missing = [name for name in NEEDED if not (run / name).is_file()]
    if missing:
        raise ConfigError(
            f"{run} cannot be reported: it has no {', no '.join(missing)}. Name the folder of one run that is complete."
        )
    contract = _read(run / run_folder.MODEL, read_contract)
    split = _read(run / run_folder.SPLIT, _rows)
    labelled = [row for row in split if row.get("part") == "valid"]
    with _reading(run / run_folder.SPLIT):
        paths = tuple(Path(row["path"]) for row in labelled)
        targets = _targets(labelled, contract.labels, contract.task)
        pictures = Thumbnails(split, contract.preprocessing, moved)
    return RunRecords(
        run=run,
        task=contract.task,
        labels=contract.labels,
        options=MappingProxyType(dict(_read(run / run_folder.CONFIG, read_file))),
        result=_read(run / run_folder.STATUS, _result),
        data=_read(run / run_folder.DATA, partial(_json, keys=("refused", "ignored", "findings"))),
        metrics=_read(run / METRICS, partial(_json, keys=("valid", "test"))),
        versions=_read(run / run_folder.VERSIONS, _json),
        shares=shares,
        history=_read(run / run_folder.HISTORY, _rows),
        verification=_read(run / run_folder.VERIFICATION, _verification),
        split=split,
        paths=paths,
        answers=_answers(run / ANSWERS, (len(paths), len(contract.labels))),
        targets=targets,
        contract=contract,
        rate_curve=_read_if_there(run / run_folder.RATE_CURVE, _rate_curve),
        label_errors=_read_if_there(run / run_folder.LABEL_ERRORS, _label_errors),
        heat_maps=_read_if_there(run / run_folder.HEAT_MAPS, _heat_maps) or (),
        places=_read_if_there(run / run_folder.PICTURE_MAP, _places) or (),
        pictures=pictures,
    )


def _read_if_there(path: Path, how: Callable[[Path], Any]) -> Any:
    """Return what a file holds that a run writes only where there was something to be found; None without it."""
    return _read(path, how) if path.exists() else None


def _read(path: Path, how: Callable[[Path], Any]) -> Any:
    with _reading(path):
        return how(path)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGED as error:
        kind = ModelError if path.name == run_folder.MODEL else DataError
        raise kind(f"{path} is damaged ({_cause(error)}), and the run cannot be reported. {_way_out(path)}") from error


def _cause(error: BaseException) -> str:
    """Return what is wrong with a file, in words of ours where the reader's are about code."""
    if isinstance(error, KeyError):
        return f"it does not say {error}"
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "it is no JSON" if isinstance(error, json.JSONDecodeError) else "it is no text"
    if isinstance(error, TypeError | AttributeError):
        return "it is not made as runs write it"
    return " ".join(str(error).split()) or type(error).__name__


def _way_out(path: Path) -> str:
    if path.name in FOR_LOOKS:
        return "The report can do without it: remove it, and repeat the command."
    if path.name == run_folder.CONFIG:
        return "Put it back as it was, or train again."
    return f"Repeat the run with: finetune run --config {shlex.quote(str(path.with_name(run_folder.CONFIG)))}"


def _json(path: Path, keys: Sequence[str] = ()) -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    for key in keys:
        found[key]
    return MappingProxyType(found)


def _rows(path: Path) -> tuple[Mapping[str, str], ...]:
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(MappingProxyType(row) for row in csv.DictReader(file))


def _result(path: Path) -> RunResult:
    """Return the result with the paths of where the run's folder is now."""
    known = _json(path)["result"]
    artifacts = {name: path.with_name(Path(artifact).name) for name, artifact in known["artifacts"].items()}
    lists = {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
    return RunResult(**{**known, **lists, "run": path.parent, "onnx": artifacts["onnx"], "artifacts": artifacts})


def _verification(path: Path) -> tuple[Verification, ...]:
    return tuple(Verification(**{**row, "problems": tuple(row["problems"])}) for row in json.loads(path.read_bytes()))


def _rate_curve(path: Path) -> RateCurve:
    known = _json(path)
    return RateCurve(**{**known, "rates": tuple(known["rates"]), "losses": tuple(known["losses"])})


def _label_errors(path: Path) -> LabelErrors:
    known = _json(path)
    return LabelErrors(**{**known, "found": tuple(LabelError(**each) for each in known["found"])})


def _heat_maps(path: Path) -> tuple[HeatMap, ...]:
    return tuple(
        HeatMap(**{**each, "cells": tuple(map(tuple, each["cells"]))}) for each in json.loads(path.read_bytes())
    )


def _places(path: Path) -> tuple[Place, ...]:
    return tuple(Place(**each) for each in json.loads(path.read_bytes()))


def _targets(rows: list[Mapping[str, str]], labels: tuple[str, ...], task: Task) -> Targets:
    return targets_of([example_of(Path(row["path"]), row["label"], task) for row in rows], labels, task)


def _answers(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the answers, mapped from the file, so that as many as there are cost no memory."""
    with _reading(path):
        try:
            answers: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:  # numpy's advice would be to load it unsafely
            raise ValueError("it is no array") from error
        if answers.shape != shape or answers.dtype != np.float32:
            asked = f"split.csv and the model ask for float32 {shape}; one of them was changed"
            raise ValueError(f"it holds {answers.dtype} {answers.shape}, and {asked}")
    return answers
