"""Models of each task over HTTP: labels of which several may be right, and values, in every way they are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import schemathesis
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from finetune_export import Predictor
from finetune_export.contract import Contract, Task
from finetune_export.prediction import Prediction
from finetune_export.service import openapi
from finetune_export.service.models import Served
from finetune_export.service.settings import Settings

from .conftest import Serve, Service, Visit

SIDE = 16
Paths = Callable[[Task], Path]


@pytest.fixture
def expected(task_path: Paths, jpeg: bytes) -> Callable[[Task], Prediction]:
    """Return what the predictor itself says of the picture."""
    return lambda task: Predictor(task_path(task), threads=1).predict(jpeg)[0]


def shares(ranked: list[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"label": label, "probability": probability} for label, probability in ranked]


# ── POST /predict ───────────────────────────────────────────────────────────────────────────────────


def test_several_labels_are_those_given_and_the_most_probable(
    every_task: Service, jpeg: bytes, expected: Callable[[Task], Prediction]
) -> None:
    answer = every_task.request("POST", "/models/multi-label/predict?top=2", jpeg)
    prediction = expected("multi-label")
    assert 0 < len(prediction.given) < 3
    (row,) = answer.json["predictions"]
    assert row == {
        "name": row["name"],
        "labels": shares([share for share in prediction.top(3) if share[0] in prediction.given]),
        "top": shares(prediction.top(2)),
    }
    assert [each["label"] for each in row["labels"]] == list(prediction.given)


def test_the_most_probable_label_need_not_be_given_nor_any(
    serve: Serve,
    make_graph: Callable[..., Any],
    seal: Callable[..., bytes],
    contract_of: Callable[[Task], Contract],
    tmp_path: Path,
    jpeg: bytes,
    expected: Callable[[Task], Prediction],
) -> None:
    several, ranked = contract_of("multi-label"), expected("multi-label").top(3)
    least = ranked[-1][0]
    for name, thresholds in {"strict": {}, "odd": {least: 0.0}}.items():
        stated = replace(several, thresholds={**dict.fromkeys(several.labels, 1.0), **thresholds})
        (tmp_path / f"{name}.onnx").write_bytes(seal(make_graph(task="multi-label"), stated))
    service = serve(tmp_path / "strict.onnx", tmp_path / "odd.onnx")
    for name, given in {"strict": [], "odd": shares(ranked[-1:])}.items():
        (row,) = service.request("POST", f"/models/{name}/predict", jpeg).json["predictions"]
        assert (row["labels"], row["top"]) == (given, shares(ranked))


def test_values_are_told_by_their_names(
    every_task: Service, jpeg: bytes, expected: Callable[[Task], Prediction]
) -> None:
    answer = every_task.request("POST", "/models/regression/predict", jpeg)
    (row,) = answer.json["predictions"]
    assert list(row) == ["name", "values"]
    assert row["values"] == expected("regression").values
    assert list(row["values"]) == ["age", "weight in kg", "error"]


def test_a_single_label_is_told_as_ever(
    every_task: Service, jpeg: bytes, expected: Callable[[Task], Prediction]
) -> None:
    (row,) = every_task.request("POST", "/models/single-label/predict", jpeg).json["predictions"]
    assert list(row) == ["name", "label", "probability", "abstains", "top"]
    assert row["label"] == expected("single-label").label


def test_values_have_no_top(every_task: Service, jpeg: bytes) -> None:
    answer = every_task.request("POST", "/models/regression/predict?top=2", jpeg)
    assert answer.status == 400
    assert answer.json == {"error": "top is for models with labels; this one has values, so leave it out"}
    assert every_task.request("POST", "/models/regression/predict?other=2", jpeg).status == 200


def test_pictures_of_every_task_are_counted_as_answered(every_task: Service, jpeg: bytes) -> None:
    for task in ("multi-label", "regression"):
        counter = f'finetune_pictures_total{{model="{task}",outcome="answered"}}'
        before = every_task.metric(counter)
        every_task.request("POST", f"/models/{task}/predict", jpeg)
        assert every_task.metric(counter) == before + 1


# ── the Open Inference Protocol ─────────────────────────────────────────────────────────────────────


@pytest.fixture
def client(every_task: Service) -> Iterator[triton.InferenceServerClient]:
    connected = triton.InferenceServerClient(f"127.0.0.1:{every_task.port}")
    yield connected
    connected.close()


@pytest.fixture
def image() -> list[triton.InferInput]:
    pixels = np.random.default_rng(7).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    return [triton.InferInput("image", list(pixels.shape), "UINT8").set_data_from_numpy(pixels)]


@pytest.mark.parametrize(("task", "name"), [("multi-label", "probabilities"), ("regression", "values")])
def test_outputs_are_called_what_they_are(
    task: Task, name: str, client: triton.InferenceServerClient, image: Any, task_path: Paths
) -> None:
    described = client.get_model_metadata(task)["outputs"]
    assert described == [
        {"name": name, "datatype": "FP32", "shape": [-1, 3]},
        {"name": "embedding", "datatype": "FP32", "shape": [-1, 48]},
    ]
    pixels = np.frombuffer(image[0]._raw_data, np.uint8).reshape(2, SIDE, SIDE, 3)
    answers, embedding = Predictor(task_path(task)).run(pixels)
    for outputs in (None, [triton.InferRequestedOutput(each["name"]) for each in described]):
        result = client.infer(task, image, outputs=outputs)
        np.testing.assert_array_equal(result.as_numpy(name), answers)
        np.testing.assert_array_equal(result.as_numpy("embedding"), embedding)


def test_classification_ranks_labels_and_no_values(client: triton.InferenceServerClient, image: Any) -> None:
    ranked = triton.InferRequestedOutput("probabilities", class_count=1)
    assert client.infer("multi-label", image, outputs=[ranked]).as_numpy("probabilities").shape == (2, 1)
    for name, message in [
        ("values", 'output "values": classification is for the output probabilities'),
        ("probabilities", 'output "probabilities": there is no such output; it has to be values or embedding'),
    ]:
        with pytest.raises(InferenceServerException) as caught:
            client.infer("regression", image, outputs=[triton.InferRequestedOutput(name, class_count=1)])
        assert caught.value.message() == message


# ── the document ────────────────────────────────────────────────────────────────────────────────────


def test_answers_of_every_task_are_as_documented(every_task: Service, jpeg: bytes) -> None:
    document = every_task.request("GET", "/openapi.json").json
    schema = schemathesis.openapi.from_dict(document)
    pixels = {"name": "image", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3], "data": [7] * (SIDE * SIDE * 3)}
    url = f"http://127.0.0.1:{every_task.port}"
    for task in ("single-label", "multi-label", "regression"):
        predicted = requests.post(f"{url}/models/{task}/predict", data=jpeg, timeout=30)
        schema["/models/{name}/predict"]["POST"].validate_response(predicted)
        inferred = requests.post(f"{url}/v2/models/{task}/infer", json={"inputs": [pixels]}, timeout=30)
        schema["/v2/models/{name}/infer"]["POST"].validate_response(inferred)
    assert document["components"]["schemas"]["Output"]["properties"]["name"]["enum"] == [
        "values",
        "probabilities",
        "embedding",
    ]


@pytest.mark.parametrize(
    ("task", "row", "parameters"),
    [
        ("single-label", "Prediction", ["top"]),
        ("multi-label", "LabelsPrediction", ["top"]),
        ("regression", "ValuesPrediction", []),
    ],
)
def test_the_document_has_what_the_models_have_and_no_more(
    task: Task, row: str, parameters: list[str], task_path: Paths
) -> None:
    path = task_path(task)
    document = openapi.document(Settings(models={"m": path}), {"m": Served("m", Predictor(path), "0" * 12)})
    schemas = document["components"]["schemas"]
    rows = schemas["PredictAnswer"]["properties"]["predictions"]["items"]["anyOf"]
    assert [each["$ref"].rpartition("/")[2] for each in rows] == [row, "Refused"]
    assert {name for name in schemas if name.endswith("Prediction")} == {row}
    assert [each["name"] for each in document["paths"]["/predict"]["post"]["parameters"]] == parameters
    json.dumps(document)


# ── the page ────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_shows_each_task_in_its_way(
    every_task: Service,
    visit: Callable[..., Visit],
    tmp_path: Path,
    jpeg: bytes,
    expected: Callable[[Task], Prediction],
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(jpeg)
    seen = visit(every_task)
    seen.page.get_by_label("Model").select_option("multi-label")
    seen.page.set_input_files("#file", photo)
    several = expected("multi-label")
    assert seen.shown("#label") == ", ".join(several.given)
    assert seen.page.locator("#classes .given bdi").all_inner_texts() == list(several.given)
    rows = [row.split("\n") for row in seen.page.locator("#classes li").all_inner_texts()]
    assert rows == [[label, f"{share:.1%}"] for label, share in several.top(3)]

    seen.page.get_by_label("Model").select_option("regression")
    seen.page.get_by_text("3 values").wait_for()
    assert seen.page.locator(".track").count() == 0
    shown = dict(row.split("\n") for row in seen.page.locator("#classes li").all_inner_texts())
    values = expected("regression").values
    assert {name: float(text.replace(",", "")) for name, text in shown.items()} == pytest.approx(values, rel=1e-5)
