"""The live view: what it says of a job, its pace, the figures and the memory, in whatever room there is."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as some
from rich.cells import cell_len
from rich.console import Console

from finetune.cli.live_view import SAMPLE_EVERY_S, LiveView, Memory


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def view_of(clock: Callable[[], float], width: int = 80) -> LiveView:
    return LiveView(Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None), clock)


def lines_of(view: LiveView) -> list[str]:
    drawn = view.console.render_lines(view.drawn(), pad=False)
    return ["".join(segment.text for segment in line).rstrip() for line in drawn]


def test_the_pace_and_the_time_left_follow_from_the_same_pictures(clock: Clock) -> None:
    view = view_of(clock)
    view.begin("Training, unfrozen", 1000, "pictures")
    view.advance(400)  # an earlier attempt's
    for _ in range(4):
        clock.now += 2
        view.advance(50, "epoch 1/2")

    assert lines_of(view)[0] == "Training, unfrozen   epoch 1/2"
    assert lines_of(view)[1].endswith("  600/1,000 pictures")
    assert lines_of(view)[2].startswith("25 pictures/s   0:00:16 left   0:00:08 elapsed   ")


@pytest.mark.parametrize(
    ("total", "unit", "count", "pace"),
    [
        (4_000_000, "bytes", "2.0 MB/4.0 MB", "500.0 kB/s"),
        (None, "pictures", "2,000,000 pictures", "500,000 pictures/s"),
        (4_000_000, "", "2,000,000/4,000,000", ""),
        (4_000_000, "files", "2,000,000/4,000,000 files", ""),
    ],
)
def test_only_pictures_and_bytes_have_a_pace(clock: Clock, total: int | None, unit: str, count: str, pace: str) -> None:
    view = view_of(clock)
    view.begin("Some", total, unit)
    view.advance(1_000_000)
    clock.now += 2
    view.advance(1_000_000)

    _, bar, facts = lines_of(view)
    assert bar.endswith(f"  {count}")
    assert facts.startswith(pace)
    assert ("/s" in facts) is bool(pace)


@pytest.mark.parametrize(("seconds", "pace"), [(1, "33 pictures/s"), (10, "3.3 pictures/s"), (100, "0.33 pictures/s")])
def test_a_pace_has_as_many_digits_as_say_something(clock: Clock, seconds: int, pace: str) -> None:
    view = view_of(clock)
    view.begin("Some", 1000, "pictures")
    view.advance(1)
    clock.now += seconds
    view.advance(33)

    assert lines_of(view)[2].startswith(pace)


def test_figures_stay_when_one_job_follows_another(clock: Clock) -> None:
    view = view_of(clock)
    view.begin("Training, frozen", 10, "pictures")
    for loss in (4.0, 2.0, 1.0):
        view.figure("loss", loss, f"{loss:.3f}")
    view.figure("macro-f1", 0.9, "90.0%")
    view.begin("Exporting to onnx")

    title, _, facts, loss, score = lines_of(view)
    assert title == "Exporting to onnx"
    assert facts.startswith("0:00:00 elapsed")
    assert (loss, score) == ("loss      1.000  █▃▁", "macro-f1  90.0%  ▅")


def test_between_jobs_neither_title_nor_pace_is_shown(clock: Clock) -> None:
    view = view_of(clock)
    view.begin("Reading pictures", 2, "pictures")
    view.advance(2)
    view.end()
    view.advance(1)

    (facts,) = lines_of(view)
    assert facts.startswith("0:00:00 elapsed")


@given(
    width=some.integers(1, 100),
    title=some.text(max_size=60),
    name=some.text(max_size=30),
    shown=some.text(max_size=12),
    counts=some.lists(some.integers(0, 10**9), max_size=5),
)
def test_no_line_is_wider_than_the_terminal_and_no_control_character_reaches_it(
    width: int, title: str, name: str, shown: str, counts: list[int]
) -> None:
    clock = Clock()
    view = view_of(clock, width)
    view.begin(title, 10**9, "pictures")
    for count in counts:
        clock.now += 1
        view.advance(count, title)
        view.figure(name, float(count), shown)

    view.console.print(view.drawn())
    written = view.console.file.getvalue()  # type: ignore[attr-defined]
    lines = written.split("\n")
    assert max(map(cell_len, lines)) <= width
    assert not any(ord(char) < 32 for line in lines for char in line)


def test_the_memory_is_asked_for_once_a_second_and_its_peak_is_kept(clock: Clock) -> None:
    memory = Memory(clock)
    memory.sample()
    first = memory.resident
    assert first > 1_000_000
    memory.resident = memory.peak = 1 << 60
    memory.sample()
    assert memory.resident == 1 << 60
    clock.now += SAMPLE_EVERY_S
    memory.sample()

    assert memory.resident < 1 << 60
    assert memory.peak == 1 << 60


def test_the_thread_that_draws_ends_with_the_view(clock: Clock) -> None:
    before = {*threading.enumerate()}
    view = view_of(clock)
    view.start()
    (drawing,) = {*threading.enumerate()} - before
    view.stop()

    drawing.join()
    assert {*threading.enumerate()} == before
