"""The report of real runs in a real browser: all of it is there, loads, and can be used by hand and by keyboard."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finetune.charts import Rung, standings
from finetune.plugins import load_plugins
from finetune.report.asking import Asked, ask
from finetune.report.rendering import page
from finetune.report.sections.classes import classes
from finetune.report.sections.confusion import confusion
from finetune.report.sections.mistakes import mistakes

from .sections.drawn_run import drawn, records_of
from .test_in_a_browser import CUT

ALL = (
    "Summary",
    "Scores",
    "Mistakes",
    "Learning curves",
    "Map of the pictures",
    "Classes",
    "Exported files",
    "Provenance",
)
OF_TASK = {
    "single-label": {"Confusion", "Calibration"},
    "multi-label": {"Calibration"},
    "regression": {"True and predicted values"},
}
LARGEST_BYTES = 5_000_000
CHINESE = "中文类别名称很长很长用来测试表头和图例是否会在任何地方被截断或者重叠起来"
ARABIC = "اسم عربي طويل جدا لاختبار رؤوس الأعمدة"
NAMES = tuple(f"{(CHINESE if at % 2 else ARABIC)[:36]:_<36} {at:03}" for at in range(120))
EACH = "all => all.map(each => each.naturalWidth)"


class Opened:
    """A page on a screen of some width, and what went wrong on it."""

    def __init__(self, browser: Any, path: Path, width: int) -> None:
        self.faults: list[str] = []
        self._context = browser.new_context(viewport={"width": width, "height": 844})
        self.shown = self._context.new_page()
        self.shown.on("console", lambda message: self.faults.append(message.text))
        self.shown.on("pageerror", lambda error: self.faults.append(str(error)))
        self._context.on("request", lambda request: self.faults.append(request.url))
        self.shown.goto(path.as_uri())
        self.faults.remove(path.as_uri())

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()

    @property
    def width(self) -> int:
        """How wide the page is, which is how wide the screen is where nothing overflows."""
        return int(self.shown.evaluate("document.documentElement.scrollWidth"))

    def cut(self) -> list[str]:
        """Return texts of names that are larger than the room they have."""
        found: list[str] = self.shown.eval_on_selector_all(
            ".matrix th span, figcaption p, .caption, table:not(.matrix table) th, .legend span", CUT
        )
        return found


def seen_whole(opened: Opened, width: int) -> None:
    """Hold a page against what every page promises."""
    widths = opened.shown.eval_on_selector_all("img", EACH)
    assert (opened.faults, opened.width, opened.cut()) == ([], width, [])
    assert widths
    assert all(widths)


@pytest.mark.parametrize("width", [390, 1200])
def test_the_report_of_a_run_is_there_with_all_it_promises(width: int, trained: Any, browser: Any) -> None:
    report = trained.result.run / "report.html"
    with Opened(browser, report, width) as opened:
        shown = opened.shown
        headings = shown.locator("main h2:visible").all_inner_texts()
        seen_whole(opened, width)
        heat_maps = shown.locator("#section-mistakes .pairs img:nth-child(2)").count()
        table = shown.locator("#section-scores table.sortable").first
        given = table.locator("tbody th").all_inner_texts()
        table.locator("thead button").first.click()
        by_name = table.locator("tbody th").all_inner_texts()
        shown.hover(".map .beside path >> nth=-1", force=True)
        pointed = shown.eval_on_selector_all(".panel img", EACH)
        shown.focus(".map .beside svg")
        shown.keyboard.press("Home")
        by_key = shown.eval_on_selector_all(".panel img", EACH)
        said = shown.inner_text("#said")

    assert set(headings) >= {*ALL, *OF_TASK["single-label"], "Faults in the data"}
    assert heat_maps > 0
    assert by_name == sorted(given) != given
    assert (len(pointed), len(by_key)) == (1, 1)
    assert all((*pointed, *by_key))
    assert "shows" in said
    assert report.stat().st_size < LARGEST_BYTES


def test_the_report_of_a_run_on_a_table_is_there_with_all_it_promises(trained_on_table: Any, browser: Any) -> None:
    report = trained_on_table.result.run / "report.html"
    with Opened(browser, report, 390) as opened:
        headings = opened.shown.locator("main h2:visible").all_inner_texts()
        seen_whole(opened, 390)

    assert set(headings) >= {*ALL, *OF_TASK[trained_on_table.result.task]}
    assert "Confusion" not in headings
    assert report.stat().st_size < LARGEST_BYTES


@pytest.fixture(scope="module")
def of_long_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 120 classes whose names are 40 letters long, Chinese and Arabic ones."""
    folder = tmp_path_factory.mktemp("names")
    rows = [*drawn(folder, NAMES, "train"), *drawn(folder, NAMES, "valid")]
    answers = np.full((len(NAMES), len(NAMES)), 0.1 / (len(NAMES) - 1))
    answers[np.arange(len(NAMES)), (np.arange(len(NAMES)) + np.arange(len(NAMES)) % 7 // 6) % len(NAMES)] = 0.9
    records = records_of(rows, NAMES, answers, np.arange(len(NAMES)))
    sections = [
        Asked(name=build.__name__, title=build.__name__, blocks=tuple(build(records)))
        for build in (confusion, mistakes, classes)
    ]
    path = folder / "report.html"
    path.write_text(page("names", "long", sections), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [390, 1200])
def test_no_name_of_a_hundred_long_ones_in_other_scripts_is_cut(width: int, of_long_names: Path, browser: Any) -> None:
    with Opened(browser, of_long_names, width) as opened:
        seen_whole(opened, width)
        sheets = opened.shown.locator("#section-classes .sheet .caption").all_inner_texts()
        heads = opened.shown.locator(".matrix tbody th").all_text_contents()
        opened.shown.emulate_media(media="print")
        on_paper = opened.width

    assert {len(name) for name in NAMES} == {40}
    assert heads == list(NAMES)
    assert [any(name in sheet for sheet in sheets) for name in NAMES] == [True] * len(NAMES)
    assert on_paper == width


def test_no_chart_of_a_report_is_empty(trained: Any) -> None:
    from finetune.evaluation.catalogue import shares_of
    from finetune.report.reading import read_records

    plugins = load_plugins()
    records = read_records(trained.result.run, shares_of(plugins.metrics), {})
    charts = [
        drawing
        for section in ask(plugins, records, pytest.fail)
        for block in section.blocks
        if hasattr(block, "dark_png")
        for drawing in (block.png, block.dark_png)
    ]

    assert len(charts) >= 6
    assert min(map(drawn_share, charts)) > 0.005


def test_scores_stand_on_one_axis_also_where_they_are_no_shares() -> None:
    rungs = [Rung("the model", 0.91, (0.8, 0.95), is_model=True), Rung("phase '$x_' of a plugin " * 9, -3.5)]
    light, dark = (Image.open(io.BytesIO(png)) for png in (lambda d: (d.light, d.dark))(standings(rungs, "r2", False)))
    assert light.size == dark.size
    assert (light.getpixel((0, 0)), dark.getpixel((0, 0))) == ((255, 255, 255, 255), (22, 24, 27, 255))
    with pytest.raises(ValueError, match="needs scores"):
        standings([], "accuracy", is_share=True)


def drawn_share(png: bytes) -> float:
    """Return the share of a chart's pixels that are not of its paper."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    return float((np.abs(pixels - pixels[0, 0]).max(axis=-1) > 32).mean())
