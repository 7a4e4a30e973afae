"""What was measured, as it is kept on disk: ``profile.json``, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from finetune.errors import ConfigError
from finetune.run_folder import write

FILE = "profile.json"
STAGES = ("data", "forward", "loss", "backward", "optimizer", "validation")
"""What is measured of an epoch; the rest of its time is 'other'."""


@dataclass(frozen=True, kw_only=True)
class EpochProfile:
    """Where the time of one epoch (from 1) of a phase went.

    ``seconds`` are by stage, ``total_s`` is all of the epoch, ``pictures`` were trained on in it. ``peak_memory_bytes``
    is the most that the process had in memory so far, None where the system does not say.
    """

    phase: str
    epoch: int
    pictures: int
    total_s: float
    seconds: dict[str, float]
    peak_memory_bytes: int | None

    @property
    def other_s(self) -> float:
        """The seconds that no stage took."""
        return max(0.0, self.total_s - sum(self.seconds.values()))


def read(folder: Path) -> tuple[EpochProfile, ...]:
    """Return what was measured, in its order; nothing where nothing was.

    Raises ``ConfigError`` for a file that is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return ()
    names = EpochProfile.__dataclass_fields__
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return tuple(EpochProfile(**{name: row[name] for name in names}) for row in rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged. Delete it and repeat the command; what was measured is lost.") from error


def save(folder: Path, epochs: Iterable[EpochProfile]) -> None:
    """Write what was measured, with what follows from it; raises ``ResourceError`` where the disk is full."""
    rows = [
        asdict(epoch) | {"other_s": epoch.other_s, "pictures_per_s": epoch.pictures / max(epoch.total_s, 1e-9)}
        for epoch in epochs
    ]
    write(folder / FILE, (json.dumps(rows, indent=2) + "\n").encode())
