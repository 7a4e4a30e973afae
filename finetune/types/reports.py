"""The report of a run: what a section is given, and the blocks it answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from finetune.types.common import Task
from finetune.types.results import RateCurve, RunResult, Verification

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finetune_export.contract import Contract

PictureProblem = Literal["gone", "changed", "unreadable"]
"""Why a picture of a run cannot be shown: it is not there, has another content than it had, or cannot be decoded."""


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
    """A paragraph of plain text; what looks like markup is shown as it is, line ends stay.

    ``command`` is what one may type, or a path, shown below it so that it can be copied at once.
    """

    text: str
    command: str = ""


@dataclass(frozen=True)
class Table:
    """A table of plain texts, as many in each row as in the ``header``; ``caption`` says what it shows.

    Readers may sort its rows by each column, unless it is not ``sortable``: facts in the order in which they are read.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    sortable: bool = True


@dataclass(frozen=True)
class Figure:
    """A drawing, the bytes of a PNG file; ``alt`` says what it shows to who cannot see it.

    ``dark_png`` is the same for dark pages; empty where one drawing serves both.
    """

    png: bytes
    alt: str
    dark_png: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture of a data set, small: the bytes of a JPEG or PNG file, or None for one that is not there any more.

    ``lines`` are plain texts below it. ``overlay`` is the same picture with something drawn over it, side by side
    with it; ``alt`` says what is to be seen to who cannot see it.
    """

    image: bytes | None
    alt: str
    lines: tuple[str, ...] = ()
    overlay: bytes | None = None


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, as many in a row as there is room for; ``caption`` says what they have in common.

    A ``compact`` one has small pictures, and stands beside the compact ones that come before and after it.
    """

    pictures: tuple[Picture, ...]
    caption: str = ""
    compact: bool = False


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix: ``counts[truth][answer]`` pictures, in the order of ``labels``; readers may sort it."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A picture on a map: its place, both between 0 and 1, the ``group`` it belongs to, and whether it stands out."""

    x: float
    y: float
    group: str
    picture: Picture
    stands_out: bool = False


@dataclass(frozen=True)
class PictureMap:
    """Pictures as points, those that are alike close together; pointing at one shows it.

    ``standing_out`` is what the legend calls those that stand out.
    """

    points: tuple[Point, ...]
    caption: str = ""
    standing_out: str = "stands out"


Block = Paragraph | Table | Figure | Gallery | Confusion | PictureMap


@dataclass(frozen=True, kw_only=True)
class LabelError:
    """A picture that is likely labelled wrong: what is ``given``, and what is ``likely``, with their probabilities.

    ``path`` and ``part`` are those of ``split.csv``; labels are texts as there.
    """

    path: str
    part: str
    given: str
    likely: str
    given_probability: float
    likely_probability: float


@dataclass(frozen=True, kw_only=True)
class LabelErrors:
    """What confident learning (Northcutt, Jiang and Chuang 2021) found among ``pictures`` pictures, likeliest first.

    So many are ``doubted``; of very many, only the likeliest errors are ``found`` here. ``method`` says in words where
    the probabilities came from.
    """

    pictures: int
    doubted: int
    method: str
    found: tuple[LabelError, ...]


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """Where the network looked when it gave ``label`` to a picture, by Grad-CAM (Selvaraju et al. 2017).

    ``picture`` is the number of the validation picture, ``cells`` are h rows of w numbers between 0 and 255, evenly
    over the square that the network sees of it.
    """

    picture: int
    label: int
    cells: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a validation picture is on the map of them, or of a sample of very many.

    ``picture`` is its number among all validation pictures; ``x`` and ``y`` are between 0 and 1.
    """

    picture: int
    x: float
    y: float


class RunPictures:
    """The pictures of a run, small, for a page; this one has none, and the reader of a run's folder puts in its own.

    A ``path`` is one of ``split.csv``, of a record, or of ``RunRecords.paths``. What cannot be shown is None:
    ``problem`` says why.
    """

    def thumbnail(self, path: Path | str, side_px: int, quality: int = 75) -> bytes | None:  # noqa: ARG002 - nothing is here
        """Return a picture upright and in RGB, no side longer than ``side_px``, as a JPEG file."""
        return None

    def view(
        self,
        path: Path | str,  # noqa: ARG002 - nothing is here
        side_px: int,  # noqa: ARG002
        heat_map: HeatMap | None = None,  # noqa: ARG002
    ) -> bytes | None:
        """Return the square that the network sees of a picture as a JPEG file, with a heat map laid over it if given.

        Its side is the network's, and ``side_px`` at most.
        """
        return None

    def problem(self, path: Path | str) -> PictureProblem | None:  # noqa: ARG002 - nothing is here
        """Return why a picture cannot be shown, None where it can."""
        return "gone"

    def missing(self) -> tuple[str, ...]:
        """Return the pictures that were asked for in vain until now, as ``split.csv`` names them."""
        return ()


@dataclass(frozen=True, kw_only=True)
class RunRecords:
    """What a finished run has written down, as its folder ``run`` holds it; for reading only.

    ``options`` are those of ``config.toml``; ``data``, ``metrics`` and ``versions`` the JSON files of these names;
    ``shares`` are the names of the metrics that are between 0 and 1, and read in percent. ``history`` is a row for each
    epoch, empty without epochs; ``split`` a row for each picture: ``part``, ``label``, ``path`` and ``sha256``.
    ``answers`` are the trained network's to the ``N`` validation pictures, float32 (N, K) as in ``Answered``, which
    describes ``targets``, too; ``paths`` are these pictures, which may have moved since. What a run found out to be
    looked at is empty or None where there was nothing to be found, or no time: ``rate_curve`` of the learning rate,
    ``label_errors``, ``heat_maps`` of the pictures with the largest losses, and the ``places`` of a map. ``pictures``
    are those of ``split``, small, as far as they are still there.
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
    rate_curve: RateCurve | None = None
    label_errors: LabelErrors | None = None
    heat_maps: tuple[HeatMap, ...] = ()
    places: tuple[Place, ...] = ()
    pictures: RunPictures = RunPictures()  # noqa: RUF009 - it holds nothing
