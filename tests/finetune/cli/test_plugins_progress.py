"""What plugins and rules say while a command works, on a terminal and elsewhere."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from finetune.cli.progress import RichReporter

SAID = "[bold]\x1b]0;owned\x07[/nothing]\x9b2J"
SHOWN = r"[bold]\x1b]0;owned\x07[/nothing]\x9b2J"


def test_a_note_is_shown_with_control_characters_escaped_and_brackets_as_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with RichReporter() as reporter:
        reporter.note(SAID)
        reporter.begin(SAID)

    assert capsys.readouterr().err == f"• {SHOWN}\n{SHOWN} …\n"


def test_the_bar_shows_titles_and_details_with_control_characters_escaped_and_brackets_as_they_are() -> None:
    terminal = io.StringIO()
    with RichReporter() as reporter:
        reporter.begin(f"title {SAID}", 2)
        reporter.advance(detail=f"detail {SAID}")
        console = Console(file=terminal, width=300, color_system=None, force_terminal=False)
        console.print(reporter._progress.get_renderable())

    (line,) = terminal.getvalue().splitlines()
    assert f"title {SHOWN}" in line
    assert f"detail {SHOWN}" in line
    assert not re.search(r"[\x07\x1b\x9b]", line)
