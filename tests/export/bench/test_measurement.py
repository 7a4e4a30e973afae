from __future__ import annotations

import subprocess
import sys

import pytest

from finetune_export.bench.configuration import Configuration, configurations
from finetune_export.bench.measurement import Failure, Round, Row
from finetune_export.bench.memory import peak_bytes
from finetune_export.bench.table import as_json, cells


def measured(*run_s: float, **figures: float | None) -> Round:
    base = {"from_file_per_s": None, "load_s": 0.5, "peak_bytes": 80_000_000, "file_bytes": 9_000_000}
    return Round(run_s=list(run_s), **(base | figures))  # type: ignore[arg-type]


def row(*rounds: Round, batch: int = 1, failure: Failure | None = None) -> Row:
    setting = Configuration(model="m.onnx", provider="CPU", threads=1, batch=batch)
    return Row(configuration=setting, rounds=rounds, failure=failure)


def test_quantiles_are_over_all_runs_of_all_rounds() -> None:
    figures = row(measured(0.010, 0.020), measured(0.030)).figures(None)
    assert figures["p50_ms"] == pytest.approx(20)
    assert figures["images_per_s"] == pytest.approx(3 / 0.060)
    assert figures["runs"] == 3


def test_what_a_round_has_one_of_is_the_median_and_memory_the_most() -> None:
    rounds = [measured(0.1, load_s=load, peak_bytes=peak) for load, peak in ((1, 5e6), (3, 9e6), (2, 7e6))]
    figures = row(*rounds).figures(None)
    assert (figures["load_s"], figures["peak_mb"]) == (2, 9)


def test_where_the_system_does_not_tell_memory_there_is_none() -> None:
    assert row(measured(0.1, peak_bytes=None)).figures(None)["peak_mb"] is None


def test_rows_are_held_against_the_first_one_that_was_measured() -> None:
    rows = [row(failure=Failure(text="no", status=6)), row(measured(0.1)), row(measured(0.1), batch=4)]
    assert [found.get("relative") for found in as_json(rows)["rows"]] == [None, 1.0, 4.0]


def test_figures_are_aligned_to_the_right_and_what_is_missing_is_a_dash() -> None:
    head, first, second = cells([row(measured(0.0125)), row(failure=Failure(text="no", status=6), batch=16)])
    assert (first[:4], second[:4]) == (("m.onnx", "CPU", "      1", "    1"), ("m.onnx", "CPU", "      1", "   16"))
    assert (first[4], second[4]) == (" 12.50", "     –")
    assert (head[-1], first[-1], second[-1]) == ("accuracy", "–", "failed")


def test_every_combination_comes_once_in_the_order_given() -> None:
    found = configurations(["b", "a", "b"], ["CPUExecutionProvider", "CPU"], [2, 1], [8])
    assert [(c.model, c.provider, c.threads) for c in found] == [
        ("b", "CPU", 2),
        ("b", "CPU", 1),
        ("a", "CPU", 2),
        ("a", "CPU", 1),
    ]


@pytest.mark.skipif(peak_bytes() is None, reason="this system does not tell a process's peak memory")
def test_the_memory_of_a_process_is_its_own_and_not_that_of_the_process_that_started_it() -> None:
    held = b"1" * 200_000_000
    code = "from finetune_export.bench.memory import peak_bytes; print(peak_bytes())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 3_000_000 < int(printed) < len(held)
