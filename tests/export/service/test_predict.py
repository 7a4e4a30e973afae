from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from finetune_export import Predictor
from finetune_export.predictor import Prediction

from .conftest import Serve, Service

Files = list[tuple[str, tuple[str, bytes]]]


def form(*files: tuple[str, bytes]) -> tuple[bytes, dict[str, str]]:
    """Return a form with files, as a client's library writes it."""
    named: Files = [("pictures", file) for file in files]
    request = httpx.Request("POST", "http://here/predict", files=named)
    return request.read(), {"Content-Type": request.headers["content-type"]}


@pytest.fixture
def expected(model_path: Path, jpeg: bytes) -> Prediction:
    return Predictor(model_path, threads=1).predict(jpeg)[0]


def test_the_answer_is_the_predictors(service: Service, jpeg: bytes, expected: Prediction) -> None:
    answer = service.request("POST", "/predict", jpeg)
    assert answer.status == 200
    (row,) = answer.json["predictions"]
    assert (row["label"], row["probability"], row["abstains"]) == (expected.label, expected.probability, False)
    assert [(each["label"], each["probability"]) for each in row["top"]] == expected.top(5)
    assert answer.json["seconds"] > 0


def test_the_answer_names_the_model_and_its_version(service: Service, jpeg: bytes, model_path: Path) -> None:
    version = Predictor(model_path).contract.graph_sha256[:12]
    answer = service.request("POST", "/predict", jpeg)
    assert (answer.json["model"], answer.json["version"]) == ("insects", version)
    assert answer.headers["x-model-version"] == version


def test_labels_of_any_script_arrive(service: Service, jpeg: bytes) -> None:
    answer = service.request("POST", "/predict", jpeg)
    assert "Käfer 甲" in answer.body.decode()


@pytest.mark.parametrize(("query", "count"), [("", 3), ("?top=1", 1), ("?top=2", 2), ("?top=99", 3), ("?other=1", 3)])
def test_top_says_how_many_labels(service: Service, jpeg: bytes, query: str, count: int) -> None:
    answer = service.request("POST", f"/predict{query}", jpeg)
    assert len(answer.json["predictions"][0]["top"]) == count


@pytest.mark.parametrize("top", ["0", "-1", "x", "", "1.5", "٣", "9" * 30])
def test_another_top_is_refused(service: Service, jpeg: bytes, top: str) -> None:
    answer = httpx.post(f"http://127.0.0.1:{service.port}/predict", params={"top": top}, content=jpeg)
    assert answer.status_code == 400
    assert answer.json() == {"error": "top has to be a number from 1 to 3"}


def test_a_form_has_several_pictures(service: Service, jpeg: bytes, expected: Prediction) -> None:
    body, headers = form(("a.jpg", jpeg), ("Käfer.png", jpeg))
    rows = service.request("POST", "/predict", body, headers).json["predictions"]
    assert [row["name"] for row in rows] == ["a.jpg", "Käfer.png"]
    assert [row["probability"] for row in rows] == [expected.probability] * 2


def test_a_bad_picture_among_several_has_its_own_error(service: Service, jpeg: bytes) -> None:
    body, headers = form(("good.jpg", jpeg), ("bad.jpg", b"no picture"), ("cut.jpg", jpeg[: len(jpeg) // 2]))
    answer = service.request("POST", "/predict", body, headers)
    good, bad, cut = answer.json["predictions"]
    assert answer.status == 200
    assert good["label"]
    assert (bad["name"], bad["status"]) == ("bad.jpg", 415)
    assert bad["error"] == "not a picture in a known format; allowed are JPEG, PNG, WEBP, BMP, GIF"
    assert cut["status"] == 422


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 415),
        (b"x", 415),
        (b"<html>404</html>", 415),
        (b"<svg><script>alert(1)</script></svg>", 415),
        (b"%PDF-1.7", 415),
        (b"PK\3\4" + bytes(500), 415),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", 415),
        (b"\xff\xd8\xff\xe0", 422),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), 422),
        (b"GIF89a", 422),
    ],
)
def test_one_bad_picture_is_the_answers_status(service: Service, data: bytes, status: int) -> None:
    answer = service.request("POST", "/predict", data)
    assert answer.status == status
    assert list(answer.json) == ["error"]
    assert "/" not in answer.json["error"].replace("JPEG/", "")


def test_a_cut_picture_is_refused(service: Service, jpeg: bytes) -> None:
    answer = service.request("POST", "/predict", jpeg[:-20])
    assert answer.status == 422
    assert answer.json["error"].startswith("the picture is cut off or damaged")


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(
    service: Service, encode: Callable[..., bytes]
) -> None:
    from PIL import Image

    bomb = encode(Image.new("1", (6000, 4200)))
    answer = service.request("POST", "/predict", bomb)
    assert answer.status == 413
    assert answer.json == {"error": "6000 x 4200 pixels; at most 25000000 are allowed altogether"}


def test_one_picture_in_a_form_is_one_picture(service: Service, jpeg: bytes) -> None:
    body, headers = form(("a.jpg", b"no picture"))
    assert service.request("POST", "/predict", body, headers).status == 415


def test_q14_a_form_without_a_boundary_is_refused(service: Service, jpeg: bytes) -> None:
    answer = service.request("POST", "/predict", jpeg, {"Content-Type": "multipart/form-data"})
    assert (answer.status, answer.json["error"][:24]) == (400, "the form has no boundary")


def test_q15_a_form_of_1001_parts_is_refused(service: Service) -> None:
    body, headers = form(*[(f"{i}.jpg", b"x") for i in range(1001)])
    answer = service.request("POST", "/predict", body, headers)
    assert (answer.status, answer.json) == (400, {"error": "the form has too many pictures; at most 32 are allowed"})


def test_a_form_may_have_as_many_pictures_as_are_allowed(service: Service, jpeg: bytes) -> None:
    body, headers = form(*[(f"{i}.jpg", jpeg) for i in range(32)])
    assert len(service.request("POST", "/predict", body, headers).json["predictions"]) == 32


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "not well-formed"),
        (b"junk", "not well-formed"),
        (b"--b--\r\n", "no pictures"),
        (b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nhttp://169.254.169.254/\r\n--b--\r\n', "not a file"),
        (b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\nxx', "not well-formed"),
    ],
)
def test_a_form_that_is_none_is_refused(service: Service, body: bytes, text: str) -> None:
    answer = service.request("POST", "/predict", body, {"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.status == 400
    assert text in answer.json["error"]


def test_several_models_have_names(serve: Serve, model_path: Path, jpeg: bytes) -> None:
    service = serve(model_path, f"again={model_path}")
    assert {service.request("POST", f"/models/{name}/predict", jpeg).json["model"] for name in ("model", "again")} == {
        "model",
        "again",
    }
    unnamed = service.request("POST", "/predict", jpeg)
    assert unnamed.status == 404
    assert "model, again" in unnamed.json["error"]


@pytest.mark.parametrize(
    "name", ["other", "..%2f..%2fetc", "%2e%2e", "..", "a%00b", "x" * 10_000, "K%C3%A4fer", "%ff", "insects%20"]
)
def test_q20_a_name_that_no_model_has_is_not_found(service: Service, jpeg: bytes, name: str) -> None:
    answer = service.request("POST", f"/models/{name}/predict", jpeg)
    assert answer.status == 404
    assert len(answer.body) < 100
    assert "/" not in json.dumps(answer.json)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://169.254.169.254/", "http://a\\@b", "http://127.0.0.1:1/redirect"]
)
def test_q22_no_url_is_ever_opened(service: Service, url: str) -> None:
    assert service.request("POST", "/predict", url.encode()).status == 415
    as_json = {"Content-Type": "application/json"}
    assert service.request("POST", "/predict", json.dumps({"url": url}).encode(), as_json).status == 415


def test_a_form_that_could_never_be_admitted_is_not_told_to_come_back(
    serve: Serve, model_path: Path, jpeg: bytes
) -> None:
    service = serve(model_path, "--concurrency", "1", "--queue", "1")
    answer = service.request("POST", "/predict", *form(*[(f"{i}.jpg", jpeg) for i in range(3)]))
    assert answer.status == 400
    assert answer.json == {"error": "the form has too many pictures; at most 2 are allowed"}
    assert service.request("POST", "/predict", *form(*[(f"{i}.jpg", jpeg) for i in range(2)])).status == 200
