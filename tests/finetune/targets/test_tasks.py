"""Several labels and regression, through every target: the same answers, told to each reader in its own words."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from google.protobuf import text_format
from numpy.typing import NDArray
from PIL import Image
from tritonclient.grpc.model_config_pb2 import ModelConfig

from finetune.plugins import load_plugins
from finetune.targets import fp16, hugging_face, hugging_face_card, int8, triton
from finetune.targets.quantisation import weighted
from finetune.targets.to_onnx import Deployed, to_onnx, to_plain_onnx
from finetune.types import Artifact, Task
from finetune_export import Predictor, model_file
from finetune_export.contract import Scaling
from finetune_export.verify import compare

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported, which takes seconds: only where it is used

LABELS = ("ant", "Käfer 甲", "wasp")
TASKS: tuple[Task, ...] = ("multi-label", "regression")
EVERY_TASK: tuple[Task, ...] = ("single-label", *TASKS)

Make = Callable[..., Any]
Array = NDArray[np.float32]


def logits_of(given: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return what the network itself says of pixels, uint8 (N, S, S, 3)."""
    about = given.contract.preprocessing
    normalised = (pixels / 255 - about.mean) / about.std
    with torch.inference_mode():
        images = torch.from_numpy(normalised.transpose(0, 3, 1, 2).astype(np.float32))
        return given.network(images).numpy().astype(np.float64)  # type: ignore[no-any-return]


def expected_of(given: Any, logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the answers as the contract defines them."""
    if given.contract.task == "regression":
        return logits * given.contract.scaling.scale + given.contract.scaling.offset  # type: ignore[no-any-return]
    return 1 / (1 + np.exp(-logits / given.contract.calibration.temperature))  # type: ignore[no-any-return]


def apart(given: Any, one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the largest difference of two arrays of answers, in the contract's units."""
    return float((np.abs(one - other) / given.contract.units).max())


# ── the file ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("task", TASKS)
def test_the_file_answers_what_the_contract_says_of_the_networks_logits(verified: Make, task: Task) -> None:
    given = verified(task=task)
    predictor = Predictor(given.onnx)  # its golden pairs were asked
    pixels = np.stack([predictor.pixels(picture) for picture in given.pictures])

    answers, embedding = predictor.run(pixels)

    assert (answers.shape, embedding.shape) == ((12, 3), (12, 512))
    assert apart(given, answers, expected_of(given, logits_of(given, pixels))) < 1e-4


def test_values_around_large_offsets_are_verified_though_their_last_digits_differ(verified: Make) -> None:
    given = verified("resnet18", task="regression")
    contract = replace(given.contract, scaling=Scaling(offset=(300.0, 2000.0, 3000.0), scale=(0.1, 1.0, 0.1)))
    path = given.folder / "model.onnx"
    path.write_bytes(to_onnx(given.network, contract))
    pixels = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), dtype=np.uint8)

    answers, _ = Predictor(path).run(pixels)  # its golden pairs were asked
    with torch.inference_mode():
        reference = Deployed(given.network, contract).eval()(torch.from_numpy(pixels))[0].numpy()

    found = compare(reference, answers, contract)
    assert found.max_difference <= load_plugins().find_target("onnx").max_difference
    assert found.agreement == 1.0


@pytest.mark.parametrize(("task", "name"), [("multi-label", "probabilities"), ("regression", "values")])
def test_the_answers_are_called_what_they_are(verified: Make, task: Task, name: str) -> None:
    graph = onnx.load(verified(task=task).onnx).graph

    assert [output.name for output in graph.output] == [name, "embedding"]
    shape = graph.output[0].type.tensor_type.shape.dim
    assert [side.dim_param or side.dim_value for side in shape] == ["N", 3]


@pytest.mark.parametrize("task", TASKS)
def test_other_readers_are_not_told_that_one_label_is_right(verified: Make, task: Task) -> None:
    metadata = model_file.read(verified(task=task).onnx).metadata

    assert metadata["task"] == task
    assert ast.literal_eval(metadata["names"]) == dict(enumerate(LABELS))


@pytest.mark.parametrize("task", TASKS)
def test_the_plain_form_leaves_a_sigmoid_to_others_and_nothing_of_values(verified: Make, task: Task) -> None:
    given = verified(task=task)
    plain = onnxruntime.InferenceSession(to_plain_onnx(given.network, given.contract))
    pixels = np.random.default_rng(1).normal(size=(2, 3, 32, 32)).astype(np.float32)
    with torch.inference_mode():
        logits = given.network(torch.from_numpy(pixels)).numpy()

    (found,) = plain.run(["logits"], {"pixel_values": pixels})

    assert apart(given, found, expected_of(given, logits) if task == "regression" else logits / 2) < 1e-4


# ── other arithmetic ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("task", TASKS)
def test_half_precision_answers_nearly_the_same_in_the_same_outputs(verified: Make, task: Task) -> None:
    given = verified(task=task)

    artifact = fp16.export(given.request())

    predictor = Predictor(artifact.path)
    expected = Predictor(given.onnx).answers(given.pictures)
    assert (predictor.contract.precision, predictor.task) == ("fp16", task)
    assert 0 < apart(given, artifact.answers(given.pictures), expected) < 0.03
    assert predictor.contract.metrics[given.judged[-1].metric] == given.judged[-1].exported_value


@pytest.mark.parametrize("task", TASKS)
def test_integers_answer_nearly_the_same_in_the_same_outputs(verified: Make, task: Task) -> None:
    given = verified(task=task, max_drop=1)

    artifact = int8.export(given.request())

    predictor = Predictor(artifact.path)
    found, expected = artifact.answers(given.pictures), Predictor(given.onnx).answers(given.pictures)
    assert (predictor.contract.precision, predictor.task) == ("int8", task)
    assert predictor.contract.scaling == given.contract.scaling
    assert (np.abs(found - expected) / given.contract.units).mean() < 0.1
    assert all(np.corrcoef(found[:, i], expected[:, i])[0, 1] > 0.9 for i in range(3))


@pytest.mark.parametrize("task", EVERY_TASK)
def test_what_the_last_layer_says_is_not_cut_off_at_what_calibration_saw(verified: Make, task: Task) -> None:
    given = verified(task=task, max_drop=1)
    alike = given.pictures[:1] * 2  # of which every answer's range is a single point

    path = int8.export(given.request(alike)).path

    graph = onnx.load(path).graph
    (last,) = (node for node in graph.node if node.op_type == "Gemm")
    assert last.name == weighted(onnx.load(given.onnx).graph)[-1].name
    assert {"QuantizeLinear"}.isdisjoint(node.op_type for node in graph.node if last.output[0] in node.input)
    assert (np.ptp(Predictor(path).answers(given.pictures), axis=0) > 0).all()


def test_layers_are_put_back_by_what_they_do_to_values_in_their_units(verified: Make) -> None:
    given = verified(task="regression", refuse_first=1, max_drop=1)

    int8.export(given.request())

    assert len(given.judged) == 2
    assert "layers were put back to float, to keep the metric" in given.notes[0]


# ── triton ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("task", EVERY_TASK)
def test_triton_is_told_the_outputs_that_are_there_and_ranks_labels_only(verified: Make, task: Task) -> None:
    given = verified(task=task)

    folder = triton.export(given.request()).path / "insects"

    config = text_format.Parse((folder / "config.pbtxt").read_text(), ModelConfig())
    found = onnxruntime.InferenceSession(folder / "1" / "model.onnx").get_outputs()
    assert [(output.name, list(output.dims)) for output in config.output] == [(o.name, o.shape[1:]) for o in found]
    assert config.output[0].label_filename == ("" if task == "regression" else "labels.txt")
    assert (folder / "labels.txt").read_text().splitlines() == list(LABELS)


# ── Hugging Face ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("task", "problem"), [("multi-label", "multi_label_classification"), ("regression", "regression")]
)
def test_the_folder_states_the_task_and_its_programs_answer_as_the_proof_did(
    verified: Make,
    task: Task,
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = verified(task=task, max_drop=1)
    artifact = hugging_face.export(given.request())
    photo = artifact.path.parent / "photo.jpg"
    Image.open(given.pictures[3]).save(photo)
    card = (artifact.path / "README.md").read_text()
    ours, theirs = re.findall(r"^```python\n(.*?)^```$", card.replace('"photo', '"../photo'), re.M | re.S)
    monkeypatch.chdir(artifact.path)

    exec(ours, {})
    in_our_way = ast.literal_eval(capsys.readouterr().out)
    exec(theirs, {})
    in_their_way = {each["label"]: each["score"] for each in ast.literal_eval(capsys.readouterr().out)}

    config = json.loads((artifact.path / "config.json").read_text())
    assert (config["problem_type"], [*config["id2label"].values()]) == (problem, [*LABELS])
    (expected,) = artifact.answers([photo])
    (prediction,) = Predictor("finetune.onnx").predict(photo)
    assert in_our_way == (prediction.values if task == "regression" else prediction.given)
    assert apart(given, np.array([in_their_way[label] for label in LABELS]), expected) < 1e-4
    assert apart(given, np.array(prediction.answers), expected) < 0.3, "whole pixels make a difference, and a small one"


def test_a_card_of_values_offers_no_pipeline_that_would_show_their_softmax(verified: Make) -> None:
    card = card_of(verified(task="regression", max_drop=1))

    assert "pipeline_tag" not in card
    assert 'pipeline("image-classification", "NAME' not in card
    assert "library_name: transformers.js\ntags:\n- image-regression\n- onnx\n" in card
    assert "The logits are the values" in card


def test_a_card_of_several_labels_says_from_where_on_a_label_is_given(verified: Make) -> None:
    card = card_of(verified(task="multi-label", max_drop=1))

    assert "given from 0.5 on" in card
    assert "Labels with a threshold of their own are given from there on" in card
    assert "gives the same labels as the first on" in card


def card_of(given: Any) -> str:
    found = given.judge(Artifact(path=given.onnx, answers=Predictor(given.onnx).answers))
    return hugging_face_card.card(given.contract, found)
