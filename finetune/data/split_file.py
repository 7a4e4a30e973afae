"""The division of an earlier run, as its split.csv has it, for the same pictures again."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from finetune.data.reading import Checked
from finetune.errors import ConfigError, DataError
from finetune.types import Part

COLUMNS = ("part", "label", "path", "sha256")


@dataclass(frozen=True, kw_only=True)
class Row:
    """Where the earlier run had one picture."""

    part: str
    path: str
    sha256: str


def divided_as(checked: Sequence[Checked], file: Path) -> dict[Part, list[Checked]]:
    """Return the parts of a division that is in a file: the same as it was, in the same order.

    Pictures are known by the sha256 of their content, wherever they are now; one that was changed, by its path.
    Raises ``ConfigError`` for a file that is no split.csv, ``DataError`` for pictures that are not in it, and for
    pictures in it that are not there.
    """
    rows = _read(file)
    parts: dict[Part, list[Checked]] = {part: [] for part in get_args(Part)}
    matched = _matched(checked, rows)
    strangers = [picture.example.path for picture, row in zip(checked, matched, strict=True) if row is None]
    used = {id(row) for row in matched}
    lost = [row.path for row in rows if id(row) not in used]
    if strangers or lost:
        raise DataError(
            f"--split {file} is of other pictures: {len(strangers)} of {len(checked)} are not in it"
            f"{_first(strangers)}, and {len(lost)} of its {len(rows)} are not there{_first(lost)}. "
            "Give the data of that run, or leave out --split."
        )
    place = {id(row): number for number, row in enumerate(rows)}
    for picture, row in sorted(zip(checked, matched, strict=True), key=lambda pair: place[id(pair[1])]):
        parts[row.part].append(picture)  # type: ignore[union-attr, index] # none is None; read as one of the parts
    return parts


def _matched(checked: Sequence[Checked], rows: Sequence[Row]) -> list[Row | None]:
    """Return the row of each picture; none is used twice.

    By content and path first, then by content alone, then by path alone: the better match takes the row.
    """
    found: list[Row | None] = [None] * len(checked)
    free = {id(row): row for row in rows}
    ways = [
        ([(c.sha256, str(c.example.path)) for c in checked], [(row.sha256, row.path) for row in rows]),
        ([(c.sha256, "") for c in checked], [(row.sha256, "") for row in rows]),
        ([("", str(c.example.path)) for c in checked], [("", row.path) for row in rows]),
    ]
    for wanted, offered in ways:
        candidates: dict[tuple[str, str], list[Row]] = {}
        for key, row in reversed(list(zip(offered, rows, strict=True))):
            if id(row) in free:
                candidates.setdefault(key, []).append(row)
        for at, key in enumerate(wanted):
            if found[at] is None and candidates.get(key):
                found[at] = free.pop(id(candidates[key].pop()))
    return found


def _read(file: Path) -> list[Row]:
    try:
        with file.open(encoding="utf-8", newline="") as text:
            table = csv.DictReader(text)
            missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
            rows = [] if missing else [Row(part=r["part"], path=r["path"], sha256=r["sha256"]) for r in table]
    except OSError as error:
        raise ConfigError(f"--split {file} cannot be read ({error.strerror}). Give the split.csv of a run.") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"--split {file} is no table ({error}). Give the split.csv of a run.") from error
    if missing:
        raise ConfigError(f"--split {file} has no column '{missing[0]}'. Give the split.csv of a run.")
    for row in rows:
        if row.part not in get_args(Part):
            raise ConfigError(f"--split {file} has the part {row.part!r}; allowed are {', '.join(get_args(Part))}.")
    return rows


def _first(paths: Sequence[Path] | Sequence[str]) -> str:
    return f" (first {paths[0]})" if paths else ""
