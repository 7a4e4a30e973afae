"""What a section shows of a run's pictures, and its word on those that cannot be shown."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from finetune.types import HeatMap, Paragraph, Picture, RunRecords
from finetune.types.reports import PictureProblem
from finetune_export.machine import cores

WHY: dict[PictureProblem, tuple[str, str]] = {
    "gone": ("is not where it was", "are not where they were"),
    "changed": ("has another content than it had", "have another content than they had"),
    "unreadable": ("cannot be read", "cannot be read"),
}
"""What is said of one picture and of several, by their problem."""


class Album:
    """The pictures of one section, no side longer than ``side_px``, of the JPEG ``quality`` (1..95).

    It counts what was asked for in vain, so that the section can say so, and the ``bytes`` of what it gave.
    """

    def __init__(self, records: RunRecords, side_px: int, quality: int = 75) -> None:
        self._records, self._side_px, self._quality = records, side_px, quality
        self._asked: dict[str, None] = {}
        self.bytes = 0

    def picture(self, path: Path | str, alt: str, lines: Iterable[str] = ()) -> Picture:
        """Return a picture with texts below it; a placeholder where it cannot be shown."""
        small = self._records.pictures.thumbnail(path, self._side_px, self._quality)
        self._counted(path, small)
        return Picture(image=small, alt=alt, lines=tuple(lines))

    def explained(self, path: Path | str, heat_map: HeatMap, alt: str, lines: Iterable[str] = ()) -> Picture:
        """Return what the network sees of a picture, and the same with a heat map laid over it."""
        seen = self._records.pictures.view(path, self._side_px)
        overlay = self._records.pictures.view(path, self._side_px, heat_map) if seen else None
        self._counted(path, seen)
        self._counted(path, overlay)
        return Picture(image=seen, alt=alt, lines=tuple(lines), overlay=overlay)

    def prefetch(self, paths: Iterable[Path | str]) -> None:
        """Make the thumbnails of many pictures on all cores: decoding lets go of Python's lock."""
        with ThreadPoolExecutor(cores()) as threads:
            make = self._records.pictures.thumbnail
            list(threads.map(lambda path: make(path, self._side_px, self._quality), paths))

    def note(self) -> Iterator[Paragraph]:
        """Say which pictures could not be shown, and what helps; nothing where all could."""
        problems = {path: self._records.pictures.problem(path) for path in self._asked}
        missing = {path: problem for path, problem in problems.items() if problem}
        if not missing:
            return
        counts = Counter(missing.values())
        causes = ", ".join(f"{counts[why]} {_said(why, counts[why])}" for why in WHY if counts[why])
        text = (
            f"{len(missing)} of {len(problems)} pictures cannot be shown, and placeholders stand for them: {causes}; "
            f"first {next(iter(missing))}."
        )
        if set(missing.values()) == {"unreadable"}:
            yield Paragraph(text)
            return
        again = f"finetune report {shlex.quote(str(self._records.run))} --data FOLDER"
        yield Paragraph(f"{text} If they were moved, name the folder where they are now:", again)

    def _counted(self, path: Path | str, small: bytes | None) -> None:
        self._asked[str(path)] = None
        self.bytes += len(small or b"")


def _said(why: PictureProblem, count: int) -> str:
    one, several = WHY[why]
    return one if count == 1 else several


def with_folder(path: Path | str) -> str:
    """Return a picture's name with the folder that it is in, which is what tells it from the others."""
    return "/".join(Path(path).parts[-2:])


def spread(count: int, most: int) -> list[int]:
    """Return up to ``most`` of the numbers below ``count``, evenly spread over them, in their order."""
    return sorted({round(step * (count - 1) / max(1, most - 1)) for step in range(most)}) if count else []
