"""The real Triton client, unchanged, against the real service; and requests that no good client would send."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import tritonclient.http as triton
from PIL import Image
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from finetune_export import Predictor

SIDE = 16
LABELS = ("ant", "bee", "Käfer 甲")
Batch = np.ndarray[Any, Any]


@pytest.fixture
def predictor(model_path: Path) -> Predictor:
    return Predictor(model_path)


@pytest.fixture
def client(service: Any) -> Iterator[triton.InferenceServerClient]:
    connected = triton.InferenceServerClient(f"127.0.0.1:{service.port}")
    yield connected
    connected.close()


@pytest.fixture
def batch() -> Batch:
    return np.random.default_rng(7).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


def given(batch: Batch, binary: bool = True) -> list[triton.InferInput]:
    image = triton.InferInput("image", list(batch.shape), "UINT8")
    return [image.set_data_from_numpy(batch, binary_data=binary)]


def files(*pictures: bytes) -> list[triton.InferInput]:
    array = np.array(pictures, object)
    return [triton.InferInput("file", [len(pictures)], "BYTES").set_data_from_numpy(array)]


# ── with the client ─────────────────────────────────────────────────────────────────────────────────


def test_the_client_finds_server_and_model_alive(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("insects")
    assert not client.is_model_ready("other")


def test_the_server_names_its_extensions(client: triton.InferenceServerClient) -> None:
    metadata = client.get_server_metadata()
    assert metadata["name"] == "finetune-export"
    assert metadata["extensions"] == ["binary_tensor_data", "classification"]


def test_the_model_describes_its_input_and_outputs(client: triton.InferenceServerClient, predictor: Predictor) -> None:
    version = predictor.contract.graph_sha256[:12]
    expected = {
        "name": "insects",
        "versions": [version],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, SIDE, SIDE, 3]}],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "embedding", "datatype": "FP32", "shape": [-1, 48]},
        ],
    }
    assert client.get_model_metadata("insects") == expected
    assert client.get_model_metadata("insects", version) == expected
    assert client.is_model_ready("insects", version)


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_the_client_gets_what_the_predictor_answers(
    binary_in: bool, binary_out: bool, client: triton.InferenceServerClient, predictor: Predictor, batch: Batch
) -> None:
    names = ("embedding", "probabilities")
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in names]
    result = client.infer("insects", given(batch, binary_in), outputs=outputs, request_id="7-ä")
    probabilities, embedding = predictor.run(batch)
    np.testing.assert_array_equal(result.as_numpy("probabilities"), probabilities)
    np.testing.assert_array_equal(result.as_numpy("embedding"), embedding)
    response = result.get_response()
    assert [output["name"] for output in response["outputs"]] == list(names)
    assert (response["id"], response["model_name"]) == ("7-ä", "insects")
    assert response["model_version"] == predictor.contract.graph_sha256[:12]


def test_without_a_list_all_outputs_come(client: triton.InferenceServerClient, batch: Batch) -> None:
    result = client.infer("insects", given(batch))
    assert result.as_numpy("probabilities").shape == (3, 3)
    assert result.as_numpy("embedding").shape == (3, 48)
    assert "id" not in result.get_response()


def test_one_output_of_several_can_be_binary(client: triton.InferenceServerClient, batch: Batch) -> None:
    outputs = [
        triton.InferRequestedOutput("probabilities", binary_data=False),
        triton.InferRequestedOutput("embedding", binary_data=True),
    ]
    result = client.infer("insects", given(batch), outputs=outputs)
    described = {output["name"]: "data" in output for output in result.get_response()["outputs"]}
    assert described == {"probabilities": True, "embedding": False}
    assert result.as_numpy("embedding").shape == (3, 48)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(("asked", "sent"), [(1, 1), (2, 2), (1000, 3)])
def test_classification_names_the_best_classes(
    asked: int, sent: int, binary: bool, client: triton.InferenceServerClient, predictor: Predictor, batch: Batch
) -> None:
    output = triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=asked)
    found = client.infer("insects", given(batch), outputs=[output]).as_numpy("probabilities")
    texts = [[each.decode() if isinstance(each, bytes) else each for each in row] for row in found]
    expected = [
        [
            f"{probability:f}:{LABELS.index(label)}:{label}"
            for label, probability in predictor.prediction("", row).top(sent)
        ]
        for row in predictor.run(batch)[0]
    ]
    assert texts == expected


def test_picture_files_are_prepared_by_the_service(
    client: triton.InferenceServerClient, predictor: Predictor, photo: Callable[..., Image.Image], encode: Any
) -> None:
    pictures = [encode(photo(seed=seed), kind) for seed, kind in enumerate(("PNG", "JPEG", "WEBP"))]
    result = client.infer("insects", files(*pictures))
    np.testing.assert_allclose(result.as_numpy("probabilities"), predictor.answers(pictures), atol=1e-6)
    np.testing.assert_allclose(result.as_numpy("embedding"), predictor.embeddings(pictures), atol=1e-6)


def test_a_file_that_is_no_picture_is_named(
    client: triton.InferenceServerClient, photo: Callable[..., Image.Image], encode: Any
) -> None:
    with pytest.raises(InferenceServerException, match=r'^\[415\] input "file": element 1: not a picture'):
        client.infer("insects", files(encode(photo()), b"<html>"))
    with pytest.raises(InferenceServerException, match=r'^\[422\] input "file": element 0: '):
        client.infer("insects", files(encode(photo(), "JPEG")[:300]))


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (np.zeros((1, SIDE, SIDE, 3), np.float32), 'datatype "FP32" is not allowed; it has to be UINT8'),
        (np.full((1, SIDE, SIDE, 3), np.nan, np.float32), 'datatype "FP32" is not allowed; it has to be UINT8'),
        (np.zeros((0, SIDE, SIDE, 3), np.uint8), "shape [0, 16, 16, 3] is not allowed; it has to be [N, 16, 16, 3]"),
        (np.zeros((33, SIDE, SIDE, 3), np.uint8), "it has to be [N, 16, 16, 3], N from 1 to 32"),
        (np.zeros((1, 3, SIDE, SIDE), np.uint8), "shape [1, 3, 16, 16] is not allowed"),
        (np.zeros((SIDE, SIDE, 3), np.uint8), "shape [16, 16, 3] is not allowed"),
        (np.zeros((1, SIDE, SIDE, 4), np.uint8), "shape [1, 16, 16, 4] is not allowed"),
    ],
)
def test_the_client_is_told_what_is_wrong_with_its_input(
    batch: Batch, message: str, client: triton.InferenceServerClient
) -> None:
    image = triton.InferInput("image", list(batch.shape), np_to_triton_dtype(batch.dtype))
    for binary in (True, False):
        if binary or not np.isnan(batch).any():
            with pytest.raises(InferenceServerException) as caught:
                client.infer("insects", [image.set_data_from_numpy(batch, binary_data=binary)])
            assert caught.value.status() == "400"
            assert caught.value.message().startswith('input "image": ')
            assert message in caught.value.message()


def test_names_and_versions_that_are_not_there_are_refused(client: triton.InferenceServerClient, batch: Batch) -> None:
    for arguments, message in [
        (("other", given(batch)), r"^\[404\] there is no model of this name$"),
        (
            ("insects", given(batch), "2"),
            r"^\[404\] there is no such version of this model; it has version [0-9a-f]{12}$",
        ),
        (("insects", [*given(batch), *files(b"x")]), r"^\[400\] inputs: 2 given; it has to be one, image or file$"),
    ]:
        with pytest.raises(InferenceServerException, match=message):
            client.infer(*arguments)
    with pytest.raises(InferenceServerException, match='output "logits": there is no such output'):
        client.infer("insects", given(batch), outputs=[triton.InferRequestedOutput("logits")])
    with pytest.raises(InferenceServerException, match='output "embedding": classification is for'):
        client.infer("insects", given(batch), outputs=[triton.InferRequestedOutput("embedding", class_count=1)])
    with pytest.raises(InferenceServerException, match='request: parameter "sequence_id" is not supported'):
        client.infer("insects", given(batch), sequence_id=7)
    region = triton.InferRequestedOutput("probabilities")
    region.set_shared_memory("region", 100)
    with pytest.raises(InferenceServerException, match='parameter "shared_memory_region" is not supported'):
        client.infer("insects", given(batch), outputs=[region])
    assert client.infer("insects", given(batch), priority=1, timeout=10**6, parameters={"mine": "yes"})


def test_compressed_requests_are_refused_and_compressed_answers_need_not_be(
    client: triton.InferenceServerClient, batch: Batch
) -> None:
    with pytest.raises(InferenceServerException, match=r"^\[415\]"):
        client.infer("insects", given(batch), request_compression_algorithm="gzip")
    assert (
        client.infer("insects", given(batch), response_compression_algorithm="gzip").as_numpy("embedding") is not None
    )


def test_the_client_works_with_many_requests_at_once(service: Any, predictor: Predictor) -> None:
    rng = np.random.default_rng(3)
    batches = [rng.integers(0, 256, (2, SIDE, SIDE, 3), np.uint8) for _ in range(40)]
    client = triton.InferenceServerClient(f"127.0.0.1:{service.port}", concurrency=8)
    waiting = [client.async_infer("insects", given(batch), request_id=str(i)) for i, batch in enumerate(batches)]
    for i, (batch, each) in enumerate(zip(batches, waiting, strict=True)):
        result = each.get_result()
        assert result.get_response()["id"] == str(i)
        np.testing.assert_array_equal(result.as_numpy("probabilities"), predictor.run(batch)[0])
    client.close()


# ── without it ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def post(service: Any) -> Callable[..., tuple[int, dict[str, Any]]]:
    def posted(body: bytes, path: str = "/v2/models/insects/infer", **headers: str) -> tuple[int, dict[str, Any]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = service.request("POST", path, body, named)
        assert answer.headers["content-type"] == "application/json"
        return answer.status, answer.json

    return posted


def sound(**changes: Any) -> dict[str, Any]:
    image = {"name": "image", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3], "data": [7] * (SIDE * SIDE * 3)}
    return {"inputs": [image], **changes}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "request: a list is not allowed; it has to be an object"),
        ({}, 'request: key "inputs" is missing'),
        ({"inputs": []}, "inputs: 0 given; it has to be one, image or file"),
        ({"inputs": [5]}, "inputs[0]: 5 is not allowed; it has to be an object"),
        (sound(output=[]), 'request: unknown key "output"; allowed are id, parameters, inputs, outputs'),
        (sound(id=7), "request.id: 7 is not allowed; it has to be text"),
        (sound(id="\udc00"), r'request.id: "\udc00" is not allowed; it has to be text'),
        (sound(outputs=[]), "outputs: each has to be named once, and at least one; leave it out for all"),
        (
            sound(outputs=[{"name": "embedding"}, {"name": "embedding"}]),
            "outputs: each has to be named once, and at least one; leave it out for all",
        ),
        (sound(outputs=[{}]), 'outputs[0]: key "name" is missing'),
        (
            sound(outputs=[{"name": "probabilities", "parameters": {"classification": 0}}]),
            'output "probabilities": classification 0 is not allowed; it has to be 1 or more',
        ),
        (
            sound(outputs=[{"name": "probabilities", "parameters": {"classification": True}}]),
            'output "probabilities": parameter classification: true is not allowed; it has to be a whole number',
        ),
        (
            sound(parameters={"binary_data_output": 1}),
            "request: parameter binary_data_output: 1 is not allowed; it has to be true or false",
        ),
        (
            {"inputs": [{**sound()["inputs"][0], "name": "Image"}]},
            'input "Image": there is no such input; it has to be image or file',
        ),
    ],
)
def test_requests_that_are_not_of_the_protocol_are_refused(value: Any, message: str, post: Any) -> None:
    assert post(json.dumps(value).encode()) == (400, {"error": message})


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[" * 10_000,
        b'{"inputs":' * 10_000,
        b"1" * 200,
        b'{"id": "a", "id": "b", "inputs": []}',
        json.dumps(sound()).replace("[7, ", f"[{'7' * 200}, ").encode(),
        json.dumps(sound()).replace("[7, ", "[NaN, ").encode(),
        json.dumps(sound()).replace("[7, ", "[1e999, ").encode(),
        b'{"inputs": [' + b"0," * 5_000_000 + b"0]}",
        b"\xff\xfe{\x00}\x00",
    ],
    ids=[
        "empty",
        "null",
        "deep list",
        "deep object",
        "number",
        "twice",
        "200 digits",
        "NaN",
        "1e999",
        "huge",
        "utf-16",
    ],
)
def test_json_that_is_not_sound_is_refused_and_the_service_lives(text: bytes, post: Any) -> None:
    status, answer = post(text)
    assert status == 400
    assert answer["error"].isprintable()
    assert post(json.dumps(sound()).encode())[0] == 200


def test_json_of_a_wrong_stated_length_is_refused(post: Any) -> None:
    body = json.dumps(sound()).encode()
    for length in ("-1", "x", str(len(body) + 1), "9" * 400):
        status, answer = post(body, Inference_Header_Content_Length=length)
        assert (status, answer["error"].partition(":")[0]) == (400, "Inference-Header-Content-Length")


@pytest.mark.parametrize(
    "name", ["../x", "%2e%2e", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "%00", "x" * 10_000, quote("Käfer 甲"), "..", "~", "*"]
)
def test_names_that_are_no_models_are_not_found_and_not_repeated(name: str, post: Any) -> None:
    status, answer = post(json.dumps(sound()).encode(), f"/v2/models/{name}/infer")
    assert status == 404
    assert answer["error"] in ("there is no model of this name", "there is nothing at this address")


def test_data_in_two_places_is_refused(post: Any) -> None:
    body = json.dumps({"inputs": [{**sound()["inputs"][0], "parameters": {"binary_data_size": 768}}]}).encode()
    status, answer = post(body + bytes(768), Inference_Header_Content_Length=str(len(body)))
    assert (status, answer["error"]) == (400, 'input "image": give either data or the parameter binary_data_size')
