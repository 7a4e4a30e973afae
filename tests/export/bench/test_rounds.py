"""Measuring in processes of their own: what they answer, and what becomes of those that crash or are late."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest

from finetune_export.bench import worker
from finetune_export.bench.configuration import Configuration
from finetune_export.bench.rounds import ROUNDS, Plan


def configured(model: Path, provider: str = "CPU") -> Configuration:
    return Configuration(model=str(model), provider=provider, threads=1, batch=2)


def test_a_row_has_a_round_from_each_of_its_processes(model_path: Path) -> None:
    (row,) = Plan(configurations=[configured(model_path)], seconds=0.03).rows()
    assert len(row.rounds) == ROUNDS
    assert all(found.load_s > 0 and found.file_bytes == model_path.stat().st_size for found in row.rounds)


def test_the_score_is_that_of_the_model_on_its_provider(model_path: Path, pictures: Path) -> None:
    labelled = [(str(path), "ant") for path in sorted(pictures.rglob("*.jpg"))]
    works, does_not = Plan(
        configurations=[configured(model_path), configured(model_path, "Abacus")], seconds=0.03, pictures=labelled
    ).rows()
    assert works.score is not None
    assert works.score.judged == len(labelled)
    assert does_not.score is None
    assert does_not.failure is not None
    assert does_not.failure.status == 6


def test_a_process_that_crashes_is_quoted(model_path: Path) -> None:
    setting = Configuration(model=str(model_path), provider="CPU", threads=1, batch="many")  # type: ignore[arg-type]
    (row,) = Plan(configurations=[setting], seconds=0.03).rows()
    assert row.failure is not None
    assert row.failure.status == 6
    assert row.failure.text.startswith("its process ended with status 1 (")
    assert "Error: " in row.failure.text


def test_scoring_that_is_late_is_ended(model_path: Path, pictures: Path) -> None:
    labelled = [(str(path), "ant") for path in sorted(pictures.rglob("*.jpg"))]
    plan = Plan(configurations=[configured(model_path)], seconds=0.03, pictures=labelled, scoring_limit_s=0.001)
    (row,) = plan.rows()
    assert row.failure is not None
    assert row.failure.text == "not done after 0 s, and ended; give a --data folder with fewer pictures"


class Ticks(float):
    """Seconds that count how often they were added up."""

    additions = 0

    def __sub__(self, other: float) -> Ticks:
        return Ticks(float(self) - other)

    def __radd__(self, other: float) -> float:
        Ticks.additions += 1
        return other + float(self)


def test_time_is_added_up_once_for_each_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ticks, "additions", 0)
    monkeypatch.setattr(time, "perf_counter", map(Ticks, count()).__next__)
    spent = worker.timed(lambda: None, 1000)
    assert (len(spent), Ticks.additions) == (1000, 1000)


def test_a_process_writes_one_line_of_json_at_its_end(model_path: Path) -> None:
    job = {"task": "accuracy", "model": str(model_path), "provider": "CPU", "pictures": [["nowhere.png", "ant"]]}
    command = [sys.executable, "-m", "finetune_export.bench.worker"]
    ended = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, check=True)
    answer = json.loads(ended.stdout.splitlines()[-1])
    assert answer["status"] == 3
    assert answer["error"].startswith("nowhere.png: the file cannot be read")
