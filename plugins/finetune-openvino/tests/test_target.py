"""What the target writes: whole float32 files that describe themselves, and answer as the trained network does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from finetune.errors import ModelError
from finetune.types import ExportRequest
from finetune_export import Contract, read_contract
from finetune_openvino import engine, ir
from finetune_openvino.target import export

Folder = Callable[[str], Path]


def opened(folder: Path) -> Any:
    """Return the model as a stranger opens it, by its path alone."""
    return engine.openvino.Core().read_model(folder / ir.MODEL)


def request_for(onnx_file: Path, folder: Path) -> ExportRequest:
    def judge(artifact: object) -> Any:
        raise AssertionError("nothing is tried out")

    return ExportRequest(
        network=None,
        contract=read_contract(onnx_file) if onnx_file.name == "model.onnx" else None,  # type: ignore[arg-type]
        folder=folder,
        onnx=onnx_file,
        training_images=(),
        judge=judge,
        note=print,
    )


def test_the_answers_are_those_of_the_trained_network(each: Any) -> None:
    found = json.loads((each.run / "verification.json").read_text())[1]
    assert (found["target"], found["file"], found["problems"]) == ("openvino", "openvino", [])
    assert (found["agreement"], found["compared"]) == (1.0, len(each.pictures))
    assert found["max_difference"] <= found["max_difference_allowed"] == 1e-4


def test_the_folder_holds_the_graph_its_weights_and_the_contract(each: Any) -> None:
    assert {path.name for path in each.folder.iterdir()} == {"model.xml", "model.bin", "contract.json"}


def test_the_contract_is_that_of_the_verified_file_with_another_graph(each: Any) -> None:
    ours = Contract.from_json((each.folder / ir.CONTRACT).read_text(encoding="utf-8"))
    theirs = read_contract(each.onnx)
    assert {name for name in vars(ours) if vars(ours)[name] != vars(theirs)[name]} == {"graph_sha256"}


def test_openvino_itself_reads_contract_and_golden_pairs_as_they_were_written(each: Any) -> None:
    model = opened(each.folder)
    contract = (each.folder / ir.CONTRACT).read_text(encoding="utf-8")
    assert model.get_rt_info(["finetune", "contract"]).astype(str) == contract
    golden = onnx.load(each.onnx).metadata_props
    assert model.get_rt_info(["finetune", "golden"]).astype(str) in [entry.value for entry in golden]


def test_weights_stay_float32_and_the_number_of_pictures_free(each: Any) -> None:
    model = opened(each.folder)
    constants = [op for op in model.get_ops() if op.get_type_name() == "Constant"]
    assert "f16" not in {op.get_element_type().get_type_name() for op in constants}
    assert str(model.input("image").get_partial_shape()) == "[?,32,32,3]"
    answers = model.output("values" if each.task == "regression" else "probabilities")
    assert str(answers.get_partial_shape()) == "[?,2]"


def test_the_same_file_gives_the_same_bytes(each: Any, tmp_path: Path) -> None:
    again = export(request_for(each.onnx, tmp_path)).path
    for name in (ir.MODEL, ir.WEIGHTS):
        assert (again / name).read_bytes() == (each.folder / name).read_bytes()


def test_a_graph_that_openvino_does_not_know_is_refused_with_the_operator(tmp_path: Path) -> None:
    node = helper.make_node("Riddle", ["image"], ["answers"], domain="nobody")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("image", "answers")]
    graph = helper.make_graph([node], "riddle", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("nobody", 1), helper.make_opsetid("", 18)])
    (tmp_path / "riddle.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError) as caught:
        export(request_for(tmp_path / "riddle.onnx", tmp_path))
    assert str(caught.value).startswith(f"{tmp_path}/riddle.onnx: openvino {engine.VERSION} cannot convert it (")
    assert str(caught.value).endswith("(No conversion rule found for operations: nobody.Riddle); try a newer openvino")
    assert not (tmp_path / "openvino").exists()


def test_the_largest_weights_are_in_it_to_the_last_bit(small: Any) -> None:
    weights = (small.folder / ir.WEIGHTS).read_bytes()
    floats = [onnx.numpy_helper.to_array(each) for each in onnx.load(small.onnx).graph.initializer]
    largest = max((each for each in floats if each.dtype == np.float32), key=lambda each: each.size)
    assert largest.tobytes() in weights
