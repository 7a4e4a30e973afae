"""The report in a real browser: on a phone and on a wide screen, light and dark, asking nobody for anything."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from finetune.report import make_again

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
WIDE_TABLE = (
    "return [Table(tuple(f'column {n}' for n in range(40)), (('x' * 200,) * 40,), 'Wide'), Paragraph('y' * 500)]"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; it ends with the module, for Playwright keeps an event loop running in this thread."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not here: install it to test the report in a browser")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_is_asked_for_nothing_is_wrong_and_nothing_overflows(
    width: int, scheme: str, browser: Any, run_of: Any, section: Any
) -> None:
    section(WIDE_TABLE)
    path = make_again(run_of(), pytest.fail)
    faults: list[str] = []
    with browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme) as context:
        shown = context.new_page()
        shown.on("console", lambda message: faults.append(message.text))
        shown.on("pageerror", lambda error: faults.append(str(error)))
        shown.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        context.on("request", lambda request: faults.append(request.url))
        shown.goto(path.as_uri())
        pictures = shown.eval_on_selector_all("img", "all => all.map(each => each.naturalWidth)")
        page_width = shown.evaluate("document.documentElement.scrollWidth")
        paper = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        shown.click("nav a >> nth=-1")
        reached = shown.eval_on_selector("section:last-of-type h2", "each => each.getBoundingClientRect().top < 844")

    assert faults == [path.as_uri()]
    assert (page_width, pictures, reached) == (width, [1200], True)
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 27)"}[scheme]
