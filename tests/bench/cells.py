"""One run of a comparison: what it is told, what came of it, and the file in which that is kept."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shares import Parts, linked

import finetune
from finetune.intent import discover

FIRST_SEED = 42
SHARED = {"cache_gb": 0.0, "checkpoint_seconds": 3600.0}
"""What every run is told: to keep nothing for the next, so that each pays for all it needs."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run: what it is about (``data``, for example '10 pictures'), a way of training, a seed, and its options.

    ``weights_sha256`` is of the weights that it starts from, '' for random ones.
    """

    data: str
    way: str
    seed: int
    options: dict[str, Any]
    weights_sha256: str


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A run, and the pictures that it is to have."""

    cell: Cell
    parts: Parts


@dataclass(frozen=True, kw_only=True)
class Found:
    """What came of a run: ``accuracy`` (0..1) is the exported file's on the held-out pictures, its test part.

    ``valid_accuracy`` is that on the pictures that chose the epoch. ``training_s`` are seconds of training alone,
    ``whole_s`` of the whole run.
    """

    cell: Cell
    accuracy: float
    valid_accuracy: float
    training_s: float
    whole_s: float
    date: str


def measured(planned: Planned) -> Found:
    """Train, export, and return how good the file is; nothing stays of the run."""
    cell = planned.cell
    with tempfile.TemporaryDirectory(prefix="finetune-cell-") as folder:
        data = linked(planned.parts, Path(folder, "pictures"))
        result = finetune.run(data=data, out=Path(folder, "runs"), seed=cell.seed, **SHARED, **cell.options)
    return Found(
        cell=cell,
        accuracy=result.test_scores["accuracy"],
        valid_accuracy=result.value,
        training_s=sum(seconds for stage, seconds in result.seconds.items() if stage in result.phases),
        whole_s=result.seconds["total"],
        date=datetime.now(UTC).date().isoformat(),
    )


def weights_sha256(options: dict[str, Any]) -> str:
    """Return the hash of what a run would start from: of the file, or as it is published; '' for random weights.

    Raises ``ConfigError`` for a backbone that does not exist or has no weights.
    """
    intent = discover(options)
    if intent.config.weights == "none":
        return ""
    if intent.config.weights == "pretrained" and intent.backbone.weights:
        return intent.backbone.weights.sha256
    return hashlib.sha256(Path(intent.config.weights).read_bytes()).hexdigest()


def append(log: Path, found: Found) -> None:
    """Add a line of JSON to a log."""
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(found)) + "\n")


def read(log: Path) -> list[Found]:
    """Return what a log holds; a last line that was cut off while it was written is left out."""
    found = []
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else []:
        try:
            values = json.loads(line)
            found.append(Found(**{**values, "cell": Cell(**values["cell"])}))
        except (ValueError, TypeError, KeyError):
            continue
    return found


def of_these(cells: Sequence[Cell], known: Iterable[Found]) -> list[Found]:
    """Return what is known of these runs, told exactly the same, in their order; of equal ones, the last counts."""
    latest = {_key(found.cell): found for found in known}
    return [latest[key] for key in map(_key, cells) if key in latest]


def _key(cell: Cell) -> str:
    return json.dumps(asdict(cell), sort_keys=True)
