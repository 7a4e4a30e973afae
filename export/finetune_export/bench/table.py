"""What was measured, as the cells of a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from finetune_export.bench.measurement import Row

FIGURES = {
    "p50_ms": ("p50 ms", 2),
    "p99_ms": ("p99 ms", 2),
    "images_per_s": ("images/s", 1),
    "relative": ("×", 2),
    "from_file_per_s": ("from file/s", 1),
    "load_s": ("load s", 2),
    "peak_mb": ("peak MB", 0),
    "file_mb": ("file MB", 1),
}
"""Columns of figures: title and decimals."""
HEAD = ("model", "provider", "threads", "batch", *(title for title, _ in FIGURES.values()), "accuracy")
RIGHT = HEAD[2:-1]
PACKAGES = ("finetune-export", "onnxruntime", "numpy", "pillow")


def cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return the cells of a table, figures aligned to the right."""
    first = first_per_s(rows)
    columns = zip(HEAD, *(_cells(row, first) for row in rows), strict=True)
    return list(zip(*map(_aligned, columns), strict=True))


def as_json(rows: Sequence[Row]) -> dict[str, Any]:
    """Return versions and rows; a row has figures and score, or the error that left it without."""
    first = first_per_s(rows)
    return {
        "versions": {name: version(name) for name in PACKAGES},
        "rows": [_json_row(row, first) for row in rows],
    }


def first_per_s(rows: Sequence[Row]) -> float | None:
    """Return the pictures per second of the first row that was measured, which the others are held against."""
    return next((row.images_per_s for row in rows if row.rounds), None)


def _cells(row: Row, first: float | None) -> tuple[str, ...]:
    setting, figures = row.configuration, row.figures(first)
    values = [_shown(figures.get(name), digits) for name, (_, digits) in FIGURES.items()]
    return (setting.model, setting.provider, str(setting.threads), str(setting.batch), *values, _accuracy(row))


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _accuracy(row: Row) -> str:
    if row.failure:
        return "failed"
    if row.score is None:
        return "–"
    refused = f", {row.score.refused} refused" if row.score.refused else ""
    return f"{row.score.accuracy:.3f} ({row.score.right} of {row.score.judged}{refused})"


def _aligned(column: tuple[str, ...]) -> list[str]:
    if column[0] not in RIGHT:
        return list(column)
    width = max(map(len, column))
    return [cell.rjust(width) for cell in column]


def _json_row(row: Row, first: float | None) -> dict[str, Any]:
    score = {**asdict(row.score), "accuracy": row.score.accuracy} if row.score else None
    error = row.failure.text if row.failure else None
    return {**asdict(row.configuration), **row.figures(first), "score": score, "error": error}
