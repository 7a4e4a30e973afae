"""Real signals: the first one asks, the second one ends, and outside of training each does what it did."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from finetune.stopping import Interrupted, Stop, Terminated

LONG_S = 60
"""How long a process may take to end on a busy machine; one that takes longer never will."""

ENDINGS: list[tuple[signal.Signals, type[BaseException], int]] = [
    (signal.SIGINT, Interrupted, 130),
    (signal.SIGTERM, Terminated, 143),
]


def terminate(*_: object) -> None:
    """End as the command line does at SIGTERM."""
    sys.exit(143)


@pytest.fixture(autouse=True)
def _signals_are_as_in_a_terminal() -> Iterator[None]:
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: terminate}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    left = {number: signal.signal(number, handler) for number, handler in before.items()}
    assert left == handlers


def send(number: signal.Signals) -> None:
    """Send this process a signal, and be sure that it has come."""
    os.kill(os.getpid(), number)
    for _ in range(1000):  # handlers run between instructions
        pass


# ── signals ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("number", "ending", "status"), ENDINGS, ids=["SIGINT", "SIGTERM"])
def test_the_first_signal_only_asks_and_what_heeds_it_ends_by_itself(
    number: signal.Signals, ending: type[BaseException], status: int
) -> None:
    stop, steps = Stop(run=Path("/runs/my pets")), 0
    with pytest.raises(ending) as caught, stop.heeded():  # noqa: PT012 - training
        while not stop.asked:
            steps += 1
            if steps == 3:
                send(number)
        assert (stop.asked, steps) == (number.name, 3)

    assert str(caught.value) == f"Stopped by {number.name}; go on with: finetune run --resume '/runs/my pets'"
    assert getattr(caught.value, "code", status) == status


def test_a_run_without_a_folder_names_none() -> None:
    with pytest.raises(Interrupted, match=r"^Stopped by SIGINT$"), Stop().heeded():
        send(signal.SIGINT)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_second_signal_ends_at_once_as_it_would_have_without_us(
    first: signal.Signals, second: signal.Signals
) -> None:
    with pytest.raises((KeyboardInterrupt, SystemExit)) as caught, Stop().heeded():  # noqa: PT012
        send(first)
        send(second)
        pytest.fail("it went on")

    assert caught.type is (KeyboardInterrupt if second == signal.SIGINT else SystemExit)


def test_a_signal_that_comes_after_the_last_look_is_not_lost() -> None:
    stop = Stop()

    with pytest.raises(Interrupted), stop.heeded():
        send(signal.SIGINT)


def test_outside_of_what_heeds_them_signals_act_at_once() -> None:
    stop = Stop()
    with stop.heeded():
        pass
    with pytest.raises(KeyboardInterrupt) as caught:
        send(signal.SIGINT)

    assert caught.type is KeyboardInterrupt
    assert stop.asked is None
    stop.raise_if_signalled()


def test_an_error_of_what_heeds_signals_comes_before_the_signal() -> None:
    stop = Stop()
    with pytest.raises(ZeroDivisionError), stop.heeded():  # noqa: PT012
        send(signal.SIGTERM)
        1 / 0  # noqa: B018

    assert stop.asked == "SIGTERM"
    with pytest.raises(Terminated):
        stop.raise_if_signalled()


def test_a_signal_that_the_process_was_started_to_ignore_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell's & does
    try:
        stop = Stop()
        with stop.heeded():
            send(signal.SIGINT)
            assert stop.asked is None
    finally:
        assert signal.signal(signal.SIGINT, before) == signal.SIG_IGN


def test_in_another_thread_signals_are_left_alone() -> None:
    seen: list[object] = []

    def train() -> None:
        with Stop().heeded():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()

    assert seen == [signal.default_int_handler]


# ── time ────────────────────────────────────────────────────────────────────────────────────────────


def test_without_a_limit_the_time_is_never_up() -> None:
    stop = Stop()
    stop.reserve_s = 1e9

    assert stop.asked is None
    assert stop.remaining_s() == float("inf")


def test_the_time_is_up_when_only_what_is_reserved_is_left() -> None:
    stop = Stop(max_minutes=10, started=time.monotonic() - 9 * 60)

    assert 0 < stop.remaining_s() <= 60
    assert stop.asked is None
    stop.reserve_s = 61.0
    assert stop.asked == "time"
    with stop.heeded():  # which is no reason to end the run
        pass


def test_after_the_time_is_up_nothing_remains() -> None:
    stop = Stop(max_minutes=1, started=time.monotonic() - 61)

    assert stop.remaining_s() < 0
    assert stop.asked == "time"


def test_a_signal_goes_before_the_time() -> None:
    stop = Stop(max_minutes=0.1, started=time.monotonic() - 60)
    with pytest.raises(Terminated), stop.heeded():  # noqa: PT012
        assert stop.asked == "time"
        send(signal.SIGTERM)
        assert stop.asked == "SIGTERM"


# ── a process ───────────────────────────────────────────────────────────────────────────────────────

TRAINS = """
import os, pathlib, signal, sys
from finetune.run_folder import RunFolder
from finetune.stopping import Stop
from finetune_export.cli.ending import exit_with

signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, whatever this was started by

def learn():
    os.stat("/")  # lets go of the interpreter's lock, as every step of training does

def train():
    with RunFolder.create(pathlib.Path(sys.argv[1]), "pets").recorded() as folder:
        stop = Stop(run=folder.path)
        print(folder.path, flush=True)
        with stop.heeded():
            print("training", flush=True)
            while not stop.asked:
                learn()
            print("asked", flush=True)
            while len(sys.argv) > 2:
                learn()
            print("saved", flush=True)

exit_with(train, "finetune")
"""


@contextmanager
def training(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Start a process that trains; yield it and its run's folder, and end it in any case."""
    with subprocess.Popen(
        [sys.executable, "-c", TRAINS, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as run:
        try:
            assert run.stdout is not None
            path = Path(run.stdout.readline().strip())
            assert run.stdout.readline() == "training\n"
            yield run, path
        finally:
            run.kill()


@pytest.mark.parametrize(("number", "ending", "status"), ENDINGS, ids=["SIGINT", "SIGTERM"])
def test_a_run_that_is_signalled_saves_and_ends_with_the_signals_status_and_is_interrupted(
    tmp_path: Path, number: signal.Signals, ending: type[BaseException], status: int
) -> None:
    with training(str(tmp_path)) as (run, path):
        run.send_signal(number)
        out, _ = run.communicate(timeout=LONG_S)

    recorded = json.loads((path / "run.json").read_text(encoding="utf-8"))
    assert (run.returncode, out) == (status, "asked\nsaved\n")
    assert recorded["status"] == "interrupted"
    assert recorded["cause"] == (
        f"{ending.__name__}: Stopped by {number.name}; go on with: finetune run --resume {path}"
    )


@pytest.mark.parametrize(("number", "_", "status"), ENDINGS, ids=["SIGINT", "SIGTERM"])
def test_a_run_that_is_signalled_twice_ends_at_once(
    tmp_path: Path, number: signal.Signals, _: object, status: int
) -> None:
    with training(str(tmp_path), "and does not end by itself") as (run, path):
        assert run.stdout is not None
        run.send_signal(number)
        assert run.stdout.readline() == "asked\n"
        run.send_signal(number)
        out, _rest = run.communicate(timeout=LONG_S)

    assert (run.returncode, out) == (status, "")
    assert json.loads((path / "run.json").read_text(encoding="utf-8"))["status"] == "interrupted"
