"""What the runtime refuses: every damaged byte, files of two models, and answers that are not the promised ones."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune_export import ModelError, golden
from finetune_openvino import Predictor, engine, ir

AGAIN = "get the folder again"


@pytest.fixture
def copy(small: Any, tmp_path: Path) -> Path:
    return shutil.copytree(small.folder, tmp_path / "copy")


@pytest.fixture
def refusal(copy: Path) -> Callable[[], str]:
    """Return why the copy is refused, without its path."""

    def refused() -> str:
        with pytest.raises(ModelError) as caught:
            Predictor(copy)
        said = str(caught.value)
        assert said.startswith(f"{copy / ir.MODEL}: ")
        assert "\n" not in said
        return said.removeprefix(f"{copy / ir.MODEL}: ")

    return refused


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def rewritten(folder: Path, change: Callable[[str, str], tuple[str, str]]) -> None:
    """Write other texts into the XML file, and take the copy of the contract away."""
    model = ir.read(folder / ir.MODEL)
    texts = change((folder / ir.CONTRACT).read_text(encoding="utf-8"), model.golden)
    (folder / ir.MODEL).write_bytes(ir.with_texts(model.xml, *texts))
    (folder / ir.CONTRACT).unlink()


@pytest.mark.parametrize("name", [ir.MODEL, ir.WEIGHTS])
def test_a_missing_file_is_named(copy: Path, refusal: Callable[[], str], name: str) -> None:
    (copy / name).unlink()
    wanted = "give the folder that the target 'openvino' wrote"
    assert refusal() == f"{name} cannot be read (No such file or directory); {wanted}"


def test_weights_that_are_a_pipe_are_refused_and_not_waited_for(copy: Path, refusal: Callable[[], str]) -> None:
    (copy / ir.WEIGHTS).unlink()
    os.mkfifo(copy / ir.WEIGHTS)
    assert refusal() == f"model.bin is not a regular file; {AGAIN}"


def test_a_flipped_bit_of_the_weights_is_found(copy: Path, refusal: Callable[[], str]) -> None:
    flip(copy / ir.WEIGHTS, 4000)
    assert refusal() == (
        f"the graph or its weights in model.bin are not those that were exported (their sha256 differs); {AGAIN}"
    )


def test_weights_that_were_cut_off_are_found(copy: Path, refusal: Callable[[], str]) -> None:
    (copy / ir.WEIGHTS).write_bytes((copy / ir.WEIGHTS).read_bytes()[:-1])
    assert "their sha256 differs" in refusal()


def test_a_contract_that_was_edited_is_found(copy: Path, refusal: Callable[[], str]) -> None:
    xml = (copy / ir.MODEL).read_bytes()
    (copy / ir.MODEL).write_bytes(xml.replace(b"&quot;labels&quot;: [&quot;red", b"&quot;labels&quot;: [&quot;rad"))
    assert "changed after it was written" in refusal()


def test_a_contract_beside_it_that_is_another_is_found(copy: Path, one: Any, refusal: Callable[[], str]) -> None:
    shutil.copy(one.folder / ir.CONTRACT, copy / ir.CONTRACT)
    assert refusal() == f"contract.json beside it is the contract of another model, or damaged; {AGAIN}"


def test_the_contract_of_another_model_does_not_make_it_that_model(
    copy: Path, one: Any, refusal: Callable[[], str]
) -> None:
    other = ir.read(one.folder / ir.MODEL)
    rewritten(copy, lambda *_: ((one.folder / ir.CONTRACT).read_text(encoding="utf-8"), other.golden))
    assert "their sha256 differs" in refusal()


def test_a_graph_of_another_form_is_refused_even_with_its_own_hash(
    copy: Path, one: Any, refusal: Callable[[], str]
) -> None:
    mine, other = ir.read(copy / ir.MODEL), ir.read(one.folder / ir.MODEL)
    forged = replace(mine.contract, graph_sha256=other.contract.graph_sha256)
    (copy / ir.WEIGHTS).write_bytes(other.weights)
    (copy / ir.MODEL).write_bytes(ir.with_texts(other.xml, forged.to_json(), mine.golden))
    (copy / ir.CONTRACT).unlink()
    assert refusal() == "its outputs are embedding, probabilities; it has to have 'values'"


def test_other_golden_answers_are_refused(copy: Path, refusal: Callable[[], str]) -> None:
    def change(contract: str, pairs: str) -> tuple[str, str]:
        first, *rest = golden.parse(pairs)
        answers = tuple(answer + 1000 for answer in first.answers)
        return contract, golden.dump([replace(first, answers=answers), *rest])

    rewritten(copy, change)
    assert re.match(r"golden picture colour\.png: a value differs by .* from the one at export, 0\.001 is", refusal())
    assert Predictor(copy, check=False).contract


def test_golden_pairs_that_were_edited_are_found(copy: Path, refusal: Callable[[], str]) -> None:
    rewritten(copy, lambda contract, pairs: (contract, pairs.replace("colour.png", "colors.png")))
    assert "changed after it was written" in refusal()


def test_a_model_that_finetune_did_not_export_is_refused(copy: Path, small: Any, refusal: Callable[[], str]) -> None:
    foreign = engine.openvino.Core().read_model(small.onnx)
    engine.openvino.save_model(foreign, copy / ir.MODEL)
    assert refusal() == "0 contracts; only models that finetune exported, which have one, can be run"


def test_a_copy_that_openvino_wrote_with_half_the_weights_is_refused(
    copy: Path, small: Any, refusal: Callable[[], str]
) -> None:
    model = engine.openvino.Core().read_model(small.folder / ir.MODEL)
    engine.openvino.save_model(model, copy / ir.MODEL)
    assert "contract" in refusal()


def test_a_graph_that_openvino_cannot_open_is_refused_in_one_line(copy: Path, refusal: Callable[[], str]) -> None:
    model = ir.read(copy / ir.MODEL)
    xml = model.xml.replace(b'type="Convolution"', b'type="Riddle"')
    own = replace(model.contract, graph_sha256=ir.graph_sha256(xml, model.weights)).to_json()
    (copy / ir.MODEL).write_bytes(ir.with_texts(xml, own, model.golden))
    (copy / ir.CONTRACT).write_text(own, encoding="utf-8")
    said = refusal()
    assert said.startswith(f"openvino {engine.VERSION} cannot load it (")
    assert "Riddle" in said
    assert said.endswith("; it is damaged, or needs a newer openvino")


def test_an_onnx_file_is_no_ir(small: Any) -> None:
    with pytest.raises(ModelError, match=r"model\.bin cannot be read"):
        Predictor(small.onnx)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=st.sampled_from([ir.MODEL, ir.WEIGHTS, ir.CONTRACT]), at=st.floats(0, 1, exclude_max=True))
def test_every_flipped_bit_is_found(copy: Path, name: str, at: float) -> None:
    whole = (copy / name).read_bytes()
    flip(copy / name, int(at * len(whole)))
    try:
        with pytest.raises(ModelError):
            golden.parse(ir.read(copy / ir.MODEL).golden)
    finally:
        (copy / name).write_bytes(whole)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(contract=st.text(), pairs=st.text())
def test_texts_come_back_from_the_xml_as_they_went_in(contract: str, pairs: str) -> None:
    xml = ir.with_texts(b"<net><rt_info><finetune>\n\t</finetune></rt_info></net>", contract, pairs)
    assert ir._texts(xml) == (contract, pairs)


def test_an_element_that_the_hash_would_pass_over_is_refused(copy: Path, refusal: Callable[[], str]) -> None:
    path = copy / ir.MODEL
    path.write_bytes(path.read_bytes().replace(b"</net>", b'<finetune><layer id="1"/></finetune></net>'))
    assert refusal() == "2 contracts; only models that finetune exported, which have one, can be run"
