"""Who may ask, what an answer gives away, and what a browser may do with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_export.errors import FinetuneError, ImageError, ModelError, TimeLimitError
from finetune_export.service.problems import problem_of

from .conftest import Serve, Service, posted, read_answer

EVERY_ANSWER = [
    ("GET", "/", 200),
    ("GET", "/v2", 200),
    ("GET", "/v2/health/live", 200),
    ("GET", "/metrics", 200),
    ("GET", "/openapi.json", 200),
    ("POST", "/predict", 415),
    ("GET", "/predict", 405),
    ("GET", "/nothing", 404),
    ("GET", "//etc/passwd", 404),
    ("GET", "/page/../../../etc/passwd", 404),
    ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404),
    ("GET", "/v2/", 404),
    ("OPTIONS", "/predict", 405),
    ("PUT", "/predict", 405),
    ("TRACE", "/predict", 405),
    ("HEAD", "/v2", 200),
]


@pytest.mark.parametrize(("method", "path", "status"), EVERY_ANSWER)
def test_every_answer_has_the_headers(service: Service, method: str, path: str, status: int) -> None:
    answer = service.request(method, path, b"no picture" if method == "POST" else None)
    assert answer.status == status
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", answer.headers["x-request-id"])
    assert "cache-control" in answer.headers
    assert "server" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers
    if status >= 400 and method != "HEAD":
        assert list(answer.json) == ["error"]


def test_answers_are_not_stored(service: Service, jpeg: bytes) -> None:
    assert service.request("POST", "/predict", jpeg).headers["cache-control"] == "no-store"


def test_405_says_what_is_allowed(service: Service) -> None:
    assert service.request("GET", "/predict").headers["allow"] == "POST"
    assert service.request("POST", "/v2", b"").headers["allow"] == "GET, HEAD"


def test_no_address_is_redirected(service: Service) -> None:
    """A redirect would be to whatever the Host header names."""
    for path in ("/v2/", "/predict/", "/metrics/"):
        assert service.request("GET", path, headers={"Host": "evil.example"}).status == 404


def test_head_has_no_body(service: Service) -> None:
    with service.connect() as connection:
        for _ in range(2):
            connection.sendall(b"HEAD /v2/health/live HTTP/1.1\r\nHost: here\r\n\r\n")
            received = b""
            while b"\r\n\r\n" not in received:
                received += connection.recv(65536)
            assert received.startswith(b"HTTP/1.1 200 OK")
            assert received.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("given", ["a", "trace-1.2_3", "A" * 64])
def test_a_request_id_of_the_client_is_kept(service: Service, given: str) -> None:
    assert service.request("GET", "/v2", headers={"X-Request-Id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a b", "a\tb", "A" * 65, "<script>", "é", "a,b"])
def test_another_request_id_is_replaced(service: Service, given: str) -> None:
    answer = service.request("GET", "/v2", headers={"X-Request-Id": given.encode("utf-8").decode("latin-1")})
    assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", answer.headers["x-request-id"])


def test_request_ids_are_unique(service: Service) -> None:
    ids = [service.request("GET", "/v2/health/live").headers["x-request-id"] for _ in range(20)]
    assert len(set(ids)) == 20


# ── the token ───────────────────────────────────────────────────────────────────────────────────────

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def guarded(serve: Serve, model_path: Path, tmp_path: Path) -> Service:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return serve(model_path, "--token-file", file)


def test_without_the_token_only_health_and_the_page_answer(guarded: Service, jpeg: bytes) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", "/"):
        assert guarded.request("GET", path).status == 200
    for path in ("/v2", "/metrics", "/openapi.json", "/nothing", "/v2/models/model", "//v2/health/live"):
        answer = guarded.request("GET", path)
        assert (answer.status, answer.json) == (401, {"error": "a valid bearer token is needed"})
        assert answer.headers["www-authenticate"] == "Bearer"
    assert guarded.request("POST", "/predict", jpeg).status == 401


WRONG = ["", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN]
WRONG += [f"Bearer {TOKEN}, Bearer x", "Bearer \xe9"]


def test_a_wrong_token_is_refused(guarded: Service, jpeg: bytes) -> None:
    answers = [guarded.request("POST", "/predict", jpeg, {"Authorization": header}) for header in WRONG]
    assert [answer.status for answer in answers] == [401] * len(WRONG)


def test_the_token_opens_everything_and_appears_nowhere(guarded: Service, jpeg: bytes) -> None:
    for scheme in ("Bearer", "bearer"):
        answer = guarded.request("POST", "/predict?token=secret-query", jpeg, {"Authorization": f"{scheme} {TOKEN}"})
        assert answer.status == 200
    command = b" ".join(part.encode() for part in guarded.workers()[0].cmdline())
    environment = str(guarded.workers()[0].environ())
    assert guarded.stop() == 0
    for text in (guarded.stderr(), command.decode(), environment, guarded.line):
        assert TOKEN not in text
        assert "secret-query" not in text


def test_a_refusal_keeps_the_connection(guarded: Service, jpeg: bytes) -> None:
    with guarded.connect() as connection:
        connection.sendall(posted("/predict", jpeg))
        assert read_answer(connection).status == 401
        connection.sendall(posted("/predict", jpeg, f"Authorization: Bearer {TOKEN}"))
        assert read_answer(connection).status == 200


def test_the_token_may_come_from_the_environment(
    serve: Serve, model_path: Path, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_TOKEN", TOKEN)
    service = serve(model_path)
    assert service.request("POST", "/predict", jpeg).status == 401
    assert service.request("POST", "/predict", jpeg, {"Authorization": f"Bearer {TOKEN}"}).status == 200
    assert "FINETUNE_TOKEN" not in service.workers()[0].environ()


# ── what an answer gives away ───────────────────────────────────────────────────────────────────────


def test_no_answer_names_a_path_of_this_machine(service: Service, model_path: Path, jpeg: bytes) -> None:
    bodies = [
        service.request(method, path, body).body
        for method in ("GET", "POST")
        for path in (
            "/predict",
            "/nothing",
            "/v2",
            "/v2/models/insects",
            "/models/x/predict",
            "/metrics",
            "/v2/models/x",
        )
        for body in (b"", jpeg, jpeg[:50])
    ]
    assert not any(b".onnx" in body or b"/tmp" in body or b"/home" in body or b".py" in body for body in bodies)


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (ImageError("/home/me/photo.jpg", "the file is empty", "format"), 415, "the file is empty"),
        (ImageError("/home/me/photo.jpg", "too large", "too large"), 413, "too large"),
        (ImageError("/home/me/photo.jpg", "cut off"), 422, "cut off"),
        (ImageError("/home/me/photo.jpg", "0 x 1 pixels", "shape"), 422, "0 x 1 pixels"),
        (ModelError("/srv/model.onnx: the network cannot be run"), 500, "the network could not answer"),
        (TimeLimitError("/srv/model.onnx: too long"), 504, "the network took too long for these pictures"),
    ],
)
def test_errors_of_the_runtime_are_told_without_their_files(error: FinetuneError, status: int, text: str) -> None:
    problem = problem_of(error)
    assert problem.status == status
    assert problem.text.startswith(text)
    assert "/" not in problem.text


# ── the log and the metrics ─────────────────────────────────────────────────────────────────────────


def test_the_log_has_one_line_of_json_for_each_request(serve: Serve, model_path: Path, jpeg: bytes) -> None:
    service = serve(model_path)
    sent = service.request("POST", "/predict?top=1", jpeg, {"X-Request-Id": "mine"})
    service.request("POST", "/models/secret-name/predict", jpeg)
    service.request("GET", "/secret-path")
    service.raw(b"junk\r\n\r\n")
    assert service.stop() == 0
    first, second, third, fourth = service.logged("request")
    assert (first["method"], first["route"], first["status"], first["bytes"]) == ("POST", "/predict", 200, len(jpeg))
    assert (first["model"], first["version"]) == ("model", sent.json["version"])
    assert first["request_id"] == "mine"
    assert first["level"] == "info"
    assert first["seconds"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", first["time"])
    assert (second["route"], second["status"]) == ("/models/{name}/predict", 404)
    assert (third["route"], third["status"]) == ("unknown", 404)
    assert (fourth["route"], fourth["status"]) == ("unreadable", 400)
    assert "secret" not in service.stderr()


def test_the_metrics_count_and_their_number_is_bounded(serve: Serve, model_path: Path, jpeg: bytes) -> None:
    service = serve(model_path)
    service.request("POST", "/predict", jpeg)
    service.request("POST", "/predict", b"no picture")
    names = service.request("GET", "/metrics").body.count(b"\n")
    for i in range(50):
        service.request("GET", f"/path-{i}")
        service.request("POST", f"/models/name-{i}/predict", jpeg)
        service.request("POST", "/predict", jpeg, {"X-Request-Id": f"id-{i}"})
    text = service.request("GET", "/metrics").body
    assert text.count(b"\n") < names + 60
    assert b"path-" not in text
    assert b"name-" not in text
    assert service.metric('finetune_requests_total{route="/predict",status="200"}') == 51
    assert service.metric('finetune_requests_total{route="unknown",status="404"}') == 50
    assert service.metric('finetune_requests_total{route="/models/{name}/predict",status="404"}') == 50
    assert service.metric('finetune_pictures_total{model="model",outcome="answered"}') == 51
    assert service.metric('finetune_pictures_total{model="model",outcome="refused"}') == 1
    assert service.metric('finetune_request_seconds_count{route="/predict"}') == 52


def test_the_metrics_of_all_workers_are_summed(serve: Serve, model_path: Path, jpeg: bytes) -> None:
    service = serve(model_path, "--workers", "2")
    for _ in range(20):
        service.request("POST", "/predict", jpeg)
    assert service.metric('finetune_requests_total{route="/predict",status="200"}') == 20
    service.workers()[0].kill()
    found: Callable[[], float] = lambda: service.metric('finetune_requests_total{route="/predict",status="200"}')  # noqa: E731
    assert found() == 20
    assert service.metric("finetune_admitted_pictures") == 0


def test_a_reachable_service_without_a_token_is_told_of(serve: Serve, model_path: Path) -> None:
    service = serve(model_path, "--host", "0.0.0.0")
    assert service.stop() == 0
    assert len(service.logged("other machines can reach this service, and no token is asked for")) == 1
