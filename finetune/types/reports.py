"""The report of a run: what a section is given, and the blocks it answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.types.common import Task
from finetune.types.results import RunResult, Verification

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finetune_export.contract import Contract


@dataclass(frozen=True, kw_only=True)
class ReportSection:
    """A registered section of a run's report; ``build`` names a ``(RunRecords) -> Sequence[Block]`` function.

    ``title`` is its heading. Where it returns no blocks, the report does without it.
    """

    name: str
    title: str
    build: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text; what looks like markup is shown as it is, line ends stay."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table of plain texts, as many in each row as in the ``header``; ``caption`` says what it shows."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture, the bytes of a PNG file; ``alt`` says what it shows to who cannot see it."""

    png: bytes
    alt: str


Block = Paragraph | Table | Figure


@dataclass(frozen=True, kw_only=True)
class RunRecords:
    """What a finished run has written down, as its folder ``run`` holds it; for reading only.

    ``options`` are those of ``config.toml``; ``data``, ``metrics`` and ``versions`` the JSON files of these names;
    ``shares`` are the names of the metrics that are between 0 and 1, and read in percent. ``history`` is a row for each
    epoch, empty without epochs; ``split`` a row for each picture: ``part``, ``label``, ``path`` and ``sha256``.
    ``answers`` are the trained network's to the ``N`` validation pictures, float32 (N, K) as in ``Answered``, which
    describes ``targets``, too; ``paths`` are these pictures, which may have moved since.
    """

    run: Path
    task: Task
    labels: tuple[str, ...]
    options: Mapping[str, Any]
    result: RunResult
    data: Mapping[str, Any]
    metrics: Mapping[str, Any]
    versions: Mapping[str, Any]
    shares: tuple[str, ...]
    history: tuple[Mapping[str, str], ...]
    verification: tuple[Verification, ...]
    split: tuple[Mapping[str, str], ...]
    paths: tuple[Path, ...]
    answers: NDArray[np.float32]
    targets: NDArray[np.int64] | NDArray[np.float32] | NDArray[np.float64]
    contract: Contract
