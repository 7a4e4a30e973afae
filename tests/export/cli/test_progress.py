"""How far a long command is: what the line says."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from finetune_export.cli.progress import Progress, _duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0:00"), (0.4, "0:00"), (59.6, "1:00"), (754, "12:34"), (3599, "59:59"), (3723, "1:02:03")],
)
def test_times_are_written_as_clocks_do(seconds: float, text: str) -> None:
    assert _duration(seconds) == text


def test_pictures_of_an_earlier_run_are_counted_but_not_for_the_speed() -> None:
    progress = Progress("finetune", None, done=1_000_000)

    assert list(progress.following([["a", "b"], ["c"]])) == [["a", "b"], ["c"]]

    counted = re.fullmatch(r"1,000,003 pictures, ([\d.]+)/s", progress.text())
    assert counted
    assert float(counted[1]) > 0


def test_where_there_is_no_terminal_nothing_is_said_of_a_short_run(
    capsys: pytest.CaptureFixture[str], tree: Callable[..., object]
) -> None:
    list(Progress("finetune", lambda: pytest.fail("counted for nobody")).following([["a"]] * 10))

    assert capsys.readouterr() == ("", "")
