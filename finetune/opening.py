"""A run that is done, opened in a notebook: its network as fastai's ``Learner`` over its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune.data.targets import example_of
from finetune.errors import DataError
from finetune.report.reading import read_records, refuse_unfinished
from finetune.trained_network import trained_network
from finetune.training.learner.opened import opened
from finetune.types import Example, RunRecords


def open_learner(run: Path | str) -> Any:
    """Return fastai's ``Learner`` around the trained network of the run in a folder, with the run's pictures.

    ``show_batch``, ``show_results``, ``get_preds``, ``predict`` and fastai's interpretations work as with any other,
    on the pixels and with the calibration of the exported file. Raises ``ConfigError`` for a folder whose run is not
    done, or that is damaged, ``DataError`` where its pictures are not where they were.
    """
    folder = Path(run).resolve()
    refuse_unfinished(folder)
    records = read_records(folder, shares=())
    train, valid = _examples(records, "train"), _examples(records, "valid")
    _refuse_missing(folder, [*train, *valid])
    network = trained_network(records.result.onnx, records.contract, folder)
    return opened(network, records.contract, train, valid, folder)


def _examples(records: RunRecords, part: str) -> list[Example]:
    rows = [row for row in records.split if row["part"] == part]
    return [example_of(Path(row["path"]), row["label"], records.task) for row in rows]


def _refuse_missing(folder: Path, examples: list[Example]) -> None:
    missing = [example.path for example in examples if not example.path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(examples)} pictures of {folder} are gone, first {missing[0]}. Put them back, "
            "or train again on what is there."
        )
