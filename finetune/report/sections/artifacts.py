"""What was exported: how large it is, how fast, and how it was held against the trained network."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from finetune.report.wording import UNDEFINED, value_of
from finetune.types import Block, Paragraph, RunRecords, Table, Verification


def artifacts(records: RunRecords) -> Iterator[Block]:
    """Show each exported artifact with its size and speed, and how it was held against the trained network."""
    rows = tuple(
        (found.target, found.file, _megabytes(records.run / found.file), _pace(found), _verdict(found))
        for found in records.verification
    )
    caption = "What was exported; the time, from picture file to answer, is that of the verification"
    yield Table(("target", "file", "MB", "ms per picture", "verdict"), rows, caption)
    yield Paragraph(
        "Every file was asked about the validation pictures, from picture file to answer, and held against the trained "
        "network. To do so again:",
        shlex.join(["finetune", "verify", str(records.result.onnx)]),
    )
    header = ("target", "pictures", "same answer", "largest difference", "trained", "exported", "allowed")
    compared = tuple(_compared(records, found) for found in records.verification)
    yield Table(header, compared, f"Each artifact against the trained network; both by their {records.result.metric}")


def _megabytes(path: Path) -> str:
    """Return the size of a file, or of all files in a folder; nothing is known of what is not there any more."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return f"{sum(file.stat().st_size for file in files) / 1e6:.2f}" if files else UNDEFINED


def _pace(found: Verification) -> str:
    return f"{1000 * found.seconds / found.compared:.1f}" if found.compared else UNDEFINED


def _verdict(found: Verification) -> str:
    return "; ".join(found.problems) or "passed"


def _compared(records: RunRecords, found: Verification) -> tuple[str, ...]:
    values = (value_of(records, found.metric, value) for value in (found.value, found.exported_value))
    what = (found.target, f"{found.compared:,}", f"{found.agreement:.2%}", f"{found.max_difference:.1e}")
    return (*what, *values, _allowed(found))


def _allowed(found: Verification) -> str:
    if found.max_drop_allowed is not None:
        return f"to drop by {found.max_drop_allowed:g}"
    return f"{found.min_agreement:.0%} the same, off by {found.max_difference_allowed:g}"
