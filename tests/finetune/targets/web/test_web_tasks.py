"""The page of a model with several labels, and of one with values: the same proof, shown in the way of its task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finetune_export import Predictor
from finetune_export.contract import Contract, Scaling, read_contract
from finetune_export.verify import differences

HOSTILE = "<img src=x onerror=alert(1)>"
LABELS = ("ant", "bee", HOSTILE, "Käfer 甲", "wasp", "fly", "moth")
LARGE_OFFSETS = Scaling(offset=(3000.0,) * 7, scale=(0.1,) * 7)
SCALING = Scaling(offset=(50.0, 0.01, -3e4, 0.0, 0.0, 0.0, 0.0), scale=(10.0, 0.002, 1e4, 1.0, 1.0, 1.0, 1.0))

DIFFERENCES = """async ([values, others, contract]) => {
  const { differences } = await import("./golden.js");
  return values.map((answers, i) => differences(answers, others[i], contract));
}"""

Make = Callable[..., Any]


@pytest.fixture
def make_page(install: Make, export_page: Make, make_model: Make, contract: Contract) -> Callable[..., Path]:
    """Export the page of a model with these changes in its contract, ready to be served."""

    def made(**changes: Any) -> Path:
        stated = replace(contract, **changes)
        return install(export_page(make_model(stated), stated).path)  # type: ignore[no-any-return]

    return made


@pytest.fixture
def picture_file(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.linear_gradient("L").rotate(30).resize((120, 90)).convert("RGB").save(path)
    return path


def rows(page: Any, selector: str) -> list[list[str]]:
    return page.page.eval_on_selector_all(selector, "rows => rows.map(row => row.innerText.split('\\n'))")  # type: ignore[no-any-return]


def test_several_labels_are_all_given_that_reach_their_thresholds(
    visit: Make, make_page: Callable[..., Path], picture_file: Path
) -> None:
    web = make_page(task="multi-label", thresholds={**dict.fromkeys(LABELS, 0.0), "moth": 1.0})
    page = visit(web).open()
    page.choose(picture_file.read_bytes())
    (expected,) = Predictor(web / "model.onnx").predict(picture_file)
    assert len(expected.given) == 6
    assert page.text("#top") == ", ".join(expected.given)
    assert page.text("#certainty") == f"{len(expected.given)} of 7 labels"
    assert [label for label, _ in rows(page, ".bars .given")] == list(expected.given)
    found = page.answer()
    assert [*found] == [*expected.given, "moth"]
    assert [found[label] for label in LABELS] == pytest.approx(expected.answers, abs=1e-4)
    assert page.page.locator(".bars img").count() == 0
    assert page.faults == []


def test_none_of_several_labels_may_be_given(visit: Make, make_page: Callable[..., Path], picture_file: Path) -> None:
    page = visit(make_page(task="multi-label", thresholds=dict.fromkeys(LABELS, 1.0))).open()
    page.choose(picture_file.read_bytes())
    assert page.text("#top") == "None of the labels"
    assert rows(page, ".bars .given") == []
    assert len(page.answer()) == 7


def test_values_have_names_and_no_bars(visit: Make, make_page: Callable[..., Path], picture_file: Path) -> None:
    web = make_page(task="regression", scaling=SCALING)
    page = visit(web).open()
    page.choose(picture_file.read_bytes())
    (expected,) = Predictor(web / "model.onnx").predict(picture_file)
    shown = {name: float(text) for name, text in rows(page, "#best li")}
    assert [*shown] == list(LABELS)
    apart = [abs(shown[name] - value) for name, value in expected.values.items()]
    assert all(difference <= 1e-3 * unit for difference, unit in zip(apart, SCALING.scale, strict=True))
    assert page.text("#top") == "7 values"
    assert page.page.locator(".bar").count() == 0
    assert "Values" in page.page.text_content("#facts")
    assert page.faults == []


def test_values_may_differ_by_a_share_of_their_own_scale_and_not_by_a_number(
    visit: Make, make_page: Callable[..., Path]
) -> None:
    small, large = Scaling(offset=(0.0,) * 7, scale=(1e-3,) * 7), Scaling(offset=(0.0,) * 7, scale=(1e3,) * 7)
    for scaling, state in ((small, "refused"), (large, "ready")):
        web = make_page(task="regression", scaling=scaling)
        golden = web / "golden.js"
        golden.write_text(golden.read_text().replace("answers[i] - expected", "answers[i] + 1e-4 - expected"))
        status = visit(web).open(state).text("#status")
        assert ("a value differs by 0.10 of its scale from the one at export, 0.001 is allowed" in status) == (
            state == "refused"
        )


@pytest.mark.parametrize(("steps", "state"), [(1, "ready"), (-1, "ready"), (5, "refused")])
def test_what_float32_rounds_off_at_a_large_offset_is_excused_and_no_more(
    visit: Make, make_page: Callable[..., Path], steps: int, state: str
) -> None:
    web = make_page(task="regression", scaling=LARGE_OFFSETS)
    golden, step = web / "golden.js", float(np.spacing(np.float32(3000)))
    code = golden.read_text()
    assert code.count("answers[i] - expected") == 1
    golden.write_text(code.replace("answers[i] - expected", f"answers[i] + {steps * step} - expected"))
    status = visit(web).open(state).text("#status")
    assert ("of its scale from the one at export, 0.001 is allowed" in status) == (state == "refused")


def test_the_page_excuses_of_values_what_the_proof_excuses(visit: Make, make_page: Callable[..., Path]) -> None:
    web = make_page(task="regression", scaling=LARGE_OFFSETS)
    golden = web / "golden.js"
    golden.write_text(golden.read_text() + "export { differences };")
    rng = np.random.default_rng(3)
    values = (rng.choice([-1, 1], (200, 7)) * 2.0 ** rng.uniform(-20, 30, (200, 7))).astype(np.float32)
    values[0] = [0, 1, 512, 1024, 2**24, 4096, 0.5]
    others = values + rng.integers(-4, 5, values.shape) * np.spacing(np.abs(values))
    stated = {"task": "regression", "labels": LABELS, "scaling": {"scale": LARGE_OFFSETS.scale}}

    found = visit(web).open().page.evaluate(DIFFERENCES, [values.tolist(), others.tolist(), stated])

    expected = differences(values.astype(np.float64), others.astype(np.float64), read_contract(web / "model.onnx"))
    assert 0.2 < (expected > 0).mean() < 0.8
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-40)  # steps below float32's normal numbers
