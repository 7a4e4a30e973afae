"""Runs with a stranger's metrics: measured, monitored, and what becomes of those that break."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune import run
from finetune.cli.run import _rows_of_run
from finetune.errors import ConfigError, PluginError
from finetune.evaluation.catalogue import shares_of
from finetune.folds import CrossValidation
from finetune.intent import discover
from finetune.plugins import load_plugins
from finetune.preparation import prepare
from finetune.reporting import SILENT
from finetune_export import read_contract

from .conftest import Notes

MOODS = """
from math import nan

from finetune.hookspecs import hookimpl
from finetune.types import Metric

TASKS = ("single-label",)
CALLS = []


@hookimpl
def finetune_register_metrics(register):
    for name in ("doubt", "late", "never", "broken"):
        register(Metric(name=name, summary="", tasks=TASKS, measure=f"finetune_moods:{name}", higher_is_better=False))
    register(Metric(name="calm", summary="", tasks=TASKS, measure="finetune_moods:calm", is_share=True))


def doubt(about):
    print("a plugin talks")
    return 1 - about.answers.max(axis=1).mean()


def calm(about):
    return float(about.answers.max(axis=1).mean())


def never(about):
    return nan


def broken(about):
    raise KeyError("joy")


def late(about):
    CALLS.append(about)
    if len(CALLS) == 4:  # once before the training, and at the end of each epoch
        raise KeyError("joy")
    return 0.5
"""


@pytest.fixture(autouse=True)
def _moods(install: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install("moods", MOODS))
    monkeypatch.delitem(sys.modules, "finetune_moods", raising=False)
    monkeypatch.setenv("FINETUNE_PLUGINS", "moods")


@pytest.fixture
def probed(tiny: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a run of a few short epochs, in the arithmetic that the file has."""
    return {**tiny, "strategy": "probe", "freeze_epochs": 4, "precision": "fp32", "lr": 0.03}


def history_of(folder: Path, metric: str) -> list[float]:
    with (folder / "history.csv").open(encoding="utf-8", newline="") as file:
        return [float(row[metric]) for row in csv.DictReader(file)]


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


# ── measured ────────────────────────────────────────────────────────────────────────────────────────


def test_a_strangers_metric_chooses_and_those_asked_for_are_measured_and_those_that_break_are_told(
    picture_folder: Callable[..., Path],
    tmp_path: Path,
    probed: dict[str, Any],
    notes: Notes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts = picture_folder(parts=("train", "valid", "test"))

    asked = {"monitor": "doubt", "metric": ("calm", "never", "broken"), "calibration": "none"}
    result = run(data=parts, out=tmp_path / "runs", reporter=notes, **asked, **probed)

    assert capsys.readouterr().out == ""
    doubts = history_of(result.run, "doubt")
    assert (result.monitor, result.phases) == ("doubt", {"frozen": min(doubts)})
    contract = read_contract(result.onnx)
    assert contract.metrics["doubt"] == pytest.approx(min(doubts), abs=1e-5)
    assert contract.metrics["calm"] == pytest.approx(1 - min(doubts), abs=1e-5)
    written = read_json(result.run / "metrics.json")
    left_out = [
        "Left 'never' out of the scores: it is undefined for these 8 pictures.",
        "Left 'broken' out of the scores: The metric 'broken' failed: KeyError: 'joy'. FINETUNE_DEBUG=1 shows where.",
    ]
    for part in ("valid", "test"):
        assert {"accuracy", "doubt", "calm"} < set(written[part]["values"])
        assert not {"never", "broken"} & set(written[part]["values"])
        assert written[part]["notes"] == left_out
    assert set(left_out) < set(notes.said)
    assert [n for n in notes.said if n.startswith("Left '")] == 2 * left_out
    assert set(left_out) < set(result.notes)
    rows = dict(_rows_of_run(result))
    assert rows["doubt"] == f"frozen {min(doubts):.4g}  (kept: frozen)"
    assert f"calm {contract.metrics['calm']:.1%}" in rows["validation"]


def test_the_folds_show_a_strangers_share_in_percent() -> None:
    found = CrossValidation(
        run=Path("runs"),
        folds=(),
        metric="accuracy",
        values=(0.5, 1.0),
        scores={"calm": (0.25, 0.125), "doubt": (0.75, 0.125)},
        test_scores={},
        shares=shares_of(load_plugins().metrics),
        seconds={},
    )

    rows = dict(found.rows())
    assert (rows["folds"], rows["calm"], rows["doubt"]) == ("accuracy 50.0%  100.0%", "25.0% ± 12.5%", "0.75 ± 0.125")


# ── monitored, and failing ──────────────────────────────────────────────────────────────────────────


def test_a_monitor_that_nobody_offers_is_refused_with_the_nearest_of_all() -> None:
    with pytest.raises(ConfigError) as caught:
        discover({"data": "pictures", "monitor": "doupt"})

    assert str(caught.value).startswith("Unknown --monitor 'doupt'. Did you mean 'doubt'? Known: accuracy, ")
    assert str(caught.value).endswith(" See 'finetune list metrics' and 'finetune plugins'.")
    assert discover({"data": "pictures", "monitor": "doubt"}).config.monitor == "doubt"


def test_a_monitor_that_always_fails_does_so_before_anything_is_trained(
    pictures: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    with pytest.raises(PluginError, match=r"^The metric 'broken' failed: KeyError: 'joy'\. FINETUNE_DEBUG=1 shows wh"):
        run(data=pictures, out=tmp_path / "runs", monitor="broken", **tiny)

    assert not (tmp_path / "runs").exists()


def test_a_monitor_that_fails_at_an_epoch_ends_the_run_and_says_whose_fault_it_is(
    pictures: Path, tmp_path: Path, probed: dict[str, Any]
) -> None:
    with pytest.raises(PluginError) as caught:
        run(data=pictures, out=tmp_path / "runs", monitor="late", **probed)

    (folder,) = (tmp_path / "runs").iterdir()
    status = read_json(folder / "run.json")
    assert caught.value.exit_code == 5
    assert (status["status"], status["cause"]) == (
        "failed",
        "PluginError: The metric 'late' failed: KeyError: 'joy'. FINETUNE_DEBUG=1 shows where.",
    )


def test_a_monitor_that_is_undefined_at_every_epoch_is_warned_of_and_the_loss_chooses(
    pictures: Path, tmp_path: Path, probed: dict[str, Any], notes: Notes
) -> None:
    result = run(data=pictures, out=tmp_path / "runs", monitor="never", reporter=notes, **probed)

    warning = (
        "The metric 'never' was undefined at every epoch, so that the epochs with the lowest validation loss were "
        "kept. Choose another --monitor, or other validation pictures."
    )
    assert warning in notes.said
    assert warning in result.notes
    assert "never" not in read_contract(result.onnx).metrics


def test_a_metric_of_another_task_is_refused_as_the_monitor(tmp_path: Path, colour_table: Callable[..., Path]) -> None:
    table = colour_table(tmp_path, "regression", count=2)

    with pytest.raises(
        ConfigError, match=r"^Unknown --monitor for a regression task 'doubt'\. Known: mae, r2, rmse\.$"
    ):
        prepare(discover({"data": table, "label_col": ("red", "blue"), "monitor": "doubt"}), SILENT)
