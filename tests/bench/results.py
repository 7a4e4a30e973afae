"""Measurements: one line of JSON each in a log, and what several runs of the same thing come to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, median


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One run of one thing: ``name`` says what, within a ``section``.

    ``training_s`` are seconds of training alone, ``whole_s`` of the whole process. ``passes`` are training pictures
    times epochs. ``accuracy`` (0..1) is on the validation pictures. ``parts`` are further figures by name, mostly
    seconds of stages.
    """

    section: str
    name: str
    seed: int
    training_s: float
    whole_s: float
    passes: int
    peak_mb: float
    accuracy: float | None
    date: str
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, int]:
        """What was measured, and with which seed."""
        return self.section, self.name, self.seed

    @property
    def pictures_per_s(self) -> float:
        """Pictures of all epochs in a second of training."""
        return self.passes / self.training_s


def append(log: Path, measurement: Measurement) -> None:
    """Add one line to a log."""
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(measurement)) + "\n")


def read(log: Path) -> list[Measurement]:
    """Return the measurements of a log; a last line that was cut off while it was written is left out."""
    found = []
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else []:
        try:
            found.append(Measurement(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found


class Runs:
    """All runs of one thing."""

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        self.all = list(measurements)

    def __len__(self) -> int:
        return len(self.all)

    def values(self, figure: str) -> list[float]:
        """Return a figure of every run: that of a field, or else of ``parts``."""
        fields = ("training_s", "whole_s", "pictures_per_s", "peak_mb", "accuracy")
        found = [getattr(run, figure) if figure in fields else run.parts.get(figure) for run in self.all]
        return [value for value in found if value is not None]

    def median(self, figure: str) -> float | None:
        """Return the median of a figure, None where nothing was measured."""
        values = self.values(figure)
        return median(values) if values else None

    def mean(self, figure: str) -> float | None:
        """Return the mean of a figure, None where nothing was measured."""
        values = self.values(figure)
        return fmean(values) if values else None


class Section:
    """The measurements of one section, by name in the order of their first run; of equal keys, the last counts."""

    def __init__(self, name: str, measurements: Iterable[Measurement]) -> None:
        self.name = name
        latest = {found.key: found for found in measurements if found.section == name}
        self.measurements = list(latest.values())
        self.names = list(dict.fromkeys(found.name for found in self.measurements))

    def runs(self, name: str) -> Runs:
        """Return the runs of one thing; there may be none."""
        return Runs(found for found in self.measurements if found.name == name)
