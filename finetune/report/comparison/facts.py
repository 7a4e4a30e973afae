"""How the compared runs were made and what they cost: settings, curves, calibration, seconds, files, proofs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.config import FIELDS
from finetune.report.comparison.charts import Curve, compared_curves
from finetune.report.comparison.comparing import ComparedRun, Comparison
from finetune.report.comparison.results import letters
from finetune.report.wording import UNDEFINED, value_of
from finetune.types import Block, Figure, Paragraph, RunRecords, Table

PLACES = ("out",)
"""Options that only say where a run was written to."""
_HASH = 16  # digits of a hash that are shown: enough to see that two differ


def _side_by_side(
    found: Comparison, facts: Iterable[Mapping[str, str]], what: str, caption: str, differing: bool = False
) -> Iterator[Table]:
    """Yield a table of named facts, a column for each run; of all, or of those that differ. None without any."""
    columns = list(facts)
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [(name, *(column.get(name, UNDEFINED) for column in columns)) for name in names]
    kept = tuple(row for row in rows if not differing or len(set(row[1:])) > 1)
    if kept:
        yield Table((what, *letters(found)), kept, caption)


def settings(found: Comparison) -> Iterator[Block]:
    """Show what was set, and what was used, otherwise by some run; or say that nothing was."""
    records = [run.records for run in found.runs]
    tables = (
        *_side_by_side(found, map(_options, records), "option", "Options that differ", differing=True),
        *_side_by_side(found, map(_made_of, records), "what", "What the models were made of that differs", True),
        *_side_by_side(found, map(_versions, records), "package", "Versions and plugins that differ", differing=True),
    )
    yield from tables
    if not tables:
        yield Paragraph("Options, data, weights, versions and plugins are the same in all runs.")


def _options(records: RunRecords) -> dict[str, str]:
    return {
        name: _text(records.options[name]) if name in records.options else "not set"
        for name in FIELDS
        if name not in PLACES
    }


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _made_of(records: RunRecords) -> dict[str, str]:
    contract = records.contract
    return {
        "data": contract.dataset.name,
        "fingerprint of the data": contract.dataset.fingerprint[:_HASH],
        "training pictures": f"{records.result.train_images}",
        "validation pictures": f"{records.result.valid_images}",
        "test pictures": f"{records.result.test_images}",
        "network": contract.backbone.name,
        "weights": contract.backbone.weights,
        "sha256 of the weights": (contract.backbone.sha256 or "none")[:_HASH],
        "order of the labels": ", ".join(records.labels),
        "picture size": f"{contract.preprocessing.image_size_px} px",
    }


def _versions(records: RunRecords) -> dict[str, str]:
    versions: Mapping[str, Any] = records.versions
    found = {name: version for name, version in versions.items() if isinstance(version, str)}
    return found | {f"plugin for {name}": str(origin) for name, origin in versions.get("plugins", {}).items()}


def curves(found: Comparison) -> Iterator[Block]:
    """Show the learning curves over each other, and say which runs have none."""
    with_epochs = [run for run in found.runs if run.records.history]
    without = [run.letter for run in found.runs if not run.records.history]
    if without:
        yield Paragraph(f"Without epochs, and so without a curve: run {', '.join(without)}.")
    monitors = {run.records.result.monitor for run in with_epochs}
    metric = monitors.pop() if len(monitors) == 1 else ""
    drawn = [_curve(run) for run in with_epochs]
    if not any(np.isfinite([*curve.losses, *curve.scores]).any() for curve in drawn):
        return
    chart = compared_curves(drawn, metric, metric in found.first.records.shares)
    yield Figure(chart.light, _alt(drawn), chart.dark)
    if not metric:
        yield Paragraph("The runs chose their epochs by other metrics each, so that only their losses are drawn.")


def _curve(run: ComparedRun) -> Curve:
    history = run.records.history
    losses, scores = (_numbers(history, name) for name in ("valid_loss", run.records.result.monitor))
    return Curve(letter=run.letter, losses=losses, scores=scores)


def _numbers(history: Iterable[Mapping[str, str]], column: str) -> NDArray[np.float64]:
    return np.array([float(epoch[column] or "nan") for epoch in history], dtype=np.float64)


def _alt(drawn: Iterable[Curve]) -> str:
    ends = (f"run {c.letter} ends after {len(c.losses)} at {c.losses[-1]:.3g}" for c in drawn)
    return f"Validation loss over the epochs: {', '.join(ends)}."


def calibration(found: Comparison) -> Iterator[Block]:
    """Show how far confidence is from being right, without and with each run's temperature; values have none."""
    results = [run.records.result for run in found.runs]
    rows: list[tuple[str, list[float | None]]] = [
        ("temperature", [result.temperature for result in results]),
        ("expected calibration error without it", [result.ece_before for result in results]),
        ("expected calibration error with it", [result.ece_after for result in results]),
    ]
    if any(result.ece_after is not None for result in results):
        cells = tuple(
            (name, *(UNDEFINED if value is None or np.isnan(value) else f"{value:.3f}" for value in values))
            for name, values in rows
        )
        yield Table(
            ("what", *letters(found)), cells, "Confidence, on the validation pictures each temperature was fitted to"
        )


def cost(found: Comparison) -> Iterator[Block]:
    """Show the seconds that each stage took, and how large the files are."""
    seconds = ({stage: f"{spent:.1f}" for stage, spent in run.records.result.seconds.items()} for run in found.runs)
    yield from _side_by_side(found, _total_last(seconds), "stage", "Seconds, on the machine that each run had")
    sizes = (_sizes(run.records) for run in found.runs)
    yield from _side_by_side(found, sizes, "file", "Megabytes of what was exported")
    answered = (_milliseconds(run.records) for run in found.runs)
    yield from _side_by_side(found, answered, "file", "Milliseconds for a picture when it was verified, with decoding")


def _total_last(seconds: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    columns = list(seconds)
    stages = dict.fromkeys(stage for column in columns for stage in column if stage != "total")
    return [{stage: column.get(stage, UNDEFINED) for stage in (*stages, "total")} for column in columns]


def _sizes(records: RunRecords) -> dict[str, str]:
    sizes = {target: _megabytes(records, target) for target in records.result.artifacts}
    return {target: size for target, size in sizes.items() if size}


def _megabytes(records: RunRecords, target: str) -> str:
    path = records.result.artifacts[target]
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return f"{sum(file.stat().st_size for file in files) / 1e6:.1f}" if files else "gone"


def _milliseconds(records: RunRecords) -> dict[str, str]:
    return {each.target: f"{1000 * each.seconds / each.compared:.1f}" for each in records.verification if each.compared}


def verification(found: Comparison) -> Iterator[Block]:
    """Show how each artifact of each run was held against its trained network."""
    header = (
        "run",
        "target",
        "pictures",
        "same answer",
        "largest difference",
        "metric",
        "trained",
        "exported",
        "verdict",
    )
    rows = tuple(
        (
            *(run.letter, each.target, f"{each.compared}", f"{each.agreement:.2%}", f"{each.max_difference:.1e}"),
            *(each.metric, *(value_of(run.records, each.metric, value) for value in (each.value, each.exported_value))),
            "; ".join(each.problems) or "passed",
        )
        for run in found.runs
        for each in run.records.verification
    )
    yield Table(header, rows, "Each artifact against the trained network of its run")
