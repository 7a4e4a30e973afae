"""A pretraining that is killed in a process of its own ends with the very record of one that never was."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Nursery

OPTIONS = (
    *("--backbone", "squeezenet1_1", "--image-size", "32", "--batch-size", "4", "--epochs", "4"),
    *("--checkpoint-seconds", "0"),
)


def run_in(out: Path) -> Path:
    (run,) = (path.parent for path in out.glob("*/run.json"))
    return run


MOMENTS = {"Training, from scratch": 0.3, "Verifying pretrained": 0.0}
"""What a pretraining says before it is killed, and how many seconds it has after that."""


@pytest.fixture(scope="module")
def whole(nursery: Nursery, insects: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the record of a pretraining that was never killed."""
    out = tmp_path_factory.mktemp("whole")
    ending = nursery.run("pretrain", "--data", insects, *OPTIONS, "--licence", "MIT", "--out", out)
    assert ending.status == 0, ending.said
    return (run_in(out) / "pretrained.safetensors").read_bytes()


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_it_ends_with_the_same_bytes(
    moment: str, nursery: Nursery, insects: Path, whole: bytes, tmp_path: Path
) -> None:
    words = ("pretrain", "--data", insects, *OPTIONS, "--licence", "MIT", "--package", tmp_path / "mine")
    killed = nursery.run(*words, "--out", tmp_path, marker=moment, after_s=MOMENTS[moment])
    run = run_in(tmp_path)
    record = run / "pretrained.safetensors"
    assert killed.status == -9, killed.said
    assert not record.exists() or record.read_bytes() == whole
    ended = nursery.run("pretrain", "--resume", run)

    assert ended.status == 0, ended.said
    assert record.read_bytes() == whole
    assert (tmp_path / "mine" / "finetune_mine" / "mine.safetensors").read_bytes() == whole
    assert not (run / "checkpoints").exists()
