"""A run that is killed, again and again, ends with the very weights of one that never was."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from .conftest import Nursery, Trace, trace_of

OPTIONS = (
    *("--backbone", "squeezenet1_1", "--weights", "none", "--image-size", "32", "--batch-size", "4"),
    *("--strategy", "finetune", "--freeze-epochs", "3", "--epochs", "3", "--checkpoint-seconds", "0"),
)
MOMENTS = {
    "Reading pictures": 0.1,
    "Computing what is frozen": 0.2,
    "Training, frozen": 0.5,
    "Training, unfrozen": 1.0,
    "Exporting to onnx": 3.0,
    "Verifying model.onnx": 0.2,
}
"""What a run says as it goes, and about how many seconds it is busy with that."""


def only_run(out: Path) -> Path | None:
    runs = [path.parent for path in out.glob("*-insects-*/run.json")]  # killed before that, nothing is lost
    assert len(runs) <= 1
    return next(iter(runs), None)


@pytest.fixture(scope="module")
def uninterrupted(nursery: Nursery, insects: Path, tmp_path_factory: pytest.TempPathFactory) -> Trace:
    out = tmp_path_factory.mktemp("uninterrupted")
    ending = nursery.run("run", "--data", insects, *OPTIONS, "--out", out)
    assert ending.status == 0, ending.said
    run = only_run(out)
    assert run
    return trace_of(run)


def killed_until_done(nursery: Nursery, insects: Path, out: Path, kills: int, seed: int) -> tuple[Path, int]:
    """Kill a run at random moments, go on each time, and at last let it end; return its folder and the kills."""
    chance = random.Random(seed)
    landed = 0
    for kill in range(kills + 1):
        run = only_run(out)
        command = ("--resume", run) if run else ("--data", insects, *OPTIONS, "--out", out)
        marker = chance.choice(list(MOMENTS)) if kill < kills else ""
        after_s = chance.uniform(0, MOMENTS[marker]) if kill < kills else None
        ending = nursery.run("run", *command, marker=marker, after_s=after_s)
        landed += ending.status == -9
        assert ending.status in (0, -9), ending.said
        run = only_run(out)
        if ending.status == 0 and run:
            return run, landed
        if run:
            if json.loads((run / "run.json").read_text())["status"] == "done":  # killed as it ended
                return run, landed
            assert not (run / "model.onnx").exists() or (run / "verification.json").exists()
    raise AssertionError("the run never ended")


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(
    nursery: Nursery, insects: Path, uninterrupted: Trace, tmp_path: Path, seed: int
) -> None:
    run, _ = killed_until_done(nursery, insects, tmp_path, kills=3, seed=seed)

    assert trace_of(run) == uninterrupted
    assert not (run / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_thirty_kills_in_every_phase_change_no_bit(
    nursery: Nursery, insects: Path, uninterrupted: Trace, tmp_path: Path
) -> None:
    landed, seed = 0, 100
    while landed < 30:
        seed += 1
        run, kills = killed_until_done(nursery, insects, tmp_path / str(seed), kills=10, seed=seed)
        assert trace_of(run) == uninterrupted
        landed += kills
