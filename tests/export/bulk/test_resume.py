"""A run of ``predict`` that is killed goes on where it was, and ends with the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are ended by signals here")


@pytest.fixture
def command(model_path: Path, many: Path) -> Callable[..., list[str]]:
    def words(out: Path, *more: object) -> list[str]:
        predict = [sys.executable, "-m", "finetune_export", "predict", str(model_path), str(many), "--top", "2"]
        return [*predict, "--embeddings" if out.suffix != ".csv" else "--quiet", "--out", str(out), *map(str, more)]

    return words


def lines(part: Path) -> int:
    return part.read_bytes().count(b"\n") if part.exists() else 0


def stopped(words: list[str], part: Path, rows: int, sent: signal.Signals) -> tuple[int, str, list[psutil.Process]]:
    """Send a signal when the part has this many lines; return the status, stderr, and the processes there were."""
    with subprocess.Popen(words, stderr=subprocess.PIPE, encoding="utf-8") as running:
        while lines(part) < rows and running.poll() is None:
            _wait_a_little(running)
        workers = psutil.Process(running.pid).children(recursive=True) if running.poll() is None else []
        running.send_signal(sent)
        _, err = running.communicate()
    return running.returncode, err, workers


def _wait_a_little(running: subprocess.Popen[Any]) -> None:
    """Let others have the processor."""
    with suppress(subprocess.TimeoutExpired):
        running.wait(0.005)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("out.csv", ["--processes", 2]),
        pytest.param("out.jsonl", ["--processes", 1], marks=pytest.mark.slow),
        pytest.param("out.parquet", ["--processes", 2, "--batch-size", 3], marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(
    name: str, more: list[object], tmp_path: Path, command: Callable[..., list[str]]
) -> None:
    whole, out = tmp_path / f"whole{Path(name).suffix}", tmp_path / name
    assert subprocess.run(command(whole, *more), capture_output=True).returncode == 3
    part, kills = tmp_path / f"{name}.part", 0

    for rows in sorted(random.Random(name).sample(range(2, 190), 6)):
        status, _, workers = stopped(command(out, *more), part, rows, signal.SIGKILL)
        assert psutil.wait_procs(workers)[1] == []  # no orphans
        if out.exists():  # it was faster than we were
            break
        assert status == -signal.SIGKILL
        assert rows <= lines(part)
        kills += 1

    assert kills >= 1
    assert subprocess.run(command(out, "--overwrite", *more), capture_output=True).returncode == 3
    assert out.read_bytes() == whole.read_bytes()
    assert {path.name for path in tmp_path.iterdir() if "out." in path.name} == {name}


def test_it_goes_on_and_does_not_begin_anew(tmp_path: Path, many: Path, command: Callable[..., list[str]]) -> None:
    out, part = tmp_path / "out.csv", tmp_path / "out.csv.part"
    stopped(command(out), part, 100, signal.SIGKILL)
    done = lines(part) - 1
    for picture in sorted(many.iterdir())[: done - 1]:
        picture.write_bytes(b"")  # if it were looked at again, its row would be another

    subprocess.run(command(out), capture_output=True, check=False)

    rows = out.read_text().splitlines()[1:]
    assert len(rows) == 200
    assert ["the file is empty" in row for row in rows].count(True) == 3


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(("sent", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (15, 143, "terminated")])
def test_a_run_that_is_stopped_says_how_it_goes_on(
    sent: signal.Signals, status: int, word: str, processes: int, tmp_path: Path, command: Callable[..., list[str]]
) -> None:
    out, part = tmp_path / "out.csv", tmp_path / "out.csv.part"

    ended, err, workers = stopped(command(out, "--processes", processes), part, 50, sent)

    told, last = err.splitlines()
    rows, _, rest = told.removeprefix("finetune-export: ").partition(" ")
    assert (ended, last) == (status, f"finetune-export: {word}.")
    assert rest == f"rows are in {part}; the same command goes on from there"
    assert lines(part) - 1 - int(rows) in (0, 1)  # a signal may come between the writing and the counting
    assert psutil.wait_procs(workers)[1] == []
    assert not out.exists()


def test_two_runs_cannot_write_the_same_file(tmp_path: Path, command: Callable[..., list[str]]) -> None:
    out, part = tmp_path / "out.csv", tmp_path / "out.csv.part"
    with subprocess.Popen(command(out, "--processes", 2)) as running:
        while lines(part) < 20:
            _wait_a_little(running)
        running.send_signal(signal.SIGSTOP)
        second = subprocess.run(command(out), capture_output=True, encoding="utf-8")
        running.send_signal(signal.SIGCONT)

    assert second.returncode == 2
    assert second.stderr == f"finetune-export: {part}: another process is writing it; wait for it, or end it\n"
    assert running.returncode == 3
    assert len(out.read_text().splitlines()) == 201


def test_other_options_are_refused_and_restart_begins_anew(tmp_path: Path, command: Callable[..., list[str]]) -> None:
    out, part = tmp_path / "out.csv", tmp_path / "out.csv.part"
    stopped(command(out), part, 50, signal.SIGKILL)

    refused = subprocess.run(command(out, "--top", 1), capture_output=True, encoding="utf-8")
    anew = subprocess.run(command(out, "--top", 1, "--restart"), capture_output=True, encoding="utf-8")

    assert refused.returncode == 2
    assert refused.stderr == (
        f"finetune-export: {part}: it was begun with --top 2, now 1; begin anew with --restart, or give another --out\n"
    )
    assert anew.returncode == 3
    assert out.read_text().startswith("path,label,probability,abstains,error\n")


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
from finetune_export.cli import main
main(sys.argv[1:])
"""


def test_a_full_disk_loses_no_row_that_was_written(tmp_path: Path, command: Callable[..., list[str]]) -> None:
    out, whole = tmp_path / "out.csv", tmp_path / "whole.csv"
    words = command(out)

    failed = subprocess.run([sys.executable, "-c", FULL, *words[3:]], capture_output=True, encoding="utf-8")
    subprocess.run(words, check=False)
    subprocess.run(command(whole), check=False)

    assert failed.returncode == 6
    assert failed.stderr == f"finetune-export: Cannot write {out}.part: File too large; mend that, and run again.\n"
    assert out.read_bytes() == whole.read_bytes()
