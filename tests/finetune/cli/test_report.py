"""``finetune report``: of one run its page, of several a comparison; what it prints and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.finetune.report.comparison.run_folders import cross_validation, draw, insects

from .conftest import Said, refusal
from .terminal import in_terminal


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [insects(tmp_path / "a", wrong=[0, 1, 2]), insects(tmp_path / "b")]


def test_of_one_run_the_page_is_made_again_and_its_path_printed(runs: list[Path], cli: Any) -> None:
    said = cli("report", runs[0])
    assert (said.status, said.out) == (0, f"{runs[0] / 'report.html'}\n")
    assert json.loads(cli("report", runs[0], "--json").out)["report"] == str(runs[0] / "report.html")


def test_of_several_runs_what_they_come_to_is_printed_and_where_the_page_is(
    runs: list[Path], tmp_path: Path, cli: Any
) -> None:
    said = cli("report", *runs)

    lines = [line.partition("  ") for line in said.out.splitlines()]
    assert said.status == 0
    assert [name for name, _, _ in lines] == ["run A", "run B", "B or A", "page"]
    assert lines[0][2].strip() == "a: validation accuracy 75.0% (95 % interval: 65.0% to 85.0%)"
    assert lines[2][2].startswith("On the same 12 validation pictures, run B has 25.0 points more accuracy than run A")
    assert lines[3][2].strip() == f"{tmp_path / 'comparison.html'}  (open in a browser)"
    assert (tmp_path / "comparison.html").is_file()


def test_the_page_may_be_elsewhere_and_the_figures_are_one_json_object(
    runs: list[Path], tmp_path: Path, cli: Any
) -> None:
    said = cli("report", *runs, "--out", "page.html", "--json")

    found = json.loads(said.out)
    assert found["comparison"] == "page.html"
    assert found["against"][0]["p_value"] == 0.25
    assert Path("page.html").is_file()
    assert not (tmp_path / "comparison.html").exists()


def test_the_folds_of_a_cross_validation_are_compared(tmp_path: Path, cli: Any) -> None:
    pictures = draw(tmp_path / "pictures", 12)
    folds = [insects(tmp_path / "crossed" / f"fold-{n}", pictures=pictures[n * 6 : n * 6 + 6]) for n in (0, 1)]
    crossed = cross_validation(tmp_path / "crossed", folds)

    said = cli("report", crossed)

    assert said.status == 0
    assert "Run B and run A have no validation picture in common" in said.out
    assert (crossed / "comparison.html").is_file()


def test_the_folder_where_the_pictures_are_now_is_asked_for_them(runs: list[Path], tmp_path: Path, cli: Any) -> None:
    (tmp_path / "pictures").rename(tmp_path / "moved")
    assert cli("report", *runs, "--data", tmp_path / "moved").status == 0
    assert "data:image/jpeg" in (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert refusal(cli("report", *runs, "--data", "none"), 3) == (
        "finetune: --data none is not a folder. Give the folder where the pictures are now."
    )


IN_A_TERMINAL = """
import os
os.dup2(os.open({printed!r}, os.O_WRONLY | os.O_CREAT), 1)
from finetune.cli import main
main({words})
"""


def test_beside_a_terminal_the_results_go_where_stdout_goes(
    runs: list[Path], tmp_path: Path, environment: dict[str, str]
) -> None:
    printed = tmp_path / "printed"
    words = ["report", *map(str, runs), "--json"]
    code = IN_A_TERMINAL.format(printed=str(printed), words=words)

    shown = in_terminal(["-c", code], {**environment, "TERM": "xterm-256color"}, cwd=tmp_path)

    assert shown.status == 0
    assert json.loads(printed.read_text())["comparison"] == str(tmp_path / "comparison.html")
    assert "comparison.html" not in shown.raw


ALONE = """
import sys
from finetune.cli import main
try:
    main({words})
finally:
    print([name for name in ("finetune.report.comparison", "finetune.evaluation.paired") if name in sys.modules])
"""


def test_the_page_of_one_run_needs_nothing_that_compares(runs: list[Path], process: Callable[..., Said]) -> None:
    said = process(code=ALONE.format(words=["report", str(runs[0])]))
    assert said.out.splitlines() == [str(runs[0] / "report.html"), "[]"]


def test_what_cannot_be_reported_is_refused_in_one_line(runs: list[Path], cli: Any) -> None:
    cases = {
        (): "finetune: There is no run to report. Name its folder, or those of several to compare.",
        (runs[0], "--out", "x.html"): (
            "finetune: --out x.html is for a comparison; the page of one run is in its folder. Leave --out out."
        ),
        (runs[0], runs[0]): f"finetune: {runs[0]} is named twice. Name each run once.",
        (runs[0], "none"): "finetune: none does not exist. Name the folder that a run was written to.",
        (*runs, "--out", "x.png"): "finetune: --out x.png is no name of a page; let it end in .html or .htm.",
    }
    assert {words: refusal(cli("report", *words), 2) for words in cases} == cases
