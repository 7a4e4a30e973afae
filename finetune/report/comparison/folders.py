"""From the folders that were named to the runs that are compared, each with a letter and a name of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from finetune import run_folder
from finetune.errors import ConfigError, DataError
from finetune.report.reading import refuse_unfinished

FEWEST, MOST = 2, 10
"""So many runs can be compared: more than that, nobody tells apart in one chart."""
LETTERS = "ABCDEFGHIJ"


def runs_in(given: Sequence[Path]) -> list[Path]:
    """Return the runs' folders, resolved; a cross-validation stands for its folds.

    Raises ``ConfigError`` for what is no folder of a run that is done, for a run that is there twice, and for fewer or
    more runs than can be compared; ``DataError`` for a damaged one.
    """
    runs = [run for folder in given for run in _expanded(folder)]
    for run in runs:
        if runs.count(run) > 1:
            raise ConfigError(f"{run} is named twice. Name each run once.")
    if not FEWEST <= len(runs) <= MOST:
        raise ConfigError(f"{len(runs)} run(s) cannot be compared; name {FEWEST} to {MOST} of them.")
    return runs


def _expanded(folder: Path) -> list[Path]:
    _refuse_what_is_no_folder(folder)
    runs = _folds_in(folder) if run_folder.is_cross_validation(folder) else [folder]
    for run in runs:
        _refuse_what_is_no_folder(run)
        refuse_unfinished(run)
    return [run.resolve() for run in runs]


def _refuse_what_is_no_folder(path: Path) -> None:
    if not path.exists():
        raise ConfigError(f"{path} does not exist. Name the folder that a run was written to.")
    if not path.is_dir():
        raise ConfigError(f"{path} is a file. Name the folder that a run was written to.")


def _folds_in(folder: Path) -> list[Path]:
    """Return the folders of the folds, where the cross-validation's folder is now."""
    path = folder / run_folder.FOLDS
    if not path.is_file():
        refuse_unfinished(folder)
    try:
        folds = json.loads(path.read_bytes())["folds"]
        return [folder / Path(fold).name for fold in folds]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged. Name the folders of the folds, which are beside it.") from error


def names_of(runs: Sequence[Path]) -> list[str]:
    """Return the names of the folders, each with as much of the way to it as tells it from the others."""
    return [_name(run, [other for other in runs if other != run]) for run in runs]


def _name(run: Path, others: Sequence[Path]) -> str:
    parts = run.parts
    for length in range(1, len(parts)):
        if all(other.parts[-length:] != parts[-length:] for other in others):
            return "/".join(parts[-length:])
    return str(run)
