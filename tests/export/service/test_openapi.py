"""The OpenAPI document says the truth: schemathesis sends what it allows and what not, and looks at the answers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from starlette.routing import Route

from finetune_export.service import inference, metrics, openapi, page, predict

SIDE = 16
ROUTES: list[Route] = [*predict.routes, *inference.routes, *metrics.routes, *openapi.routes, *page.routes]


@pytest.fixture
def document(service: Any) -> dict[str, Any]:
    found: dict[str, Any] = service.request("GET", "/openapi.json").json
    return found


def test_every_route_is_in_the_document_and_nothing_else_is(document: dict[str, Any]) -> None:
    routes = {(route.path, method.lower()) for route in ROUTES for method in route.methods or () if method != "HEAD"}
    documented = {(path, key) for path, item in document["paths"].items() for key in item if key != "parameters"}
    assert documented == routes


def test_names_versions_and_limits_are_those_of_the_service(document: dict[str, Any]) -> None:
    name, version = document["paths"]["/v2/models/{name}/versions/{version}"]["parameters"]
    assert name["schema"]["enum"] == ["insects"]
    assert re.fullmatch("[0-9a-f]{12}", *version["schema"]["enum"])
    assert document["components"]["schemas"]["Form"]["properties"]["picture"]["maxItems"] == 32
    assert document["paths"]["/predict"]["post"]["requestBody"]["description"].endswith(
        "at most 10485760 bytes altogether."
    )


def test_with_several_models_there_is_no_predict_without_a_name(serve: Callable[..., Any], model_path: Path) -> None:
    service = serve(f"a={model_path}", f"b={model_path}")
    document = service.request("GET", "/openapi.json").json
    assert "/predict" not in document["paths"]
    assert document["paths"]["/models/{name}/predict"]["parameters"][0]["schema"]["enum"] == ["a", "b"]
    assert service.request("POST", "/predict", b"x").status == 404


def test_a_token_is_in_the_document(serve: Callable[..., Any], model_path: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    service = serve(model_path, "--token-file", token)
    document = service.request("GET", "/openapi.json", headers={"Authorization": "Bearer secret"}).json
    assert document["security"] == [{"token": []}]
    assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    open_paths = {path for path, item in document["paths"].items() if item.get("get", {}).get("security") == []}
    assert open_paths == {"/", "/page.css", "/page.js", "/icon.svg", "/v2/health/live", "/v2/health/ready"}
    for path, item in document["paths"].items():
        if "get" in item and "{" not in path:
            assert service.request("GET", path).status == (200 if path in open_paths else 401)


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def check(service: Any, document: dict[str, Any]) -> Callable[..., requests.Response]:
    """Send a request, and compare its answer with what the document says of its status."""
    schema = schemathesis.openapi.from_dict(document)

    def checked(template: str, method: str, path: str = "", **options: Any) -> requests.Response:
        response = requests.request(method, f"http://127.0.0.1:{service.port}{path or template}", timeout=30, **options)
        schema[template][method].validate_response(response)
        return response

    return checked


def test_predictions_are_as_documented(check: Callable[..., requests.Response], jpeg: bytes) -> None:
    one = check("/predict", "POST", data=jpeg, headers={"Content-Type": "image/jpeg"}).json()
    assert list(one["predictions"][0]) == ["name", "label", "probability", "abstains", "top"]
    files = [("picture", ("a.jpg", jpeg)), ("picture", ("b.txt", b"no picture"))]
    both = check("/models/{name}/predict", "POST", "/models/insects/predict?top=1", files=files).json()
    assert [row.get("status") for row in both["predictions"]] == [None, 415]


def test_inference_is_as_documented(check: Callable[..., requests.Response]) -> None:
    image = {"name": "image", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3], "data": [7] * (SIDE * SIDE * 3)}
    outputs = [{"name": "probabilities", "parameters": {"classification": 2}}, {"name": "embedding"}]
    infer, path = "/v2/models/{name}/infer", "/v2/models/insects/infer"
    answer = check(infer, "POST", path, json={"id": "7", "inputs": [image], "outputs": outputs})
    assert answer.headers["Content-Type"] == "application/json"
    binary = check(infer, "POST", path, json={"inputs": [image], "parameters": {"binary_data_output": True}})
    assert binary.headers["Content-Type"] == "application/octet-stream"
    head = json.loads(binary.content[: int(binary.headers["Inference-Header-Content-Length"])])
    assert [output["parameters"]["binary_data_size"] for output in head["outputs"]] == [12, 192]


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("POST", "/predict", {"data": b""}, 415),
        ("POST", "/predict", {"data": b"text"}, 415),
        ("POST", "/predict", {"data": b"x" * (10 * 2**20 + 1)}, 413),
        ("POST", "/predict", {"data": b"x", "headers": {"Content-Encoding": "gzip"}}, 415),
        ("POST", "/predict", {"data": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400),
        ("POST", "/predict", {"data": b"x", "params": {"top": "0"}}, 400),
    ],
)
def test_refusals_are_as_documented(
    method: str, path: str, options: dict[str, Any], status: int, check: Callable[..., requests.Response]
) -> None:
    response = check(path, method, **options)
    assert response.status_code == status
    assert list(response.json()) == ["error"]


# ── anything ────────────────────────────────────────────────────────────────────────────────────────


def fuzz(url: str, folder: Path, examples: int, *options: str) -> str:
    """Return what schemathesis reports. Whether data of the right form is taken is left out: a form is no picture."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json", "--no-color"]
    command += ["--checks", "all", "--exclude-checks", "positive_data_acceptance", "--generation-database", "none"]
    command += ["--seed", "7", "--max-examples", str(examples), *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_no_request_makes_the_service_fail_or_answer_otherwise_than_documented(service: Any, tmp_path: Path) -> None:
    report = fuzz(f"http://127.0.0.1:{service.port}", tmp_path, 5, "--phases", "coverage,fuzzing")
    assert re.search(rf"Tested: +{len(ROUTES) - 1}\n", report)  # all but the document itself
    assert not [line for line in service.log() if line["event"] == "internal error"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_request_of_very_many_makes_the_service_fail(
    serve: Callable[..., Any], model_path: Path, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    for service, options in [
        (serve(f"a={model_path}", f"b={model_path}"), ()),
        (serve(model_path, "--token-file", token), ("-H", "Authorization: Bearer secret")),
    ]:
        fuzz(f"http://127.0.0.1:{service.port}", tmp_path, 250, *options)
        assert not [line for line in service.log() if line["event"] == "internal error"]
