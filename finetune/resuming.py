"""Going on with a run that was stopped: what it was, what may change, and that the data is still the same."""

from __future__ import annotations

import csv
import io
import json
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from finetune import run_folder
from finetune.config import PRETRAINING, PretrainOptions, RunConfig, RunOptions, flag, read_file, resolve, to_toml
from finetune.errors import ConfigError, DataError, ModelError
from finetune.intent import Intent, discover
from finetune.preparation import Job
from finetune.records import CHECKPOINTS, MAY_CHANGE, identity_of, plugins_of, split_rows, versions
from finetune.run_folder import RunFolder, to_json
from finetune.types import Reporter


class Unrepeated:
    """A reporter that leaves out what was said when a run was begun, where the run goes on from a checkpoint."""

    def __init__(self, folder: RunFolder, reporter: Reporter) -> None:
        """Go by the notes in the run's folder."""
        self._said = _json(folder, run_folder.DATA)["notes"] if (folder / CHECKPOINTS).exists() else ()
        self._reporter = reporter
        self.begin, self.advance, self.end = reporter.begin, reporter.advance, reporter.end
        self.figure = reporter.figure

    def note(self, text: str) -> None:
        """Say one plain sentence, unless it was said."""
        if text not in self._said:
            self._reporter.note(text)


def intent_of(folder: RunFolder, options: Mapping[str, Any]) -> Intent:
    """Return what a run was asked for, with the options that are said anew.

    Raises ``ConfigError`` for one that would make it another run.
    """
    recorded, may_change = _recorded(folder), _may_change(folder)
    before, after = resolve(recorded), resolve(recorded, cast(RunOptions, options))
    for name in options:
        if name not in may_change and _written(after, name) != _written(before, name):
            begun = getattr(before, name)
            raise ConfigError(
                f"{flag(name)} {getattr(after, name)} cannot be said when a run is resumed: it was begun "
                f"{'without it' if begun is None else f'with {begun}'}. What may change is "
                f"{', '.join(map(flag, may_change))}; start a new run for anything else."
            )
    # What a recipe says is in the file already; laid over it once more, it would undo what was said on the day.
    intent = discover({**recorded, **options}, below=PRETRAINING if folder.job == "pretrain" else {})
    return replace(intent, config=after)


def _may_change(folder: RunFolder) -> list[str]:
    known = PretrainOptions if folder.job == "pretrain" else RunOptions
    return [name for name in MAY_CHANGE if name in known.__annotations__]


def _recorded(folder: RunFolder) -> RunOptions:
    path: Path = folder / run_folder.CONFIG
    if not path.exists():
        raise ConfigError(
            f"{folder.path} has no {run_folder.CONFIG}: the run was stopped before it had written down what it was "
            "asked for. Start a new one."
        )
    recorded = read_file(path)
    if folder.facts.get("identity", identity_of(resolve(recorded))) != identity_of(resolve(recorded)):
        raise ConfigError(
            f"{path} was changed since the run was begun; put it back, or start a new run with: finetune {folder.job} "
            f"--config {shlex.quote(str(path))}"
        )
    return recorded


def _written(config: RunConfig, name: str) -> Any:
    """Return an option as a run's folder has it: where a path leads to, however it was said."""
    return tomllib.loads(to_toml(config)).get(name)


def check_same(folder: RunFolder, job: Job) -> tuple[str, ...]:
    """Refuse data and weights that are not what the run was begun with, and return notes on what else has changed.

    Raises ``DataError`` for other classes, other pictures, or another division of them, and ``ModelError`` for other
    weights, or pictures that are seen otherwise. A run that was stopped before it had written these down has trained
    nothing on them.
    """
    if not (folder / run_folder.SPLIT).exists() and not (folder / CHECKPOINTS).exists():
        return ()
    recorded = _json(folder, run_folder.DATA)
    if list(job.dataset.labels) != recorded["labels"]:
        raise DataError(
            f"The classes are {', '.join(job.dataset.labels)}, and the run was begun with "
            f"{', '.join(recorded['labels'])}. Start a new run."
        )
    if job.audit.fingerprint != recorded["fingerprint"]:
        raise DataError(
            f"The pictures or labels of '{job.dataset.name}' are not those that the run was begun with "
            f"({_difference(folder, job)}). Put them back, or start a new run."
        )
    if _rows(folder) != [(part, label, sha256) for part, label, _, sha256 in split_rows(job)]:
        raise DataError(  # in this order they come into batches
            "The pictures are divided otherwise, or have other names, than when the run was begun. Put them back, or "
            "start a new run."
        )
    _refuse_other_weights(recorded, job)
    return tuple(_changed_versions(_json(folder, run_folder.VERSIONS), job))


def _refuse_other_weights(recorded: Mapping[str, Any], job: Job) -> None:
    if job.weights.sha256 != recorded["weights_sha256"]:
        raise ModelError(
            f"The weights are not those that the run was begun with: --weights {job.config.weights} has another "
            "SHA-256. Put them back, or start a new run."
        )
    if json.loads(to_json(job.preprocessing)) != recorded["preprocessing"]:
        raise ModelError(
            f"The backbone '{job.intent.backbone.name}' sees pictures otherwise than when the run was begun: size, "
            "crop, mean or std have changed. Put back what offers it, or start a new run."
        )


def _difference(folder: RunFolder, job: Job) -> str:
    before = {sha256 for _, _, sha256 in _rows(folder)}
    now = {sha256 for *_, sha256 in split_rows(job)}
    return f"{len(before - now)} are gone or changed, {len(now - before)} are new"


def _rows(folder: RunFolder) -> list[tuple[str, str, str]]:
    rows = csv.DictReader(io.StringIO(_text(folder, run_folder.SPLIT), newline=""))
    try:
        return [(row["part"], row["label"], row["sha256"]) for row in rows]
    except (KeyError, TypeError) as error:
        raise ConfigError(_damaged(folder / run_folder.SPLIT)) from error


def _changed_versions(before: Mapping[str, Any], job: Job) -> list[str]:
    plugins = {f"the plugin of the {kind}": origin for kind, origin in before.get("plugins", {}).items()}
    then = {**before, **plugins}
    now = {**versions(), **{f"the plugin of the {kind}": origin for kind, origin in plugins_of(job).items()}}
    return [
        f"{name} was {then[name]} and is {found}: the run goes on, and may end with other weights than without a stop."
        for name, found in now.items()
        if then.get(name, found) != found
    ]


def _json(folder: RunFolder, name: str) -> dict[str, Any]:
    try:
        content = json.loads(_text(folder, name))
    except ValueError as error:
        raise ConfigError(_damaged(folder / name)) from error
    return cast(dict[str, Any], content)


def _text(folder: RunFolder, name: str) -> str:
    try:
        return (folder / name).read_bytes().decode()
    except (OSError, ValueError) as error:
        raise ConfigError(_damaged(folder / name)) from error


def _damaged(path: Path) -> str:
    return f"{path} is damaged or missing; the run cannot be resumed. Start a new one."
