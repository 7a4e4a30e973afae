"""Pages in a real browser: on a phone and on a wide screen, light, dark and on paper, asking nobody for anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune.report.asking import Asked
from finetune.report.rendering import page
from finetune.types import Paragraph, Table

from .blocks import ALL, ARABIC, COUNTS, NAMES, SCRIPT

WIDE = (Table(tuple(f"column {n}" for n in range(40)), (("x" * 200,) * 40,), "Wide"), Paragraph("y" * 500))
SECTIONS = [
    *(Asked(name=type(block).__name__.lower(), title=f"A {type(block).__name__}", blocks=(block,)) for block in ALL),
    Asked(name="wide", title=SCRIPT, blocks=WIDE),
    Asked(name="broken", title="Broken", problem="The section 'broken' failed."),
]
MATRIX = """table => Object.fromEntries([...table.tBodies[0].rows].flatMap(row => [...row.cells].slice(1).map(
  cell => [row.cells[0].textContent + " / " + table.tHead.rows[0].cells[cell.cellIndex].textContent,
    Number(cell.textContent)])))"""
HEADS = "table => [[...table.tHead.rows[0].cells], [...table.tBodies[0].rows].map(row => row.cells[0])].map(heads =>"
CUT = """all => all.filter(each => each.scrollWidth > each.clientWidth + 1 || each.scrollHeight > each.clientHeight + 1)
  .map(each => each.textContent)"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every kind of block, on disk."""
    made: Path = tmp_path_factory.mktemp("report") / "report.html"
    made.write_text(page("insects, tiny", "Report of the run one", SECTIONS), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def opened(browser: Any, path: Path) -> Iterator[Any]:
    """The page on a wide, dark screen; every test leaves it so that others can go on."""
    with browser.new_context(viewport={"width": 1200, "height": 900}, color_scheme="dark") as context:
        shown = context.new_page()
        shown.goto(path.as_uri())
        yield shown


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1200, "light")])
def test_nothing_is_asked_for_nothing_is_wrong_and_nothing_overflows(
    width: int, scheme: str, browser: Any, path: Path
) -> None:
    faults: list[str] = []
    with browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme) as context:
        shown = context.new_page()
        shown.on("console", lambda message: faults.append(message.text))
        shown.on("pageerror", lambda error: faults.append(str(error)))
        shown.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        context.on("request", lambda request: faults.append(request.url))
        shown.goto(path.as_uri())
        sizes = shown.eval_on_selector_all("img", "all => all.map(each => each.naturalWidth)")
        page_width = shown.evaluate("document.documentElement.scrollWidth")
        paper = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        cut = shown.eval_on_selector_all(".matrix th, .matrix th span", CUT)
        sections = shown.locator("main section:visible").count()
        drawn = shown.locator(".drawing:visible").evaluate("each => each.naturalWidth")
        shown.click("nav a >> nth=-1")
        reached = shown.eval_on_selector("section:last-of-type h2", "each => each.getBoundingClientRect().top < 844")

    assert faults == [path.as_uri()]
    assert (page_width, sorted(sizes), cut, sections, reached) == (
        *(width, [24, 24, 24, 800, 1200], [], len(SECTIONS), True),
    )
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 27)"}[scheme]
    assert drawn == {"light": 1200, "dark": 800}[scheme]


def test_a_script_that_came_in_as_markup_is_not_run(browser: Any, path: Path) -> None:
    hostile = path.with_name("hostile.html")
    found_its_way = "<script>document.title = 'ran'</script><img src=data:, onerror=\"document.title = 'ran'\"></main>"
    hostile.write_text(path.read_text("utf-8").replace("</main>", found_its_way), encoding="utf-8")
    refusals: list[str] = []
    with browser.new_context() as context:
        shown = context.new_page()
        shown.on("console", lambda message: refusals.append(message.text))
        shown.goto(hostile.as_uri())
        shown.wait_for_function("document.querySelector('img[onerror]').complete")
        title = shown.title()

    assert title == "insects, tiny"
    assert sum("script-src" in text for text in refusals) == 2


def test_without_its_script_the_page_is_all_there_to_be_read(browser: Any, path: Path) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        shown = context.new_page()
        shown.goto(path.as_uri())
        cells = shown.locator("#section-confusion td:visible").count()
        rest = [shown.locator(f"{each}:visible").count() for each in ("button", "select", ".panel", ".map svg path")]

    assert (cells, rest) == (36, [0, 0, 0, 8])


# ── tables ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_table_is_sorted_by_numbers_or_names_both_ways_and_back(opened: Any) -> None:
    def sorted_by(column: str) -> tuple[list[str], list[str | None]]:
        opened.click(f"#section-table thead button:has-text('{column}')")
        rows = opened.locator("#section-table tbody th").all_inner_texts()
        return rows, opened.eval_on_selector_all(
            "#section-table thead th", "all => all.map(each => each.getAttribute('aria-sort'))"
        )

    ten, nine, hostile, arabic = NAMES[0], NAMES[1], NAMES[4], ARABIC
    by_recall = sorted_by("recall"), sorted_by("recall"), sorted_by("recall")
    assert by_recall == (
        ([ten, arabic, hostile, nine], ["none", "none", "ascending"]),
        ([hostile, arabic, ten, nine], ["none", "none", "descending"]),
        ([ten, nine, hostile, arabic], ["none", "none", "none"]),
    )
    assert sorted_by("pictures")[0] == [hostile, nine, arabic, ten]
    assert opened.inner_text("#said") == "Sorted by pictures, ascending."
    assert sorted_by("label")[0] == [hostile, nine, ten, arabic]


# ── the matrix ──────────────────────────────────────────────────────────────────────────────────────


def test_a_matrix_is_reordered_with_its_counts(opened: Any) -> None:
    given = opened.eval_on_selector(".matrix table", MATRIX)
    orders = []
    for name in ("by name", "most mistakes first", "alike side by side", "as given"):
        opened.select_option(".matrix select", name)
        columns, rows = opened.eval_on_selector(".matrix table", f"{HEADS} heads.map(head => head.textContent))")
        assert columns[1:] == rows
        assert opened.eval_on_selector(".matrix table", MATRIX) == given
        assert opened.eval_on_selector_all(
            ".matrix tbody tr", "rows => rows.map((row, at) => row.cells[at + 1].className[0])"
        ) == ["r"] * len(NAMES)
        orders.append(rows)

    assert (len(given), orders[0][:3], orders[-1]) == (36, [NAMES[5], NAMES[4], NAMES[1]], list(NAMES))
    assert len({tuple(order) for order in orders}) >= 3


def test_pointing_at_a_cell_of_a_matrix_says_what_it_counts(opened: Any) -> None:
    opened.hover(".matrix tbody tr:nth-child(2) td:nth-child(2)")

    assert COUNTS[1][0] == 1
    assert opened.inner_text(".matrix .pointed") == f"1 picture of {NAMES[1]} answered with {NAMES[0]}"


# ── the map ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_map_is_one_tab_stop_whose_pictures_arrow_keys_go_through(opened: Any) -> None:
    def pressed(key: str) -> str:
        opened.keyboard.press(key)
        return str(opened.inner_text("#said"))

    opened.focus(".map select")
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.getAttribute('role')") == "application"
    first = pressed("Home")
    assert first == "bees. is at 0 0"
    assert [pressed(key) for key in ("ArrowUp", "ArrowRight", "ArrowDown", "ArrowLeft")] == [
        "bees. is at 0 1",
        "ants. is at 1 1",
        f"{SCRIPT}. is at 1 0",
        first,
    ]
    assert opened.eval_on_selector(".panel img", "each => [each.naturalWidth, each.alt]") == [24, "at 0 0"]
    assert pressed("End") == "ants. is at 1 1"
    assert (pressed("Escape"), opened.locator(".panel img").count()) == ("", 0)
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.closest('.map')") is None


def test_pointing_near_a_picture_of_a_map_shows_it(opened: Any) -> None:
    box = opened.locator(".beside svg").bounding_box()
    opened.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] - 20)

    assert opened.locator(".panel p").all_inner_texts() == [SCRIPT, "is at 1 0"]
    assert opened.get_attribute(".ring", "visibility") == "visible"


def test_one_group_of_a_map_can_be_shown_alone(opened: Any) -> None:
    opened.select_option(".map select", SCRIPT)
    dim = opened.locator(".beside path.dim").count()
    opened.select_option(".map select", "all")

    assert (dim, opened.locator(".beside path.dim").count()) == (3, 0)


# ── paper ───────────────────────────────────────────────────────────────────────────────────────────


def test_on_paper_a_dark_page_is_light_and_has_nothing_to_press(opened: Any) -> None:
    opened.emulate_media(media="print")
    shown = opened.locator(".drawing:visible").evaluate_all("all => all.map(each => each.naturalWidth)")
    paper = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    pressed = [opened.locator(f"{each}:visible").count() for each in ("nav", ".skip", "select", ".panel", ".ring")]
    stuck = opened.eval_on_selector_all(
        "th", "all => all.filter(each => getComputedStyle(each).position == 'sticky').length"
    )
    opened.emulate_media(media="screen")

    assert (shown, paper, pressed, stuck) == ([1200], "rgb(255, 255, 255)", [0] * 5, 0)
