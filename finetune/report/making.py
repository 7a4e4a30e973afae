"""From a run's folder to its page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from finetune.data.moved import by_content
from finetune.errors import DataError
from finetune.evaluation.catalogue import shares_of
from finetune.plugins import Plugins, load_plugins
from finetune.report.asking import ask
from finetune.report.model_card import MODEL_CARD, model_card
from finetune.report.reading import read_records, refuse_unfinished
from finetune.report.rendering import page
from finetune.run_folder import write

REPORT = "report.html"


def make_report(run: Path, plugins: Plugins, note: Callable[[str], None], data: Path | None = None) -> Path:
    """Write the report and the model card of the run in the folder ``run``, and return the report's path.

    ``data`` is a folder where pictures are looked for, by their content, that are not where they were. A section that
    fails leaves a word in its place, and so do pictures that are not there; ``note`` says so, too. Raises as
    ``read_records`` does, ``DataError`` for ``data`` without any of the pictures, and ``ResourceError`` where the page
    cannot be written.
    """
    moved = by_content(data) if data else {}
    records = read_records(run, shares_of(plugins.metrics), moved)
    if data and not moved.keys() & {row["sha256"] for row in records.split}:
        raise DataError(f"--data {data} holds none of the pictures of {run}. Name the folder where they are now.")
    result = records.result
    made = page(
        f"{result.dataset}, {result.backbone}", f"Report of the run {records.run.name}", ask(plugins, records, note)
    )
    if missing := records.pictures.missing():
        note(f"The report goes without {len(missing)} pictures that are not as they were, first {missing[0]}.")
    path = run / REPORT
    # A file name may hold bytes that are no text; they are escaped as in the other records.
    write(path, made.encode(errors="backslashreplace"))
    write(run / MODEL_CARD, model_card(records).encode(errors="backslashreplace"))
    return path


def make_again(run: Path, note: Callable[[str], None], data: Path | None = None) -> Path:
    """Write the report of a run that is done once more, with the sections that are installed now.

    Raises as ``make_report`` does, and ``ConfigError`` for a run that is not done.
    """
    refuse_unfinished(run)
    return make_report(run.resolve(), load_plugins(), note, data)
