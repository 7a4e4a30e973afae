"""The target ``int8``: whole numbers that answer nearly alike, and layers put back where they do not."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from finetune import run
from finetune.errors import ModelError, ResourceError
from finetune.targets import int8
from finetune.targets.bias_correction import mean_error
from finetune.targets.derived import read_graph
from finetune.targets.integer_input import with_integer_input
from finetune.targets.measuring import answers, ranges
from finetune.targets.quantisation import weighted
from finetune.types import Artifact
from finetune_export import Predictor, model_file, read_contract
from finetune_export.contract import CONTRACT_KEY, GOLDEN_KEY

NETWORKS = ("squeezenet1_1", "mobilenet_v2")


def random_pixels(count: int, size: int = 32) -> np.ndarray[Any, Any]:
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


# ── the file ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_answers_nearly_as_the_float_file(verified: Callable[..., Any], name: str) -> None:
    given = verified(name, max_drop=1)

    artifact = int8.export(given.request())

    expected = Predictor(given.onnx).answers(given.pictures)
    assert artifact.path == given.folder / "model.int8.onnx"
    found = artifact.answers(given.pictures)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9
    assert np.abs(found - expected).mean() < 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_is_about_a_quarter_as_large(verified: Callable[..., Any], name: str) -> None:
    given = verified(name, max_drop=1)

    path = int8.export(given.request()).path

    def weights(file: Path) -> int:
        return sum(len(tensor.raw_data) for tensor in onnx.load(file).graph.initializer)

    assert weights(path) < 0.28 * weights(given.onnx)


def test_the_file_checks_itself_and_says_what_it_is(verified: Callable[..., Any]) -> None:
    given = verified(max_drop=1)

    path = int8.export(given.request()).path

    contract = Predictor(path).contract  # its golden pairs were asked
    assert contract.precision == "int8"
    assert contract.metrics == {"accuracy": given.judged[-1].exported_value}
    assert (contract.labels, contract.run_id) == (given.contract.labels, given.contract.run_id)
    ours, theirs = model_file.read(path).metadata, model_file.read(given.onnx).metadata
    assert {key: ours[key] for key in ours if key not in (CONTRACT_KEY, GOLDEN_KEY)} == {
        key: theirs[key] for key in theirs if key not in (CONTRACT_KEY, GOLDEN_KEY)
    }
    assert ours[GOLDEN_KEY] != theirs[GOLDEN_KEY]


@pytest.mark.parametrize("name", NETWORKS)
def test_only_standard_operators_are_in_it(verified: Callable[..., Any], name: str) -> None:
    given = verified(name, max_drop=1)

    path = int8.export(given.request()).path

    model = onnx.load(path)
    added = operators(path) - operators(given.onnx)
    assert set(added) == {"QuantizeLinear", "DequantizeLinear", "Gather", "Pad"}
    assert {node.domain for node in model.graph.node} == {""}
    assert not {"Sub", "Div", "Cast"} & set(operators(path)), "the normalisation is in the weights"


@pytest.mark.slow
def test_a_transformer_is_quantised_too(verified: Callable[..., Any]) -> None:
    given = verified("vit_b_32", max_drop=1)

    path = int8.export(given.request()).path

    assert path.stat().st_size < 0.28 * given.onnx.stat().st_size
    assert Predictor(path).contract.precision == "int8"


def test_every_output_channel_has_a_scale_of_its_own(verified: Callable[..., Any]) -> None:
    path = int8.export(verified("mobilenet_v2", max_drop=1).request()).path

    graph = onnx.load(path).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = [
        (constants[node.input[0]], constants[node.input[1]])
        for node in graph.node
        if node.op_type == "DequantizeLinear" and constants.get(node.input[0], np.zeros(0)).dtype == np.int8
    ]
    assert len(weights) == 53, "52 convolutions and the classifier"
    assert all(scales.shape == (len(values),) for values, scales in weights)
    assert max(len(np.unique(scales)) for _, scales in weights) > 1000


def test_the_embedding_is_not_rounded(verified: Callable[..., Any]) -> None:
    given = verified(max_drop=1)

    path = int8.export(given.request()).path

    made_by = {name: node.op_type for node in onnx.load(path).graph.node for name in node.output}
    assert made_by["embedding"] == "ReduceMean"
    ours, theirs = (Predictor(file).embeddings(given.pictures) for file in (path, given.onnx))
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.98


def test_the_same_run_writes_the_same_bytes_twice(verified: Callable[..., Any]) -> None:
    given = verified(max_drop=1)

    first = int8.export(given.request()).path.read_bytes()

    assert int8.export(given.request()).path.read_bytes() == first


def test_two_training_pictures_are_enough(verified: Callable[..., Any]) -> None:
    given = verified(max_drop=1)

    artifact = int8.export(given.request(given.pictures[:2]))

    assert np.isfinite(artifact.answers(given.pictures)).all()


def test_the_pictures_that_calibrate_are_spread_over_all_and_bounded(verified: Callable[..., Any]) -> None:
    given = verified()
    many = tuple(given.pictures[i // 100] for i in range(1200))  # in the order of their folders

    batches = int8._batches(given.request(many), given.contract.preprocessing)

    assert [len(batch) for batch in batches] == [16] * 8
    assert all(len(np.unique(batch, axis=0)) >= 11 for batch in batches)


# ── when the metric falls ───────────────────────────────────────────────────────────────────────────


def test_layers_are_put_back_until_the_metric_is_kept_and_named(verified: Callable[..., Any]) -> None:
    given = verified(refuse_first=2, max_drop=1)

    path = int8.export(given.request()).path

    assert len(given.judged) == 3
    (note,) = given.notes
    named = re.fullmatch(
        r"model\.int8\.onnx: (\d+) of 26 layers were put back to float, to keep the metric: (.+)", note
    )
    assert named is not None
    left = weighted(onnx.load(path).graph)
    assert int(named[1]) == len(left) > 1
    assert re.match(r"(body\.\w+[\w.]*|head\.[\w.]+)( to [\w.]+)?", named[2])


def test_nothing_is_put_back_or_said_where_the_metric_is_kept(verified: Callable[..., Any]) -> None:
    given = verified(max_drop=1)

    path = int8.export(given.request()).path

    assert (len(given.judged), given.notes) == (1, [])
    assert weighted(onnx.load(path).graph) == []


def test_after_the_last_attempt_the_file_is_handed_over_for_the_run_to_refuse(verified: Callable[..., Any]) -> None:
    given = verified(refuse_first=99)

    artifact = int8.export(given.request())

    assert len(given.judged) == 1 + len(int8.PUT_BACK)
    assert "and the metric still falls too far: " in given.notes[0]
    assert Predictor(artifact.path).contract.precision == "int8"


def test_some_layers_stay_in_integers_however_few_groups_there_are(
    verified: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "GROUPS", 4)
    given = verified(refuse_first=99)

    path = int8.export(given.request()).path

    assert len(given.judged) == 1 + 2  # one group put back, then two, but not all four
    assert "DequantizeLinear" in {node.op_type for node in onnx.load(path).graph.node}


def test_every_layer_is_in_one_group_and_there_are_no_more_than_sixteen(verified: Callable[..., Any]) -> None:
    for name in NETWORKS:
        graph = read_graph(verified(name).request()).graph
        found = int8.groups(graph)

        names = [node.name for group in found for node in group]
        assert len(found) == int8.GROUPS
        assert len(set(names)) == len(names)
        assert {node.name for node in weighted(graph)} <= set(names)


def test_a_network_of_few_layers_has_a_group_for_each() -> None:
    shape = [1, 3]
    nodes = [onnx.helper.make_node("MatMul", [f"x{i}", "w"], [f"x{i + 1}"], name=f"layer{i}") for i in range(3)]
    graph = onnx.helper.make_graph(
        nodes,
        "three",
        [onnx.helper.make_tensor_value_info("x0", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("x3", onnx.TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.eye(3, dtype=np.float32), "w")],
    )

    assert [[node.name for node in group] for group in int8.groups(graph)] == [["layer0"], ["layer1"], ["layer2"]]


def test_a_run_whose_int8_file_loses_too_much_is_refused_and_says_by_how_much(
    pictures: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(request: Any) -> Artifact:
        artifact = honest(request)
        return Artifact(path=artifact.path, answers=lambda paths: 1 - artifact.answers(paths))

    honest = int8.export
    monkeypatch.setattr(int8, "export", wrong)

    with pytest.raises(
        ModelError, match=r"accuracy falls from 1\.0000 to 0\.0000, a drop of 0 is allowed \(--max-drop"
    ):
        run(data=pictures, out=tmp_path / "runs", target=("int8",), max_drop=0, strategy="svm", **tiny)

    (folder,) = (tmp_path / "runs").iterdir()
    names = {path.name for path in folder.iterdir()}
    assert {"model.onnx", "model.int8.failed.onnx"} <= names
    assert not {"model.int8.onnx", ".unverified"} & names


def test_a_run_leaves_the_int8_file_beside_the_float_one(pictures: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    result = run(data=pictures, out=tmp_path / "runs", target=("int8",), max_drop=1, strategy="svm", **tiny)

    assert result.artifacts["int8"] == result.run / "model.int8.onnx"
    assert read_contract(result.artifacts["int8"]).run_id == result.run.name


# ── the disk ────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_but_the_file_is_written(verified: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    given = verified(refuse_first=1, max_drop=1)
    elsewhere = given.folder.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere / "missing"))  # a temporary file would fail

    int8.export(given.request())

    assert [path.name for path in given.folder.iterdir()] == ["model.int8.onnx"]


def test_a_folder_that_went_away_is_a_resource_error_and_leaves_no_half_file(verified: Callable[..., Any]) -> None:
    given = verified(max_drop=1)
    shutil.rmtree(given.folder)

    with pytest.raises(ResourceError, match=r"^Cannot write .*model\.int8\.onnx: No such file or directory\."):
        int8.export(given.request())

    assert not given.folder.exists()


# ── the parts ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [*NETWORKS, "mobilenet_v3_small"])
def test_the_folded_normalisation_gives_the_same_answers(verified: Callable[..., Any], name: str) -> None:
    given = verified(name)
    model = read_graph(given.request())

    folded = with_integer_input(model, given.contract.preprocessing)

    pixels = random_pixels(3)
    np.testing.assert_allclose(answers(folded, [pixels]), answers(model, [pixels]), atol=1e-4)
    (pixels_in,) = (node for node in folded.graph.node if node.op_type == "DequantizeLinear")
    (reader,) = (node for node in folded.graph.node if pixels_in.output[0] in node.input)
    assert reader.op_type == "Conv"


def test_a_network_that_begins_otherwise_keeps_its_normalisation(verified: Callable[..., Any]) -> None:
    given = verified()
    model = read_graph(given.request())
    next(node for node in model.graph.node if node.op_type == "Conv").op_type = "ConvTranspose"

    assert with_integer_input(model, given.contract.preprocessing) is model


def test_a_first_convolution_whose_weights_are_computed_keeps_its_normalisation(verified: Callable[..., Any]) -> None:
    given = verified()
    model = read_graph(given.request())
    next(node for node in model.graph.node if node.op_type == "Conv").input[1] = "standardised"

    assert with_integer_input(model, given.contract.preprocessing) is model


def test_ranges_are_the_mean_of_the_batches_extremes(verified: Callable[..., Any]) -> None:
    model = read_graph(verified().request())
    dark, light = np.zeros((1, 32, 32, 3), np.uint8), np.full((1, 32, 32, 3), 255, np.uint8)
    scaled = next(node.output[0] for node in model.graph.node if node.op_type == "Div")

    assert ranges(model, [dark, light])[scaled] == (0.5, 0.5)
    assert ranges(model, [np.concatenate([dark, light])])[scaled] == (0, 1)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_the_mean_error_is_what_rounded_weights_add_on_average(groups: int) -> None:
    random = np.random.default_rng(groups)
    weight = random.normal(size=(6, 6 // groups, 3, 3)).astype(np.float32)
    means = random.normal(size=6).astype(np.float32)

    found = mean_error(weight, means)

    scale = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
    rounded = np.round(weight / scale) * scale
    for output in range(6):
        first = output // (6 // groups) * (6 // groups)
        seen = means[first : first + 6 // groups, None, None]
        expected = ((rounded[output] - weight[output]) * seen).sum()
        assert found[output] == pytest.approx(expected, abs=1e-5)


def test_an_output_of_no_weights_has_no_error() -> None:
    assert mean_error(np.zeros((2, 3, 1, 1), np.float32), np.ones(3, np.float32)).tolist() == [0, 0]
