"""A pretraining that is killed in a process of its own ends with the very record of one that never was."""

from __future__ import annotations

from pathlib import Path

from .conftest import Nursery

OPTIONS = (
    *("--backbone", "squeezenet1_1", "--image-size", "32", "--batch-size", "4", "--epochs", "4"),
    *("--checkpoint-seconds", "0"),
)


def run_in(out: Path) -> Path:
    (run,) = (path.parent for path in out.glob("*/run.json"))
    return run


def test_killed_it_ends_with_the_same_bytes(nursery: Nursery, insects: Path, tmp_path: Path) -> None:
    words = ("pretrain", "--data", insects, *OPTIONS, "--out")
    whole = nursery.run(*words, tmp_path / "whole")
    assert whole.status == 0, whole.said

    killed = nursery.run(*words, tmp_path / "killed", marker="Training, from scratch", after_s=0.3)
    run = run_in(tmp_path / "killed")
    assert killed.status == -9, killed.said
    assert not (run / "pretrained.safetensors").exists()
    ended = nursery.run("pretrain", "--resume", run)

    assert ended.status == 0, ended.said
    assert (run / "pretrained.safetensors").read_bytes() == (
        run_in(tmp_path / "whole") / "pretrained.safetensors"
    ).read_bytes()
    assert not (run / "checkpoints").exists()
