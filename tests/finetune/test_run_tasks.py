"""A whole run for several labels, and for values: from a table of drawn pictures to what the exported file says."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finetune import run
from finetune.cli import main
from finetune.cli.run import _rows_of_run
from finetune.reporting import SILENT
from finetune.reverification import verify_again
from finetune_export import Predictor, read_contract
from finetune_export.contract import Contract

from .conftest import TINY

LABELS = ("blue", "green", "red")
VALUES = ("red share", "blue share")
COUNT = 80


@dataclass(frozen=True)
class Tabled:
    """A finished run on a table."""

    result: Any
    table: Path

    @property
    def contract(self) -> Contract:
        return read_contract(self.result.onnx)

    def split(self, part: str) -> list[dict[str, str]]:
        with (self.result.run / "split.csv").open(encoding="utf-8", newline="") as file:
            return [row for row in csv.DictReader(file) if row["part"] == part]


def coloured(seed: int, colour: Sequence[float]) -> Image.Image:
    """A picture of one colour, 0..1 for each of red, green and blue, with noise."""
    noise = np.random.default_rng(seed).integers(-20, 21, (40, 40, 3))
    return Image.fromarray((np.array(colour) * 200 + 27 + noise).clip(0, 255).astype(np.uint8))


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Tabled:
    """Pictures with none, one or more of three colours in them."""
    root = tmp_path_factory.mktemp("several")
    rows = []
    for i in range(COUNT):
        shown = [bool(i & bit) for bit in (4, 2, 1)]
        coloured(i, (shown[2], shown[1], shown[0])).save(root / f"{i}.png")
        rows.append((f"{i}.png", "|".join(label for label, there in zip(LABELS, shown, strict=True) if there)))
    table = write_table(root / "colours.csv", ("image", "labels"), rows)
    options = {"label_separator": "|", "test_share": 0.2, "valid_share": 0.4, "epochs": 12}
    return Tabled(run(data=table, out=root / "runs", **{**TINY, **options}), table)


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Tabled:
    """Pictures of which two numbers are known, in units far from 0 and 1."""
    root = tmp_path_factory.mktemp("values")
    rows = []
    for i, (red, blue) in enumerate(np.random.default_rng(1).random((COUNT, 2)).tolist()):
        coloured(i, (red, 0.5, blue)).save(root / f"{i}.png")
        rows.append((f"{i}.png", 1000 + 300 * red, -0.002 * blue))
    table = write_table(root / "shares.csv", ("image", *VALUES), rows)
    options = {"label_col": VALUES, "test_share": 0.2, "epochs": 12}
    return Tabled(run(data=table, out=root / "runs", **{**TINY, **options}), table)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, Any]]]:
    """Run a command in this process, and return its status and the JSON that it said."""
    at_term = signal.getsignal(signal.SIGTERM)

    def said(*arguments: object) -> tuple[int, Any]:
        with pytest.raises(SystemExit) as ending:
            main([str(argument) for argument in arguments])
        return int(ending.value.code or 0), json.loads(capsys.readouterr().out)

    yield said
    signal.signal(signal.SIGTERM, at_term)


# ── several labels ──────────────────────────────────────────────────────────────────────────────────


def test_a_table_of_several_labels_becomes_a_contract_with_a_threshold_for_each(several: Tabled) -> None:
    contract = several.contract

    assert (contract.task, contract.labels, contract.scaling) == ("multi-label", LABELS, None)
    assert contract.thresholds.keys() == set(LABELS)
    assert several.result.metric == several.result.monitor == "mean-average-precision"


def test_several_labels_are_scored_by_their_own_metrics(several: Tabled) -> None:
    scores = read_json(several.result.run / "metrics.json")

    assert scores["valid"]["headline"] == "mean-average-precision"
    assert scores["valid"]["values"] == several.result.scores == several.contract.metrics
    assert {"accuracy", "macro-f1", "mean-auroc", "log-loss", "ece"} <= scores["valid"]["values"].keys()
    assert scores["test"]["values"] == several.result.test_scores
    assert [row["label"] for row in scores["valid"]["labels"]] == list(LABELS)


def test_the_scores_of_several_labels_are_those_of_the_file_under_its_thresholds(several: Tabled) -> None:
    rows = several.split("test")
    answers = Predictor(several.result.onnx).predict([Path(row["path"]) for row in rows])

    right = [
        set(answer.given) == set(filter(None, row["label"].split("|")))
        for answer, row in zip(answers, rows, strict=True)
    ]

    assert several.result.test_scores["accuracy"] == pytest.approx(np.mean(right))


def test_predict_gives_all_labels_of_a_picture_or_none(several: Tabled, cli: Callable[..., tuple[int, Any]]) -> None:
    pictures = [several.table.with_name(f"{i}.png") for i in range(8)]
    status, found = cli("predict", several.result.onnx, *pictures, "--format", "json")

    assert status == 0
    probabilities = Predictor(several.result.onnx).answers(pictures)
    thresholds = [several.contract.thresholds[label] for label in LABELS]
    for row, reached in zip(found, probabilities >= thresholds, strict=True):
        assert set(row["labels"]) == {label for label, there in zip(LABELS, reached, strict=True) if there}
    assert len({len(row["labels"]) for row in found}) > 1


# ── values ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_table_of_values_becomes_a_contract_with_their_scaling(values: Tabled) -> None:
    contract = values.contract
    trained = np.array([[float(number) for number in row["label"].split()] for row in values.split("train")])

    assert (contract.task, contract.labels, contract.thresholds) == ("regression", VALUES, {})
    assert contract.calibration.method == "none"
    assert contract.scaling is not None
    np.testing.assert_allclose(contract.scaling.offset, trained.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(contract.scaling.scale, trained.std(axis=0), rtol=1e-4)


def test_values_are_answered_and_scored_in_their_own_units(values: Tabled) -> None:
    rows = values.split("test")
    known = np.array([[float(number) for number in row["label"].split()] for row in rows])
    answers = Predictor(values.result.onnx).answers([Path(row["path"]) for row in rows])

    assert 900 < answers[:, 0].mean() < 1400
    assert -0.004 < answers[:, 1].mean() < 0.002
    assert values.result.test_scores["mae"] == pytest.approx(np.abs(answers - known).mean(), rel=1e-5)
    assert values.result.test_scores.keys() == {"mae", "rmse", "r2"}


def test_predict_gives_each_value_by_its_name(values: Tabled, cli: Callable[..., tuple[int, Any]]) -> None:
    picture = values.table.with_name("0.png")
    status, (row,) = cli("predict", values.result.onnx, picture, "--format", "json")

    (answer,) = Predictor(values.result.onnx).answers([picture])

    assert status == 0
    assert {name: row[name] for name in VALUES} == pytest.approx(
        dict(zip(VALUES, answer.tolist(), strict=True)), rel=1e-5
    )


# ── both ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("task", ["several", "values"])
def test_the_exported_file_answers_like_the_network_and_is_verified_again(
    task: str, request: pytest.FixtureRequest, cli: Callable[..., tuple[int, Any]]
) -> None:
    tabled: Tabled = request.getfixturevalue(task)
    (recorded,) = read_json(tabled.result.run / "verification.json")
    status, found = cli("verify", tabled.result.onnx, "--json")
    again = found["verification"]

    assert status == 0
    assert recorded["problems"] == again["problems"] == []
    assert recorded["compared"] == again["compared"] == tabled.result.valid_images
    assert recorded["metric"] == again["metric"] == tabled.result.metric
    assert again["value"] == pytest.approx(recorded["value"], abs=1e-6)


@pytest.mark.parametrize("task", ["several", "values"])
def test_a_run_says_its_task_on_the_command_line(task: str, request: pytest.FixtureRequest) -> None:
    rows = dict(row[:2] for row in _rows_of_run(request.getfixturevalue(task).result))

    assert {"several": "3 labels", "values": "2 value(s)"}[task] in rows["data"]
    assert ("calibration" in rows) == (task == "several")
    assert rows["test"]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["several", "values"])
def test_int8_of_either_task_is_judged_by_its_headline_metric(task: str, request: pytest.FixtureRequest) -> None:
    tabled: Tabled = request.getfixturevalue(task)

    again = run(config_file=tabled.result.run / "config.toml", target=("int8",), max_drop=0.2)

    (_, judged) = read_json(again.run / "verification.json")
    assert (judged["target"], judged["metric"], judged["problems"]) == ("int8", tabled.result.metric, [])
    found = verify_again(again.artifacts["int8"], run=again.run, data=None, reporter=SILENT).verification
    assert found is not None
    assert found.passed
