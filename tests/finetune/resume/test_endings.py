"""A run that is signalled says how to go on, and ends with the very weights of one that never was."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import OPTIONS, Ending, Nursery, Trace, trace_of


@dataclass(frozen=True)
class Moment:
    """Where a run is signalled: at a line that it says, or where its newest checkpoint is; and how it is to end."""

    signals: tuple[str, ...]
    status: int
    marker: str
    is_checkpoint: bool = False
    after_s: float = 0.0


TOGETHER = ("SIGSTOP", "SIGINT", "SIGTERM", "SIGCONT")
FROZEN, UNFROZEN = '"frozen, epoch ', '"unfrozen, epoch '
MOMENTS = {
    "features": Moment(("SIGTERM",), 143, "Computing what is frozen"),
    "frozen": Moment(("SIGTERM",), 143, FROZEN, is_checkpoint=True),
    "frozen, Ctrl-C": Moment(("SIGINT",), 130, FROZEN, is_checkpoint=True),
    "frozen, twice": Moment(TOGETHER, 143, FROZEN, is_checkpoint=True),
    "unfrozen": Moment(("SIGTERM",), 143, UNFROZEN, is_checkpoint=True),
    "unfrozen, hung up": Moment(("SIGHUP",), -1, UNFROZEN, is_checkpoint=True),
    "export": Moment(("SIGTERM",), 143, "Exporting to onnx", after_s=0.5),
}
"""One run is ended by each in turn, and goes on each time."""


@dataclass(frozen=True)
class Left:
    """How a run ended at one of the moments, and what it left."""

    ending: Ending
    recorded: dict[str, object]
    checkpoint: str
    files: frozenset[str]


@dataclass(frozen=True)
class Chain:
    """A run that was ended at every moment, and then let go on to its end."""

    run: Path
    left: dict[str, Left]
    last: Ending


def left_by(ending: Ending, run: Path) -> Left:
    pointer = run / "checkpoints" / "checkpoint.json"
    return Left(
        ending=ending,
        recorded=json.loads((run / "run.json").read_text()),
        checkpoint=json.loads(pointer.read_text())[0]["description"] if pointer.exists() else "",
        files=frozenset(path.name for path in run.iterdir()),
    )


@pytest.fixture(scope="module")
def chain(nursery: Nursery, insects: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    out = tmp_path_factory.mktemp("chain")
    command: tuple[object, ...] = ("--data", insects, *OPTIONS, "--out", out)
    left: dict[str, Left] = {}
    for name, moment in MOMENTS.items():
        watched = out / "*" / "checkpoints" / "checkpoint.json" if moment.is_checkpoint else ""
        ending = nursery.run(
            *("run", *command), marker=moment.marker, watched=watched, after_s=moment.after_s, signals=moment.signals
        )
        (run,) = out.iterdir()
        left[name] = left_by(ending, run)
        command = ("--resume", run)
    return Chain(run, left, nursery.run("run", *command))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_ends_a_run_with_the_status_that_shells_expect(chain: Chain, moment: str) -> None:
    ending = chain.left[moment].ending

    assert ending.status == MOMENTS[moment].status, ending.said
    assert "Traceback" not in ending.said


@pytest.mark.parametrize("moment", [name for name in MOMENTS if MOMENTS[name].status > 0])
def test_a_run_that_is_ended_says_in_one_line_how_to_go_on(chain: Chain, moment: str) -> None:
    left = chain.left[moment]
    by = "SIGINT" if left.ending.status == 130 else "SIGTERM"
    sentence = f"Stopped by {by}; go on with: finetune run --resume {chain.run}"

    assert [line for line in left.ending.said.splitlines() if "--resume" in line] == [f"finetune: {sentence}"]
    assert left.recorded["status"] == "interrupted"
    assert left.recorded["cause"] == f"{'Interrupted' if by == 'SIGINT' else 'Terminated'}: {sentence}"
    assert left.recorded["ended"]


def test_a_terminal_that_is_closed_ends_a_run_like_a_kill(chain: Chain) -> None:
    recorded = chain.left["unfrozen, hung up"].recorded

    assert recorded["status"] == "running"
    assert "ended" not in recorded


def test_a_second_signal_ends_a_run_that_was_asked_by_the_first(chain: Chain) -> None:
    said = chain.left["frozen, twice"].ending.said

    assert said.splitlines()[-1].startswith("finetune: Stopped by SIGTERM; ")  # the second; the first was Ctrl-C


def test_what_a_signal_leaves_is_where_the_run_was(chain: Chain) -> None:
    assert chain.left["features"].checkpoint == ""
    assert chain.left["frozen"].checkpoint.startswith("frozen, epoch ")
    assert chain.left["frozen, Ctrl-C"].checkpoint.startswith("frozen, epoch ")
    assert chain.left["unfrozen"].checkpoint.startswith("unfrozen, epoch ")
    assert chain.left["export"].checkpoint == "after frozen, unfrozen"


def test_what_was_not_verified_is_not_left_under_a_models_name(chain: Chain) -> None:
    assert "weights.safetensors" in chain.left["export"].files
    assert not {"model.onnx", "verification.json", ".unverified"} & chain.left["export"].files


def test_after_all_of_them_the_run_ends_with_the_same_bits(chain: Chain, uninterrupted: Trace) -> None:
    assert chain.last.status == 0, chain.last.said
    assert trace_of(chain.run) == uninterrupted
    assert not (chain.run / "checkpoints").exists()
    recorded = json.loads((chain.run / "run.json").read_text())
    assert recorded["status"] == "done"
    assert len(recorded["resumed"]) == len(MOMENTS)
    assert "cause" not in recorded


@pytest.mark.slow
def test_a_run_that_is_held_and_let_go_ends_as_if_it_had_not_been(
    nursery: Nursery, insects: Path, uninterrupted: Trace, tmp_path: Path
) -> None:
    held = nursery.run(
        *("run", "--data", insects, *OPTIONS, "--out", tmp_path),
        marker=FROZEN,
        watched=tmp_path / "*" / "checkpoints" / "checkpoint.json",
        after_s=0.0,
        signals=("SIGSTOP", "SIGCONT"),
    )

    assert held.status == 0, held.said
    assert trace_of(next(tmp_path.iterdir())) == uninterrupted


@pytest.mark.slow
def test_a_run_whose_time_is_up_ends_with_a_verified_model(nursery: Nursery, insects: Path, tmp_path: Path) -> None:
    endless = [{"3": "5000", "2": "5000"}.get(word, word) for word in OPTIONS]

    ending = nursery.run("run", "--data", insects, *endless, "--max-minutes", "0.5", "--out", tmp_path)

    assert ending.status == 0, ending.said
    (run,) = tmp_path.iterdir()
    recorded = json.loads((run / "run.json").read_text())
    assert recorded["status"] == "done"
    assert recorded["result"]["seconds"]["total"] < 60
    assert json.loads((run / "verification.json").read_text())[0]["agreement"] == 1.0
    assert (run / "model.onnx").exists()
    assert 1 < len((run / "history.csv").read_text().splitlines()) < 5000
    assert "Training was ended for what comes after training (--max-minutes 0.5)." in ending.said
