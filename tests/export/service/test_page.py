"""The page in a real browser: every way in, what goes wrong, and that nothing comes from or goes to anywhere else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune_export import Predictor
from finetune_export.contract import Contract
from finetune_export.service import page as page_room

from .conftest import DESKTOP, Visit

playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright, which is not here")

REFUSED = "Failed to load resource: the server responded with a status of"  # Chromium says so of every 4xx
HOSTILE = "<img src=x onerror=alert(1)>"
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def label(model_path: Path, jpeg: bytes) -> str:
    """What the model answers for the picture."""
    return Predictor(model_path).predict(jpeg)[0].label


# ── ways in ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_chosen_picture_is_shown_with_its_answer(
    service: Any, visit: Callable[..., Visit], picture_file: Path, model_path: Path
) -> None:
    seen = visit(service)
    seen.page.set_input_files("#file", picture_file)
    expected = Predictor(model_path).predict(picture_file)[0]
    assert seen.shown("#label") == expected.label
    assert seen.shown("#probability") == f"{expected.probability:.1%}"
    rows = [row.split("\n") for row in seen.page.locator("#classes li").all_inner_texts()]
    assert rows == [[label, f"{share:.1%}"] for label, share in expected.top(5)]
    widths = [bar.evaluate("bar => bar.style.width") for bar in seen.page.locator(".bar").all()]
    assert [float(width.rstrip("%")) for width in widths] == pytest.approx(
        [100 * p for _, p in expected.top(5)], abs=0.01
    )
    version = Predictor(model_path).contract.graph_sha256[:12]
    assert re.fullmatch(rf"\d+ ms in the service, \d+ ms in all\ninsects, version {version}", seen.shown("#facts"))
    assert seen.page.get_by_role("img", name="photo.jpg").is_visible()


def test_a_dropped_picture_is_classified(
    service: Any, visit: Callable[..., Visit], picture_file: Path, label: str
) -> None:
    seen = visit(service)
    devtools = seen.page.context.new_cdp_session(seen.page)
    dragged = {"items": [], "files": [str(picture_file)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver"):
        devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 30, "y": 700, "data": dragged})
    seen.page.locator("#drop.over").wait_for()
    devtools.send("Input.dispatchDragEvent", {"type": "drop", "x": 30, "y": 700, "data": dragged})
    assert seen.shown("#label") == label
    assert seen.page.locator("#drop.over").count() == 0


def test_a_pasted_picture_is_classified(service: Any, visit: Callable[..., Visit]) -> None:
    seen = visit(service)
    seen.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    seen.page.evaluate(
        """async () => {
            const canvas = new OffscreenCanvas(40, 30);
            canvas.getContext("2d").fillRect(5, 5, 20, 20);
            const picture = await canvas.convertToBlob();
            await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
        }"""
    )
    seen.page.keyboard.press("Control+V")
    assert seen.shown("#probability").endswith("%")
    assert seen.page.get_by_role("img", name="image.png").is_visible()


def test_pasted_text_changes_nothing(service: Any, visit: Callable[..., Visit]) -> None:
    seen = visit(service)
    seen.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    seen.page.evaluate("navigator.clipboard.writeText('no picture')")
    seen.page.keyboard.press("Control+V")
    assert seen.page.locator("#outcome").is_hidden()
    assert seen.sent == []


def test_a_phone_offers_its_camera_and_never_scrolls_sideways(
    service: Any, visit: Callable[..., Visit], picture_file: Path, label: str
) -> None:
    seen = visit(service, PHONE, has_touch=True, is_mobile=True)
    assert seen.page.locator("#camera").get_attribute("capture") == "environment"
    assert seen.page.get_by_text("Take a photo").is_visible()
    seen.page.set_input_files("#camera", picture_file)
    assert seen.shown("#label") == label
    for target in seen.page.locator(".button:visible, button:visible").all():
        assert target.bounding_box()["height"] >= 44
    assert seen.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_on_a_desktop_the_answer_stands_beside_the_picture(
    service: Any, visit: Callable[..., Visit], picture_file: Path
) -> None:
    seen = visit(service)
    assert seen.page.get_by_text("Take a photo").is_hidden()
    seen.page.set_input_files("#file", picture_file)
    seen.page.locator("#result").wait_for()
    drop, result = (seen.page.locator(each).bounding_box() for each in ("#drop", "#result"))
    assert result["x"] >= drop["x"] + drop["width"]
    assert abs(result["y"] - drop["y"]) < 2
    assert seen.page.evaluate("document.documentElement.scrollWidth") == DESKTOP["width"]


def test_everything_works_with_the_keyboard(
    service: Any, visit: Callable[..., Visit], picture_file: Path, label: str
) -> None:
    seen = visit(service)
    seen.page.keyboard.press("Tab")
    with seen.page.expect_file_chooser() as chooser:
        seen.page.keyboard.press("Enter")
    chooser.value.set_files(picture_file)
    assert seen.shown("#label") == label
    seen.page.keyboard.press("Tab")
    seen.page.keyboard.press("ArrowRight")
    assert seen.page.get_by_role("radio", name="curl").is_checked()
    assert seen.shown('[data-language="curl"]').startswith("curl ")


def test_screen_readers_are_told_what_things_are_and_what_changes(
    service: Any, visit: Callable[..., Visit], picture_file: Path
) -> None:
    seen = visit(service)
    page = seen.page
    page.set_input_files("#file", picture_file)
    page.get_by_role("region", name="Result").wait_for()
    assert page.locator("#outcome").get_attribute("aria-live") == "polite"
    assert page.get_by_role("heading", level=1).inner_text() == "Ask about a picture"
    assert page.get_by_role("list").get_by_role("listitem").count() == 3
    assert page.get_by_role("group", name="Language").get_by_role("radio").count() == 3
    controls = "[...document.querySelectorAll('input, select, button')]"
    unnamed = f"{controls}.filter(each => !each.labels?.length && !each.ariaLabel && !each.innerText)"
    assert page.evaluate(f"{unnamed}.length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_easy_to_read_in_both_schemes(
    scheme: str, service: Any, visit: Callable[..., Visit], picture_file: Path
) -> None:
    seen = visit(service, color_scheme=scheme)
    seen.page.set_input_files("#file", picture_file)
    seen.page.locator("#result").wait_for()
    pairs = {("--ink", "--card"), ("--quiet", "--card"), ("--quiet", "--ground"), ("--accent", "--card")}
    pairs |= {("--on-accent", "--accent"), ("--bad", "--bad-ground"), ("--bad", "--card"), ("--ink", "--track")}
    script = "names => names.map(name => getComputedStyle(document.documentElement).getPropertyValue(name))"
    for pair in pairs:
        light, dark = sorted(map(luminance, seen.page.evaluate(script, list(pair))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, pair  # WCAG 2.2, 1.4.3, level AA


def luminance(colour: str) -> float:
    """Return the relative luminance of ``#rgb`` or ``#rrggbb``, 0 to 1, as WCAG 2.2 defines it."""
    digits = colour.strip().lstrip("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    shares = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return float(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────────


def test_a_file_that_is_no_picture_is_refused_by_name(
    service: Any, visit: Callable[..., Visit], picture_file: Path, label: str
) -> None:
    seen = visit(service)
    seen.page.set_input_files("#file", [{"name": f"{HOSTILE}.txt", "mimeType": "text/plain", "buffer": b"hello"}])
    message = "not a picture in a known format; allowed are JPEG, PNG, WEBP, BMP, GIF"
    assert seen.shown("#error") == f"{HOSTILE}.txt: {message}"
    assert seen.page.locator("#preview").is_hidden()
    assert [text for text in seen.said if not text.startswith(f"{REFUSED} 415")] == []
    seen.said.clear()
    seen.page.set_input_files("#file", picture_file)
    assert seen.shown("#label") == label
    assert seen.page.locator("#error").is_hidden()


def test_a_file_that_is_too_large_is_not_even_sent(service: Any, visit: Callable[..., Visit], tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(10 * 2**20 + 1))
    seen = visit(service)
    seen.page.set_input_files("#file", large)
    assert seen.shown("#error") == "large.jpg: 10.0 MB; at most 10.0 MB are allowed"
    assert seen.sent == []


def test_a_service_that_has_stopped_is_told(
    serve: Any, visit: Callable[..., Visit], model: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model)
    service = serve(path)
    seen = visit(service)
    seen.page.get_by_text("Model model").wait_for()
    service.stop()
    seen.page.set_input_files("#file", [{"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"x"}])
    assert seen.shown("#error") == "a.jpg: no answer; the service has stopped, or the file cannot be read"
    assert [text for text in seen.said if "ERR_CONNECTION_REFUSED" not in text] == []
    seen.said.clear()


def test_class_names_are_text_and_never_markup(
    serve: Any,
    visit: Callable[..., Visit],
    make_graph: Callable[..., Any],
    seal: Callable[..., bytes],
    contract: Contract,
    tmp_path: Path,
    picture_file: Path,
) -> None:
    labels = (HOSTILE, "</li><script>alert(2)</script>", "x" * 300)
    path = tmp_path / "hostile.onnx"
    path.write_bytes(seal(make_graph(), replace(contract, labels=labels, thresholds=dict.fromkeys(labels, 1.0))))
    seen = visit(serve(path), PHONE)
    seen.page.set_input_files("#file", picture_file)
    seen.page.locator("#result").wait_for()
    assert set(seen.page.locator("#classes bdi").all_text_contents()) == set(labels)
    assert seen.shown("#abstains") == "Below the model’s threshold for this label: it would rather not say."
    assert seen.page.evaluate("document.images.length + document.querySelectorAll('script:not([src])').length") == 0
    assert seen.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_of_two_pictures_the_later_one_is_answered(
    service: Any, visit: Callable[..., Visit], picture_file: Path, label: str
) -> None:
    seen = visit(service)
    held: list[Any] = []
    seen.page.route("**/predict", lambda route: held.append(route) if not held else route.continue_())
    seen.page.set_input_files("#file", [{"name": "slow.txt", "mimeType": "text/plain", "buffer": b"no picture"}])
    assert seen.shown("#status") == "Asking about slow.txt …"
    seen.page.set_input_files("#file", picture_file)
    assert seen.shown("#label") == label
    with suppress(playwright.Error):  # the page has given it up already
        held[0].fulfill(status=415, json={"error": "too late"})
    assert seen.shown("#label") == label
    assert seen.page.locator("#error").is_hidden()


def test_several_files_at_once_are_refused(service: Any, visit: Callable[..., Visit], picture_file: Path) -> None:
    seen = visit(service)
    devtools = seen.page.context.new_cdp_session(seen.page)
    dragged = {"items": [], "files": [str(picture_file)] * 2, "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 100, "data": dragged})
    assert seen.shown("#error") == "2 files: one picture at a time, please"
    assert seen.sent == []


# ── models and tokens ───────────────────────────────────────────────────────────────────────────────


def test_another_model_is_asked_when_it_is_chosen(
    serve: Any,
    visit: Callable[..., Visit],
    make_graph: Callable[..., Any],
    seal: Callable[..., bytes],
    contract: Contract,
    tmp_path: Path,
    picture_file: Path,
) -> None:
    one, other = tmp_path / "one.onnx", tmp_path / "other.onnx"
    one.write_bytes(seal(make_graph()))
    other.write_bytes(seal(make_graph(), replace(contract, labels=("x", "y", "z"))))
    seen = visit(serve(one, other))  # and a picture is given before the page can know that there are two
    seen.page.set_input_files("#file", picture_file)
    assert seen.shown("#label") in contract.labels
    seen.page.get_by_label("Model").select_option("other")
    seen.page.get_by_text("other, version").wait_for()
    assert seen.shown("#label") in ("x", "y", "z")
    assert seen.sent == ["/models/one/predict", "/models/other/predict"]
    assert f"{seen.origin}/models/other/predict" in seen.shown('[data-language="python"]')


def test_a_token_is_asked_for_and_kept_nowhere(
    serve: Any, visit: Callable[..., Visit], model_path: Path, tmp_path: Path, picture_file: Path, label: str
) -> None:
    token = tmp_path / "token"
    token.write_text("open-sesame")
    seen = visit(serve(model_path, "--token-file", token))
    seen.page.set_input_files("#file", picture_file)
    assert seen.shown("#error") == "photo.jpg: waiting for the token"
    assert seen.sent == []
    field = seen.page.get_by_label("This service asks for a token.")
    field.fill("open-barley")
    seen.page.keyboard.press("Enter")
    seen.page.get_by_text("photo.jpg: a valid bearer token is needed").wait_for()
    assert [text for text in seen.said if not text.startswith(f"{REFUSED} 401")] == []
    seen.said.clear()
    field.fill("open-sesame")
    seen.page.keyboard.press("Enter")
    seen.page.get_by_text("Model model").wait_for()
    assert field.is_hidden()
    assert seen.shown("#label") == label
    assert seen.page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
    assert "open-sesame" not in seen.page.content()
    assert field.input_value() == ""


# ── the examples on it ──────────────────────────────────────────────────────────────────────────────


def command(language: str, code: str, folder: Path) -> list[str]:
    """Write a snippet down, and return the command that runs it."""
    if language == "python":
        return [sys.executable, "-W", "error", "-c", code]
    if language == "curl":
        return ["sh", "-c", code.replace("curl ", "curl --silent --show-error ")]
    (folder / "snippet.mjs").write_text(code, encoding="utf-8")
    return ["node", "snippet.mjs"]


@pytest.mark.parametrize("language", ["python", "curl", "javascript"])
@pytest.mark.parametrize("secured", [False, True])
def test_the_snippets_do_what_they_say(
    language: str,
    secured: bool,
    service: Any,
    serve: Any,
    visit: Callable[..., Visit],
    model_path: Path,
    tmp_path: Path,
    picture_file: Path,
    label: str,
) -> None:
    needed = {"python": sys.executable, "curl": "curl", "javascript": "node"}[language]
    if shutil.which(needed) is None:
        pytest.skip(f"{needed} is not installed")
    if secured:
        (tmp_path / "token").write_text("open-sesame")
        service = serve(model_path, "--token-file", tmp_path / "token")
    seen = visit(service)
    seen.page.locator(f"label:has([value={language}])").click()
    code = seen.shown(f'[data-language="{language}"]')
    assert ("FINETUNE_TOKEN" in code) == secured
    done = subprocess.run(
        command(language, code, tmp_path),
        cwd=picture_file.parent,
        env={**os.environ, "FINETUNE_TOKEN": "open-sesame"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert label in done.stdout
    assert done.stderr == ""


def test_a_snippet_is_copied_as_it_is_shown(service: Any, visit: Callable[..., Visit]) -> None:
    seen = visit(service)
    seen.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    seen.page.get_by_role("button", name="Copy").click()
    seen.page.get_by_role("button", name="Copied").wait_for()
    copied = seen.page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == seen.shown('[data-language="python"]').strip()
    assert "FINETUNE_TOKEN" not in copied


# ── its files ───────────────────────────────────────────────────────────────────────────────────────


def test_the_page_and_its_parts_are_served_with_their_types(service: Any) -> None:
    types = {path: service.request("GET", path).headers["content-type"] for path in page_room.FILES}
    assert types == {
        "/": "text/html; charset=utf-8",
        "/page.css": "text/css; charset=utf-8",
        "/page.js": "text/javascript; charset=utf-8",
        "/icon.svg": "image/svg+xml",
    }
    answer = service.request("GET", "/")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_the_page_has_no_inline_script_or_style_and_nothing_from_elsewhere(service: Any) -> None:
    text = service.request("GET", "/").body.decode()
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bon[a-z]+=|\bstyle=|javascript:", text) == []
    assert set(re.findall(r'(?:src|href)="([^"]*)"', text)) == {"icon.svg", "page.css", "page.js", "openapi.json"}


def test_the_page_states_the_limits_of_the_service(serve: Any, model_path: Path) -> None:
    text = serve(model_path, "--max-body-mb", "3").request("GET", "/").body.decode()
    assert "JPEG, PNG, WEBP, BMP or GIF, up to 3&nbsp;MB" in text
    assert f'data-max-bytes="{3 * 2**20}"' in text
