"""Disks that are full, memory that is not there, folders that cannot be written to: one line, and the run goes on."""

from __future__ import annotations

import json
from pathlib import Path

from finetune.training.checkpoints import Checkpoints

from .conftest import OPTIONS, Nursery, Trace, trace_of

BETWEEN_BYTES = 6_000_000
"""More than a checkpoint of the frozen phase has, and less than one with the optimizer's state of the whole network."""


def last_line(said: str) -> str:
    return said.splitlines()[-1]


def test_a_checkpoint_that_does_not_fit_on_the_disk_ends_the_run_and_leaves_the_one_before(
    nursery: Nursery, insects: Path, uninterrupted: Trace, tmp_path: Path
) -> None:
    full = nursery.run(*("run", "--data", insects, *OPTIONS, "--out", tmp_path), limits={"RLIMIT_FSIZE": BETWEEN_BYTES})

    (run,) = tmp_path.iterdir()
    assert full.status == 6, full.said
    assert last_line(full.said).startswith(f"finetune: Cannot write {run / 'checkpoints'}")
    assert last_line(full.said).endswith("File too large. Free some space, or choose another folder with --out.")
    assert "Traceback" not in full.said
    assert json.loads((run / "run.json").read_text())["status"] == "failed"
    found = Checkpoints(run / "checkpoints").load()
    assert found
    assert (found.description, found.note) == ("after frozen", "")
    assert not list(run.rglob("*.part"))

    again = nursery.run("run", "--resume", run)

    assert again.status == 0, again.said
    assert trace_of(run) == uninterrupted


def test_memory_that_runs_out_is_said_in_one_line_and_the_run_goes_on_where_there_is_more(
    nursery: Nursery, insects: Path, tmp_path: Path
) -> None:
    large = tuple({"32": "512", "4": "16"}.get(word, word) for word in OPTIONS)
    ending = nursery.run(
        *("run", "--data", insects, *large, "--out", tmp_path),
        limits={"RLIMIT_AS": 400_000_000},
    )

    assert ending.status == 6, ending.said
    assert last_line(ending.said) == "finetune: Out of memory; try a smaller --batch-size or --image-size."
