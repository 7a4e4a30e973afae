"""The page in Chromium: it proves itself, answers as Python does, keeps to itself, and works offline."""

from __future__ import annotations

import base64
import io
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from finetune.networks.network import assemble, build_backbone
from finetune.plugins import load_plugins
from finetune.targets.to_onnx import to_onnx
from finetune_export import Predictor
from finetune_export.contract import Contract

PASSED = "Self-check passed: test pictures are answered here as at export."
HOSTILE = "<img src=x onerror=alert(1)>"

Make = Callable[..., Any]


@pytest.fixture
def web(page_folder: Path, install: Make) -> Path:
    """A page with its runtime, ready to be served."""
    return install(page_folder)  # type: ignore[no-any-return]


def drawn(seed: int = 3, mode: str = "RGB", size: tuple[int, int] = (120, 90)) -> Image.Image:
    """A picture that is smooth, as photos are, and has another colour in each corner."""
    corners = np.random.default_rng(seed).integers(0, 256, (3, 3, len(mode)), dtype=np.uint8)
    return Image.fromarray(corners).resize(size, Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def every_kind() -> dict[str, bytes]:
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = Image.fromarray(np.asarray(drawn(5).convert("L")).astype(np.uint16) * 257)
    return {
        "turned.jpg": encoded(drawn(1), "JPEG", exif=turned),
        "colour.png": encoded(drawn(2)),
        "clear.png": encoded(drawn(3, "RGBA")),
        "clear.webp": encoded(drawn(4, "RGBA"), "WEBP", lossless=True),
        "turned.webp": encoded(drawn(4), "WEBP", exif=turned),
        "grey.jpg": encoded(drawn(5).convert("L"), "JPEG"),
        "deep.png": encoded(deep),
        "moving.gif": encoded(drawn(6), "GIF", save_all=True, append_images=[drawn(7)]),
        "plain.bmp": encoded(drawn(8), "BMP"),
    }


def assert_answers_as_python(visit: Any, predictor: Predictor, data: bytes, difference: float = 1e-4) -> None:
    visit.choose(data)
    (expected,) = predictor.predict(data)
    found = visit.answer()
    assert visit.text("#top") == expected.label
    assert found.keys() == set(expected.labels)
    assert max(abs(found[label] - probability) for label, probability in expected.top(99)) <= difference


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────


def test_every_kind_of_picture_is_answered_as_in_python(ready: Any, page_folder: Path) -> None:
    assert ready.text("#status") == PASSED
    predictor = Predictor(page_folder / "model.onnx")
    for data in every_kind().values():
        assert_answers_as_python(ready, predictor, data)
    assert ready.faults == []


def test_a_real_network_is_answered_as_in_python(
    visit: Make, install: Make, export_page: Make, contract: Contract
) -> None:
    torch.manual_seed(0)
    labels, size = ("ant", "bee", "wasp"), 32
    body = build_backbone(load_plugins().find_backbone("squeezenet1_1"), size)
    preprocessing = replace(contract.preprocessing, image_size_px=size)
    small = replace(contract, labels=labels, preprocessing=preprocessing)
    web = install(export_page(to_onnx(assemble(body, len(labels), size, "linear").eval(), small), small).path)
    page = visit(web).open()
    assert_answers_as_python(page, Predictor(web / "model.onnx"), encoded(drawn()))
    assert page.faults == []


def test_bars_begin_with_the_most_probable_label_and_say_what_the_network_saw(ready: Any, page_folder: Path) -> None:
    ready.choose(encoded(drawn()))
    (expected,) = Predictor(page_folder / "model.onnx").predict(encoded(drawn()))
    shown = ready.page.eval_on_selector_all("#best li", "rows => rows.map(row => row.innerText.split('\\n'))")
    assert [(label, share) for label, share in shown] == [(label, f"{100 * p:.1f} %") for label, p in expected.top(5)]
    assert ready.text("#count") == "All other labels (2)"
    assert ready.page.get_attribute("#seen", "width") == "24"
    assert ready.page.is_visible("#preview")


def test_a_label_below_its_threshold_is_not_claimed(
    visit: Make, install: Make, export_page: Make, make_model: Make, contract: Contract
) -> None:
    careful = replace(contract, thresholds=dict.fromkeys(contract.labels, 1.0))
    page = visit(install(export_page(make_model(careful), careful).path)).open()
    page.choose(encoded(drawn()))
    assert page.text("#top") == "Not sure"
    assert page.text("#certainty").endswith("is less than the 100.0 % it needs")


# ── ways in ─────────────────────────────────────────────────────────────────────────────────────────

TRANSFER = """([text, kind]) => {
  const transfer = new DataTransfer();
  if (text) transfer.items.add(new File([Uint8Array.fromBase64(text)], "picture"));
  const event = kind === "paste"
    ? new ClipboardEvent(kind, { clipboardData: transfer, bubbles: true, cancelable: true })
    : new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
  document.getElementById("stage").dispatchEvent(event);
}"""


def test_a_late_answer_for_an_earlier_picture_is_dropped(ready: Any) -> None:
    slow, broken = encoded(drawn(1, size=(2000, 1500)), "BMP"), b"This is no picture."
    drop_both = f"""async (files) => {{
      files.forEach((text) => ({TRANSFER})([text, "drop"]));
      const {{ decode }} = await import("./decoding.js");
      for (const _ of [1, 2]) await decode(new Blob([Uint8Array.fromBase64(files[0])])); // longer than the page needs
    }}"""
    ready.page.evaluate(drop_both, [base64.b64encode(data).decode() for data in (slow, broken)])
    assert ready.text("#message").startswith("This is not a picture in a known format")
    assert not ready.page.is_visible("#result")


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_a_picture_can_be_pasted_and_dropped(ready: Any, page_folder: Path, way: str) -> None:
    ready.page.evaluate(TRANSFER, [base64.b64encode(encoded(drawn())).decode(), way])
    ready.page.wait_for_selector("#result:not([hidden])")
    assert ready.text("#top") == Predictor(page_folder / "model.onnx").predict(encoded(drawn()))[0].label
    ready.page.evaluate(TRANSFER, ["", way])
    assert ready.text("#message").startswith("There is no picture file in it")
    assert ready.faults == []


def test_the_camera_is_answered_live_until_it_is_stopped(ready: Any) -> None:
    ready.page.click("#live")
    ready.page.wait_for_selector("#result:not([hidden])")
    assert ready.page.is_visible("#video")
    assert ready.text("#live") == "Stop the camera"
    track = ready.page.evaluate_handle("document.getElementById('video').srcObject.getTracks()[0]")
    ready.page.click("#live")
    assert track.evaluate("track => track.readyState") == "ended"
    assert not ready.page.is_visible("#video")
    assert ready.faults == []


def test_a_camera_that_is_refused_is_said(visit: Make, web: Path) -> None:
    page = visit(web)
    refusing = "MediaDevices.prototype.getUserMedia = async () => { throw new Error('Permission denied') }"
    page.page.add_init_script(refusing)
    page.open().page.click("#live")
    page.page.wait_for_selector("#message:not([hidden])")
    assert page.text("#message").startswith("The camera cannot be used (Permission denied); allow it")


def test_a_picture_that_is_no_good_is_refused_and_the_next_one_answered(ready: Any) -> None:
    ready.choose(encoded(drawn())[:200])
    assert ready.text("#message").startswith("The picture is cut off or damaged (")
    assert not ready.page.is_visible("#result")
    ready.choose(encoded(drawn()))
    assert ready.page.is_visible("#result")
    assert not ready.page.is_visible("#message")
    assert ready.faults == []


# ── a model that is refused ─────────────────────────────────────────────────────────────────────────


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda model: model.replace(old, new)


REFUSED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a flipped bit": (replaced(b"ReduceMean", b"ReduceMban"), "the graph is not the one that was exported"),
    "swapped labels": (replaced(b'"ant", "bee"', b'"bee", "ant"'), "finetune.contract: changed after it was written"),
    "another's model": (replaced(b"finetune.contract", b"somebody.contract"), "key 'finetune.contract' is missing"),
    "half a file": (lambda model: model[: len(model) // 2], "not a whole ONNX file (it ends in the middle of a field)"),
    "a web page": (lambda _: b"<!doctype html>", "not a whole ONNX file"),
    "nothing": (lambda _: b"", "not an ONNX file"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_model_that_was_changed_is_refused(visit: Make, web: Path, kind: str) -> None:
    change, reason = REFUSED[kind]
    model = web / "model.onnx"
    model.write_bytes(change(model.read_bytes()))
    page = visit(web).open("refused")
    assert page.text("#status").startswith("The model is refused: ")
    assert reason in page.text("#status")
    assert page.page.is_disabled("#choose")
    assert page.page.is_disabled("#live")
    assert page.faults == []


def test_a_model_that_answers_differently_from_the_day_it_was_exported_is_refused(
    visit: Make, install: Make, export_page: Make, make_model: Make
) -> None:
    web = install(export_page(make_model()).path)
    (web / "model.onnx").write_bytes(make_model(golden_seed=8))
    page = visit(web).open("refused")
    assert "golden picture colour.png: a probability differs by" in page.text("#status")


def test_pixels_that_differ_from_those_at_export_are_refused(visit: Make, web: Path) -> None:
    code = web / "preprocessing.js"
    code.write_text(code.read_text().replace("Math.fround(to - from)", "(to - from + 1e-3)"))
    page = visit(web).open("refused")
    assert "its pixels differ from those at export" in page.text("#status")


def test_what_is_missing_is_said_with_the_next_step(visit: Make, web: Path) -> None:
    (web / "model.onnx").rename(web / "elsewhere.onnx")
    assert "model.onnx cannot be loaded (404); copy it next to this page" in visit(web).open("refused").text("#status")
    (web / "elsewhere.onnx").rename(web / "model.onnx")
    shutil.rmtree(web / "runtime")
    assert "run 'npm install' in this page's folder" in visit(web).open("refused").text("#status")


# ── keeping to itself ───────────────────────────────────────────────────────────────────────────────


def test_names_are_shown_as_text_whatever_they_hold(ready: Any) -> None:
    ready.choose(encoded(drawn()))
    assert HOSTILE in ready.answer()
    assert ready.page.locator(".bars img, h1 b").count() == 0
    assert ready.text("h1") == ready.page.evaluate("document.title").split(" · ")[0] == "insects & <b>more</b>"
    assert ready.faults == []


def test_the_page_can_reach_nobody_else(visit: Make, web: Path) -> None:
    page, other = visit(web).open(), visit(web)
    asked = "url => fetch(url).then(() => 'answered', (error) => error.name)"
    assert page.page.evaluate(asked, page.url) == "answered"
    assert page.page.evaluate(asked, other.url) == "TypeError"
    assert "Content Security Policy" in page.faults[0]


# ── offline ─────────────────────────────────────────────────────────────────────────────────────────


def kept(page: Any) -> Any:
    """Wait until the page is stored in the browser."""
    page.page.get_by_text("Works offline").wait_for()
    return page


def test_it_works_without_a_network_after_the_first_visit(visit: Make, web: Path) -> None:
    page = kept(visit(web).open())
    page.page.context.set_offline(True)
    shutil.rmtree(web)
    page.page.reload()
    page.page.wait_for_selector("body[data-state=ready]")
    page.choose(encoded(drawn()))
    assert page.page.is_visible("#result")
    assert page.faults == []


UPDATE = """async () => {
  const registration = await navigator.serviceWorker.ready;
  await registration.update();
  const { installing } = registration;
  if (installing) await new Promise((done) => installing.addEventListener("statechange", done, { once: true }));
}"""


def test_a_new_export_takes_over_when_the_old_page_is_closed(
    visit: Make, web: Path, export_page: Make, make_model: Make, contract: Contract
) -> None:
    page = kept(visit(web).open())
    page.page.reload()
    newer = replace(contract, run_id="2025-06-07-b")
    shutil.copytree(export_page(make_model(newer), newer).path, web, dirs_exist_ok=True)
    later = time.time() + 10  # servers compare whole seconds
    for file in web.iterdir():
        os.utime(file, (later, later))
    page.page.evaluate(UPDATE)
    page.page.reload()
    page.page.get_by_text("A newer version is here: close every tab").wait_for()
    assert "2024-01-02-a" in page.page.text_content("#facts")
    assert "2025-06-07-b" in after_closing(page).page.text_content("#facts")


def after_closing(page: Any) -> Any:
    """Close the page and open it again, once the browser has noticed that the old one is gone."""
    opened = page.page.context.new_page()
    page.page.close()
    page.page = opened
    while "2024-01-02-a" in page.open().page.text_content("#facts"):
        page.page.goto("about:blank")
    return page


# ── looks ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_on_a_phone_or_on_a_desk(
    visit: Make, install: Make, export_page: Make, make_model: Make, contract: Contract, width: int
) -> None:
    wordy = replace(contract, labels=(*contract.labels[:-1], "Donaudampfschifffahrtsgesellschaftskapitän" * 4))
    web = install(export_page(make_model(wordy), wordy).path)
    page = visit(web, viewport={"width": width, "height": 800}).open()
    page.choose(encoded(drawn()))
    page.page.click("#count")
    page.page.click("#about summary")
    assert page.page.evaluate("document.documentElement.scrollWidth") == width
    tops = "sections => sections.map((section) => section.getBoundingClientRect().top)"
    picture, answer = page.page.eval_on_selector_all("main > section", tops)
    assert (picture == answer) == (width > 1000)


def test_every_control_can_be_reached_and_named_without_a_mouse(visit: Make, web: Path) -> None:
    page = visit(web).open()
    names = []
    for _ in range(3):
        page.page.keyboard.press("Tab")
        names.append(
            page.page.evaluate("(({ activeElement: on }) => (on.labels?.[0] ?? on).innerText.trim())(document)")
        )
    assert names == ["Choose a picture", "Live camera", "About this model"]
