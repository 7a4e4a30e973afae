"""What was measured of a configuration: its rounds, and the figures they come to."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import numpy as np

from finetune_export.bench.configuration import Configuration
from finetune_export.bench.score import Score


@dataclass(frozen=True, kw_only=True)
class Round:
    """One process with one configuration.

    ``run_s`` are the seconds of each run of the network; ``from_file_per_s`` pictures per second from file to label,
    None without pictures; ``load_s`` includes every check of the model file; ``peak_bytes`` is the process's memory,
    None where the system does not tell; ``file_bytes`` is the model file's size.
    """

    run_s: list[float]
    from_file_per_s: float | None
    load_s: float
    peak_bytes: int | None
    file_bytes: int


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why there are no figures: one line, and the exit status that belongs to it."""

    text: str
    status: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """A configuration with its rounds, or with the reason why it has none; ``score`` is its model's on its provider."""

    configuration: Configuration
    rounds: tuple[Round, ...] = ()
    failure: Failure | None = None
    score: Score | None = None

    def figures(self, first_per_s: float | None) -> dict[str, float | int | None]:
        """Return the row's figures by name: quantiles over all runs of all rounds, medians of what a round has one of.

        ``relative`` is pictures per second of the network by ``first_per_s``, those of the first row.
        """
        if not self.rounds:
            return {}
        per_s = self.images_per_s
        peaks = [found.peak_bytes for found in self.rounds if found.peak_bytes is not None]
        from_file = [found.from_file_per_s for found in self.rounds if found.from_file_per_s is not None]
        return {
            "p50_ms": self._quantile_ms(0.5),
            "p99_ms": self._quantile_ms(0.99),
            "images_per_s": per_s,
            "relative": per_s / first_per_s if first_per_s else None,
            "from_file_per_s": median(from_file) if from_file else None,
            "load_s": median(found.load_s for found in self.rounds),
            "peak_mb": max(peaks) / 1e6 if peaks else None,
            "file_mb": self.rounds[0].file_bytes / 1e6,
            "runs": sum(len(found.run_s) for found in self.rounds),
        }

    @property
    def name(self) -> str:
        """How messages call the model on its provider."""
        return f"{self.configuration.model} ({self.configuration.provider})"

    @property
    def images_per_s(self) -> float:
        """Pictures per second of the network alone."""
        seconds = [spent for found in self.rounds for spent in found.run_s]
        return self.configuration.batch * len(seconds) / sum(seconds)

    def _quantile_ms(self, share: float) -> float:
        seconds = [spent for found in self.rounds for spent in found.run_s]
        return float(np.quantile(seconds, share)) * 1e3
