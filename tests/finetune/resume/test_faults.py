"""Disks that are full, memory that is not there, folders that cannot be written to: one line, and the run goes on."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from finetune.training.checkpoints import Checkpoints

from .conftest import OPTIONS, Nursery, Trace, trace_of

BETWEEN_BYTES = 6_000_000
"""More than a checkpoint of the frozen phase has, and less than one with the optimizer's state of the whole network."""


LARGE = (
    *("--backbone", "squeezenet1_1", "--weights", "none", "--image-size", "512", "--batch-size", "32"),
    *("--strategy", "probe", "--freeze-epochs", "1", "--augment", "none", "--cache-gb", "0"),
)
BARELY_MORE_BYTES = 350_000_000
"""What a run may take beyond what it begins with: enough for its threads, and not for a batch of such pictures."""


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

    again = nursery.run("run", "--resume", run, marker="Exporting", after_s=0.0, signals=("SIGTERM",))

    assert again.status == 143, again.said
    assert hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest() == uninterrupted.weights


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for the checkpoints of the frozen phase, and not for those of the other."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mounted("-t", "tmpfs", "-o", "size=20m", "tmpfs", disk):
        pytest.skip("only root may mount a disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def mounted(*how: str | Path) -> bool:
    return (
        shutil.which("mount") is not None and not subprocess.run(["mount", *how], stderr=subprocess.DEVNULL).returncode
    )


@pytest.mark.slow
def test_a_disk_that_is_full_ends_the_run_which_goes_on_once_there_is_room(
    nursery: Nursery, insects: Path, uninterrupted: Trace, small_disk: Path
) -> None:
    full = nursery.run("run", "--data", insects, *OPTIONS, "--out", small_disk)

    (run,) = small_disk.iterdir()
    assert full.status == 6, full.said
    assert last_line(full.said).endswith(
        "No space left on device. Free some space, or choose another folder with --out."
    )
    assert mounted("-o", "remount,size=200m", small_disk)

    again = nursery.run("run", "--resume", run)

    assert again.status == 0, again.said
    assert trace_of(run) == uninterrupted


def test_memory_that_runs_out_is_said_in_one_line_and_the_run_goes_on_where_there_is_more(
    nursery: Nursery, insects: Path, tmp_path: Path
) -> None:
    short = nursery.run("run", "--data", insects, *LARGE, "--out", tmp_path, limits={"RLIMIT_AS": BARELY_MORE_BYTES})

    (run,) = tmp_path.iterdir()
    assert short.status == 6, short.said
    *_, how, why = short.said.splitlines()
    assert why == "finetune: Out of memory; try a smaller --batch-size or --image-size."
    assert how == f"• Once there is enough of what was missing, go on with: finetune run --resume {run}."
    assert "Training" not in short.said

    again = nursery.run("run", "--resume", run, marker="Training, frozen", after_s=0.0, signals=("SIGTERM",))

    assert again.status == 143, again.said


@pytest.mark.parametrize("place", ["/proc/runs", "/dev/null/runs"])
def test_a_folder_that_cannot_be_made_is_refused_in_one_line(nursery: Nursery, insects: Path, place: str) -> None:
    ending = nursery.run("run", "--data", insects, *OPTIONS, "--out", place)

    assert ending.status == 6, ending.said
    assert last_line(ending.said).startswith(f"finetune: Cannot write {place}: ")
    assert last_line(ending.said).endswith("Choose another folder with --out.")


def test_a_rate_that_is_far_too_high_ends_the_run_with_the_best_weights_so_far(
    nursery: Nursery, insects: Path, tmp_path: Path
) -> None:
    ending = nursery.run("run", "--data", insects, *OPTIONS, "--unfrozen-lr", "10", "--out", tmp_path)

    (run,) = tmp_path.iterdir()
    assert ending.status == 7, ending.said
    assert re.search(
        r"^finetune: .*; try a lower --lr or --unfrozen-lr .* The best so far \(.*\) is in weights.safetensors\.$",
        last_line(ending.said),
    )
    assert all(torch.isfinite(tensor).all() for tensor in load_file(run / "weights.safetensors").values())
    assert json.loads((run / "run.json").read_text())["status"] == "failed"
    assert not (run / "model.onnx").exists()
    assert "frozen" in (run / "history.csv").read_text()
