"""A run that is monitored by kappa: the epoch that it says is the one that is kept, exported, and scored."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from finetune import run
from finetune.data.targets import targets_of
from finetune.errors import DataError
from finetune.types import Answered, Example
from finetune_export import Predictor, read_contract
from finetune_ordinal.ranks import quadratic_kappa, rank_error, within_one

TINY: dict[str, Any] = {
    "backbone": "squeezenet1_1",
    "weights": "none",
    "image_size": 32,
    "batch_size": 8,
    "strategy": "probe",
    "freeze_epochs": 12,
    "lr": 0.03,
    "precision": "fp32",
    "valid_share": 0.4,
    "seed": 0,
}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_epoch_with_the_highest_kappa_is_the_one_that_is_exported(grades: Path, tmp_path: Path) -> None:
    asked = {"monitor": "quadratic-kappa", "metric": ("rank-error", "within-one"), "test_share": 0.2}
    result = run(data=grades, out=tmp_path / "runs", **asked, **TINY)

    kappas = [float(row["quadratic-kappa"]) for row in rows_of(result.run / "history.csv")]
    contract = read_contract(result.onnx)
    valid = [row for row in rows_of(result.run / "split.csv") if row["part"] == "valid"]
    answers = Predictor(result.onnx).answers([Path(row["path"]) for row in valid])
    examples = [Example(path=Path(row["path"]), label=row["label"]) for row in valid]
    asked = Answered(
        task="single-label",
        labels=contract.labels,
        answers=answers,
        targets=targets_of(examples, contract.labels, "single-label"),
    )
    assert max(kappas) > kappas[-1], "the last epoch would have been kept anyway"
    assert (result.monitor, result.phases) == ("quadratic-kappa", {"frozen": pytest.approx(max(kappas))})
    assert quadratic_kappa(asked) == pytest.approx(max(kappas))
    assert contract.metrics["quadratic-kappa"] == pytest.approx(max(kappas))
    assert contract.metrics["rank-error"] == pytest.approx(rank_error(asked))
    assert contract.metrics["within-one"] == pytest.approx(within_one(asked))
    assert [plugin.distribution for plugin in contract.plugins] == ["finetune-ordinal"]
    written = json.loads((result.run / "metrics.json").read_text("utf-8"))
    assert set(written["test"]["values"]) >= {"quadratic-kappa", "rank-error", "within-one"}


def test_grades_that_are_out_of_order_are_refused_before_anything_is_trained(grades: Path, tmp_path: Path) -> None:
    for name, number in zip(sorted(path.name for path in grades.iterdir()), ("1", "2", "10"), strict=True):
        (grades / name).rename(grades / number)

    with pytest.raises(DataError, match=r"^The order of the labels is their rank, and '10' comes before '2'"):
        run(data=grades, out=tmp_path / "runs", monitor="rank-error", **TINY)

    assert not (tmp_path / "runs").exists()
