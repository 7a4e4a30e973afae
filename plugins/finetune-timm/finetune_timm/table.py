"""What timm publishes about its classifiers, as plain facts: ``table.tsv``, a row for each, read in a few milliseconds.

The table is written by ``python -m finetune_timm.tabulate``. This module imports neither timm nor torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

PREFIX = "timm:"
"""What the names of the plugin's backbones begin with; after it they are timm's own."""
TABLE = Path(__file__).with_name("table.tsv")
Channels = tuple[float, float, float]


class Row(NamedTuple):
    """One classifier: an architecture with a tag of pretrained weights, or without where there are none.

    ``source`` is 'timm' for weights that the hub has as timm/name, another of the hub's names, a URL, or ''.
    """

    name: str
    family: str
    parameters: int
    image_size_px: int
    min_image_size_px: int
    multiple_px: int
    crop_fraction: float
    mean: Channels
    std: Channels
    licence: str
    source: str


def line_of(row: Row) -> str:
    """Return a row as it stands in the table."""
    return "\t".join(",".join(repr(v) for v in value) if isinstance(value, tuple) else str(value) for value in row)


def rows() -> Iterator[Row]:
    """Yield the rows of the table."""
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        name, family, parameters, size, smallest, multiple, crop, mean, std, licence, source = line.split("\t")
        yield Row(
            name,
            family,
            int(parameters),
            int(size),
            int(smallest),
            int(multiple),
            float(crop),
            _parsed(mean),
            _parsed(std),
            licence,
            source,
        )


@cache
def _parsed(text: str) -> Channels:
    return channels([float(number) for number in text.split(",")])


def channels(numbers: Sequence[float]) -> Channels:
    """Return three numbers, one for each channel."""
    red, green, blue = numbers
    return red, green, blue
