"""What plugins and rules say while a command works, on a terminal and elsewhere."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from finetune.cli.live_view import LiveView
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


def test_the_view_shows_titles_details_and_figures_with_control_characters_escaped_and_brackets_as_they_are() -> None:
    console = Console(file=io.StringIO(), width=300, color_system=None, force_terminal=False)
    view = LiveView(console)
    view.begin(f"title {SAID}", 2)
    view.advance(detail=f"detail {SAID}")
    view.figure(f"name {SAID}", 0.5, f"value {SAID}")

    console.print(view.drawn())

    written = console.file.getvalue()  # type: ignore[attr-defined]
    for what in ("title", "detail", "name", "value"):
        assert f"{what} {SHOWN}" in written
    assert not re.search(r"[\x07\x1b\x9b]", written)
