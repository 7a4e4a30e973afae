"""On stderr while a command works: a live view in a terminal, lines elsewhere and where they are asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.cli.progress import RichReporter

from .conftest import tiny
from .terminal import COLOUR, Shown, in_terminal, resize

SCRIPT = """
import signal, sys
from finetune.cli.progress import RichReporter

with RichReporter({no_progress}) as reporter:
    reporter.note("Käfer and 甲虫")
    reporter.begin("Training, frozen", 960, "pictures")
    for epoch, score in enumerate((0.5, 0.8, 0.9), 1):
        reporter.figure("loss", 1 / epoch, f"{{1 / epoch:.3f}}")
        reporter.figure("accuracy", score, f"{{score:.1%}}")
        reporter.advance(100, f"epoch {{epoch}}/3")
    reporter.note("ready")
    {wait}
"""
JOB = "Training, frozen   epoch 3/3"
CURVE = "▁▆█"

Scripted = Callable[..., Shown]


@pytest.fixture
def scripted(environment: dict[str, str]) -> Scripted:
    """Let a reporter say the same in a terminal of its own, with other surroundings where a test gives them."""

    def shown(wait: str = "", no_progress: bool = False, columns: int = 80, answer: Any = None, **more: str) -> Shown:
        code = SCRIPT.format(wait=wait, no_progress=no_progress)
        plain = {name: value for name, value in environment.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        around = {**plain, "TERM": "xterm-256color", "PYTHONUTF8": "1", **more}
        return in_terminal(["-c", code], around, columns, answer or (lambda *_: None))

    return shown


def test_a_terminal_shows_one_view_below_the_notes_and_is_left_as_it_was(scripted: Scripted) -> None:
    shown = scripted()

    notes, view = shown.last_view[:2], shown.last_view[2:]
    assert shown.status == 0
    assert notes == ["• Käfer and 甲虫", "• ready"]
    assert view[0] == JOB
    assert view[1].startswith("━━━━━━━━━━━━")
    assert view[1].endswith("  300/960 pictures")
    assert "memory, peak" in " ".join(view[2:-2])
    assert view[-2:] == ["loss      0.333  █▃▁", f"accuracy  90.0%  {CURVE}"]
    assert shown.screen == notes
    assert COLOUR.search(shown.raw)


def test_no_color_leaves_the_view_and_takes_its_colours(scripted: Scripted) -> None:
    shown = scripted(NO_COLOR="1")

    assert shown.last_view[2] == JOB
    assert not COLOUR.search(shown.raw)


@pytest.mark.parametrize("asked", [{"no_progress": True}, {"TERM": "dumb"}, {"no_progress": True, "FORCE_COLOR": "1"}])
def test_lines_are_plain_where_they_are_asked_for_and_where_the_cursor_cannot_move(
    scripted: Scripted, asked: dict[str, Any]
) -> None:
    shown = scripted(**asked)

    assert shown.raw.splitlines() == ["• Käfer and 甲虫", "Training, frozen …", "• ready"]


def test_a_log_holds_lines_even_where_colours_are_forced(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with RichReporter() as reporter:
        reporter.begin("Reading pictures", 3, "pictures")
        reporter.advance(detail="unheard")
        reporter.figure("loss", 0.5, "0.500")
        reporter.note("odd \x1b[2J note")
        reporter.end()

    assert capsys.readouterr().err == "Reading pictures …\n• odd \\x1b[2J note\n"


def test_where_only_ascii_can_be_shown_the_same_is_shown_in_ascii(scripted: Scripted) -> None:
    shown = scripted(PYTHONUTF8="0", PYTHONIOENCODING="ascii")

    assert shown.status == 0
    assert shown.raw.isascii()
    assert shown.screen == [r"* K\xe4fer and \u7532\u866b", "* ready"]
    assert shown.last_view[2] == JOB
    assert shown.last_view[-1] == "accuracy  90.0%  .*@"


def test_lines_are_ascii_where_nothing_else_can_be_written(scripted: Scripted) -> None:
    shown = scripted(no_progress=True, PYTHONUTF8="0", PYTHONIOENCODING="ascii")

    assert shown.raw.splitlines() == [r"* K\xe4fer and \u7532\u866b", "Training, frozen ...", "* ready"]


def test_a_narrow_terminal_cuts_lines_and_wraps_none(scripted: Scripted) -> None:
    shown = scripted(columns=20)

    assert all(len(line) <= 20 for line in shown.last_view)
    assert "300/960 pictures" in shown.last_view
    assert shown.screen == ["• Käfer and 甲虫", "• ready"]


def test_a_terminal_that_changes_its_width_is_drawn_in_the_new_one(scripted: Scripted) -> None:
    asked = []

    def answer(said: str, terminal: int) -> None:
        if "ready" in said and not asked:
            asked.append(resize(terminal, 36))
            os.write(terminal, b"\n")

    shown = scripted(wait="input()", answer=answer)

    assert max(map(len, shown.last_view[-6:])) <= 36
    assert shown.last_view[-1].endswith(CURVE)


def test_ctrl_c_leaves_a_clean_terminal(scripted: Scripted) -> None:
    asked = []

    def answer(said: str, terminal: int) -> None:
        if "ready" in said and not asked:
            asked.append(os.write(terminal, b"\x03"))

    shown = scripted(wait="signal.pause()", answer=answer)

    view, said = shown.raw.split("Traceback")
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert view.count("\x1b[?25l") == view.count("\x1b[?25h") == 1
    assert not any(line.startswith(("Training", "accuracy")) for line in shown.screen)


@pytest.mark.slow
def test_a_run_shows_its_figures_until_ctrl_c_ends_it_in_one_line(
    environment: dict[str, str], picture_folder: Callable[..., Path], tmp_path: Path
) -> None:
    asked = []

    def answer(said: str, terminal: int) -> None:
        if "from scratch 3/3" in said and not asked:  # what follows would take longer
            asked.append(os.write(terminal, b"\x03"))

    run = ["-m", "finetune", "run", "--data", str(picture_folder()), *tiny(epochs=3)]
    shown = in_terminal(run, {**environment, "TERM": "xterm-256color"}, 50, answer, tmp_path)

    *_, memory, loss, accuracy = shown.last_view
    assert shown.status == 130
    assert re.search(r"\d MB memory, peak \d", memory)
    assert re.fullmatch(r"loss +\d\.\d{3}  [▁▂▃▄▅▆▇█]{3}", loss)
    assert re.fullmatch(r"accuracy +\d+\.\d%  [▁▂▃▄▅▆▇█]{3}", accuracy)
    notes, ending = shown.screen[:-1], shown.screen[-1]
    assert any(line.startswith("• from scratch 3/3: loss ") for line in notes)
    assert not any(line.startswith(("loss", "accuracy", "Training")) for line in notes)
    assert ending.startswith("finetune: Stopped by SIGINT; go on with: finetune run --resume ")
