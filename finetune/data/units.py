"""What no division may divide: pictures of one group, and pictures of equal content, however they are linked."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetune.data.families import Families
from finetune.data.findings import labels_of
from finetune.data.reading import Checked
from finetune.errors import DataError
from finetune.types import Dataset, Example, Task

MOST_BINS = 10
NO_LABEL = ""
Grouping = Callable[[Example], str | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Unit:
    """Pictures that stay together, and how many of them are of each stratum.

    ``key`` puts units in an order that depends on contents, not on where the pictures lie.
    """

    members: tuple[Checked, ...]
    strata: Mapping[str, int]

    @property
    def key(self) -> tuple[str, str]:
        """The first hash of a member's content, with the name that it has."""
        return min((picture.sha256, picture.example.path.name) for picture in self.members)


def units_of(checked: Sequence[Checked], grouping: Grouping, task: Task, share: float) -> list[Unit]:
    """Return the units of pictures, in the order of their keys.

    The strata are the labels. For regression they are quantiles of the first value, of a unit its mean, as fine as
    ``share`` (0..1), the least part that will be on one side, allows.
    """
    families = Families(len(checked))
    families.join_equal([picture.sha256 for picture in checked])
    families.join_equal([grouping(picture.example) for picture in checked])
    members = [tuple(checked[at] for at in family) for family in families.members()]
    units = [Unit(members=family, strata=_labels(family)) for family in members]
    units.sort(key=lambda unit: unit.key)
    return _by_value(units, share) if task == "regression" else units


def _labels(members: Sequence[Checked]) -> Mapping[str, int]:
    return Counter(label for picture in members for label in labels_of(picture.example) or (NO_LABEL,))


def _by_value(units: list[Unit], share: float) -> list[Unit]:
    values = [float(np.mean([picture.example.values[0] for picture in unit.members])) for unit in units]
    # By rank, so that every bin has units for both sides, however the values lie.
    bins = max(1, min(MOST_BINS, int(len(units) * min(share, 1 - share) / 2)))
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return [
        Unit(members=unit.members, strata={f"{bins * rank // len(units):02}": len(unit.members)})
        for unit, rank in zip(units, ranks.tolist(), strict=True)
    ]


def grouping_of(dataset: Dataset, pattern: str | None) -> Grouping:
    """Return which group a picture is of: what ``pattern`` finds in its path, or what the data set says.

    The path is relative to the folder that all pictures have in common, with forward slashes. Raises ``DataError``
    when the pattern finds nothing in some path.
    """
    if pattern is None:
        return lambda example: example.group
    root = common_root([example.path for example in dataset.examples])
    found = {example.path: re.search(pattern, _relative(example.path, root)) for example in dataset.examples}
    misses = [path for path, match in found.items() if match is None]
    if misses:
        raise DataError(
            f"--group-pattern {pattern!r} finds no group in {len(misses)} of {len(found)} pictures, first in "
            f"'{_relative(misses[0], root)}'. Write it so that it matches every path below {root}."
        )
    return lambda example: _group(found[example.path])


def common_root(paths: Sequence[Path]) -> Path:
    """Return the innermost folder that all pictures are below."""
    return Path(os.path.commonpath([os.path.abspath(path.parent) for path in paths]))  # noqa: PTH100 - links stay


def _relative(path: Path, root: Path) -> str:
    return Path(os.path.abspath(path)).relative_to(root).as_posix()  # noqa: PTH100


def _group(match: re.Match[str] | None) -> str | None:
    if match is None:
        return None
    return match[1] if match.re.groups and match[1] is not None else match[0]
