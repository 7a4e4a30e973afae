"""``finetune runs`` and ``finetune runs clean``: what they print, and that nothing heavy is loaded for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.training.activation_cache import ActivationCache
from finetune.training.activation_file import cache_path

from .conftest import refusal

RESULT = {
    **{"dataset": "pets", "backbone": "resnet18", "strategy": "probe"},
    **{"metric": "accuracy", "value": 0.5, "interval": [0.2, 0.8]},
}


def made(folder: Path, name: str, **facts: Any) -> Path:
    """Make a run's folder by hand, done unless its facts say otherwise."""
    run = folder / name
    run.mkdir(parents=True)
    known = {"job": "run", "status": "done", "started": "2026-01-01T12:00:00+00:00", "result": RESULT}
    (run / "run.json").write_text(json.dumps({**known, **facts}))
    (run / "model.onnx").write_bytes(bytes(1000))
    return run


@pytest.fixture
def runs(cli: Any) -> Path:
    """Return a folder of three runs, where the commands look for it."""
    folder = Path("runs")
    made(folder, "done", ended="2026-01-01T12:01:00+00:00")
    made(
        folder / "demo", "failed", status="failed", cause="DataError: \x1b[2Jno pictures", started="2026-02-02T03:04:05"
    )
    made(folder, "broken", status="great")
    return folder


def test_runs_are_listed_newest_first(cli: Any, runs: Path) -> None:
    said = cli("runs")
    assert said.status == 0
    result = "accuracy 50.0% (20.0% to 80.0%)"
    rows = [
        ("run        ", "what", "status ", "data", "backbone", "strategy", f"{'result':<31}", "started (UTC)   "),
        ("demo/failed", "run ", "failed ", "pets", "resnet18", "probe   ", f"{result:<31}", "2026-02-02 03:04"),
        ("done       ", "run ", "done   ", "pets", "resnet18", "probe   ", f"{result:<31}", "2026-01-01 12:00"),
        ("broken     ", "run ", "damaged", "-   ", "-       ", "-       ", f"{'-':<31}", "-               "),
    ]
    ends = ["size    note", "0.0 MB  DataError: \\x1b[2Jno pictures", "0.0 MB"]
    ends.append("0.0 MB  run.json is damaged (status 'great')")
    assert said.out.splitlines() == ["  ".join((*row, end)) for row, end in zip(rows, ends, strict=True)]


def test_scripts_get_all_that_is_known(cli: Any, runs: Path) -> None:
    found = json.loads(cli("runs", "runs/demo", "--json").out)
    assert found[0] | {"size_bytes": 0} == {
        **{"path": "runs/demo/failed", "name": "failed", "what": "run", "status": "failed", "size_bytes": 0},
        **{"note": "DataError: \x1b[2Jno pictures", "spread": None, "started": "2026-02-02T03:04:05", "ended": ""},
        **RESULT,
    }


def test_where_no_runs_are_one_line_says_how_to_make_one(cli: Any) -> None:
    assert cli("runs").out == "There are no runs in runs. Make one with: finetune run --data DIR\n"
    assert cli("runs", "--json").out == "[]\n"
    Path("a b").mkdir()
    assert cli("runs", "a b").out.startswith("There are no runs in 'a b'.")


@pytest.mark.parametrize("arguments", ["typo", "typo --json", "runs", "clean --unfinished --folder typo"])
def test_a_folder_that_was_named_and_is_not_there_is_refused(cli: Any, arguments: str) -> None:
    folder = "runs" if arguments == "runs" else "typo"
    said = refusal(cli("runs", *arguments.split()), 2)
    assert f"{folder} does not exist. Name a folder that runs were written to." in said


def test_without_yes_nothing_goes(cli: Any, runs: Path) -> None:
    said = cli("runs", "clean", "--unfinished")
    assert said.out.splitlines() == [
        "run          status  size    what happens",
        "demo/failed  failed  0.0 MB  would be removed",
        "Unfinished runs can be gone on with instead: finetune run --resume RUN",
        "0.0 MB would be freed. Nothing is removed yet; repeat with --yes.",
    ]
    assert (runs / "demo" / "failed").exists()


def test_with_yes_it_goes(cli: Any, runs: Path) -> None:
    said = json.loads(cli("runs", "clean", "done", "--yes", "--json").out)
    assert (said["removed"], [run["run"] for run in said["runs"]]) == (True, [str((runs / "done").resolve())])
    assert said["freed_bytes"] > 1000
    assert sorted(path.name for path in runs.iterdir()) == ["broken", "demo"]
    assert cli("runs", "clean", "--older-than-days", "30", "--yes").out.splitlines()[-1] == "0.0 MB freed."
    assert cli("runs", "clean", "--unfinished", "--yes").out == "There is nothing to remove.\n"
    assert sorted(path.name for path in runs.iterdir()) == ["broken", "demo"]


def test_the_cache_goes_on_request(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cli("runs", "clean", "--cache").out == "There is nothing to remove.\n"
    assert json.loads(cli("runs", "clean", "--cache", "--json").out)["cache"] is None
    with ActivationCache(cache_path(), 10**6, pytest.fail) as filled:
        filled.put({bytes(32): bytes(200_000)})
    looked = cli("runs", "clean", "--cache").out
    assert "cache   0.2 MB  would be removed" in looked
    assert looked.splitlines()[-1].startswith("0.2 MB would be freed.")
    assert json.loads(cli("runs", "clean", "--cache", "--json").out)["cache"]["size_bytes"] > 200_000
    assert cli("runs", "clean", "--cache", "--yes").out.splitlines()[-1] == "0.2 MB freed."
    assert not cache_path().exists()


def test_what_a_stopped_removal_has_left_is_listed_with_its_size(cli: Any) -> None:
    left = made(Path("runs"), ".removing-a-0123abcd")
    (left / "model.onnx").write_bytes(bytes(300_000))
    (left / "run.json").write_text('{"job": "run", "status": "done"}')
    said = cli("runs", "clean", "--unfinished").out
    assert ".removing-a-0123abcd  remainder  0.3 MB  would be removed" in said
    told = json.loads(cli("runs", "clean", "--unfinished", "--json").out)
    size_bytes = 300_000 + (left / "run.json").stat().st_size
    assert told["remainders"] == [{"remainder": str(left), "size_bytes": size_bytes}]
    assert told["freed_bytes"] == size_bytes


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("clean", "Nothing is chosen to be removed; name runs, or give --unfinished, --older-than-days N or --cache."),
        ("clean gone", "gone is no run's folder. See 'finetune runs runs' for those."),
        ("clean broken", "broken: run.json is damaged (status 'great'); no run is removed that cannot be told from"),
        ("clean --older-than-days -3", "--older-than-days -3 is not allowed; give a number from 0 to 36500."),
        ("runs/done/run.json", "runs/done/run.json is a file; name a folder that runs were written to."),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(cli: Any, runs: Path, arguments: str, text: str) -> None:
    assert text in refusal(cli("runs", *arguments.split()), 2)


def test_listing_loads_nothing_heavy(process: Any) -> None:
    code = """
import sys
from finetune.cli import main
try:
    main(["runs"])
except SystemExit as ended:
    print(ended.code, sorted({"torch", "numpy", "PIL", "fastai", "onnxruntime"} & sys.modules.keys()))
"""
    assert process(code=code).out.splitlines()[-1] in ("0 []", "None []")
