from __future__ import annotations

import time

import pytest

from finetune.clock import Clock


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let time pass only where a test says so."""
    now = [100.0]
    for name in ("perf_counter", "monotonic"):
        monkeypatch.setattr(time, name, lambda: now[0])
    return now


def test_a_stage_takes_the_time_that_passed_in_it(seconds: list[float]) -> None:
    clock = Clock()
    with clock("train"):
        seconds[0] += 1.5
    seconds[0] += 7

    assert clock.seconds == {"train": 1.5}


def test_a_stage_that_comes_again_adds_up(seconds: list[float]) -> None:
    clock = Clock()
    for _ in range(2):
        with clock("train"):
            seconds[0] += 1.5

    assert clock.seconds == {"train": 3.0}


def test_a_stage_that_fails_is_measured_too(seconds: list[float]) -> None:
    clock = Clock()

    def fail() -> None:
        with clock("train"):
            seconds[0] += 2
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert clock.seconds == {"train": 2.0}


def test_the_total_counts_what_lies_between_the_stages(seconds: list[float]) -> None:
    clock = Clock()
    with clock("prepare"):
        seconds[0] += 1
    seconds[0] += 4
    with clock("train"):
        seconds[0] += 2

    assert clock.total() == {"prepare": 1.0, "train": 2.0, "total": 7.0}
