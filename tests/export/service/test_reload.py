"""Model files that change while the service answers."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune_export import Predictor

from .conftest import Serve, Service, posted, read_answer, until


@pytest.fixture
def versions(make_graph: Callable[..., Any], seal: Callable[..., bytes]) -> Callable[[int], bytes]:
    """Return model files that differ in their weights."""

    def version(seed: int) -> bytes:
        weights = np.random.default_rng(seed).normal(0, 0.3, (48, 3)).astype(np.float32)
        return seal(make_graph(weights))

    return version


def version_of(service: Service, jpeg: bytes) -> str:
    answer = service.request("POST", "/predict", jpeg)
    assert answer.status == 200
    assert answer.headers["x-model-version"] == answer.json["version"]
    return str(answer.json["version"])


def replace(path: Path, data: bytes) -> str:
    """Replace a model file as it should be done, and return the version it has to answer as."""
    beside = path.with_suffix(".tmp")
    beside.write_bytes(data)
    version = Predictor(beside).contract.graph_sha256[:12]
    beside.replace(path)
    return version


def test_a_replaced_file_answers(serve: Serve, model_path: Path, versions: Callable[[int], bytes], jpeg: bytes) -> None:
    service = serve(model_path)
    before = version_of(service, jpeg)
    expected = replace(model_path, versions(1))
    until(lambda: version_of(service, jpeg) == expected, "the new version answers")
    assert expected != before
    (line,) = until(lambda: service.logged("model swapped in"), "it is logged")
    assert (line["version"], line["before"], line["model"]) == (expected, before, "model")
    assert service.metric(f'finetune_model_info{{model="model",version="{expected}"}}') == 1
    assert before not in service.request("GET", "/metrics").body.decode()


def test_a_rewritten_file_answers(
    serve: Serve, model_path: Path, versions: Callable[[int], bytes], jpeg: bytes
) -> None:
    service = serve(model_path)
    data = versions(2)
    model_path.write_bytes(data)
    expected = Predictor(model_path).contract.graph_sha256[:12]
    until(lambda: version_of(service, jpeg) == expected, "the new version answers")


def test_sighup_opens_the_files_again(
    serve: Serve, model_path: Path, versions: Callable[[int], bytes], jpeg: bytes
) -> None:
    service = serve(model_path, "--no-watch")
    expected = replace(model_path, versions(3))
    service.process.send_signal(signal.SIGHUP)
    until(lambda: version_of(service, jpeg) == expected, "the new version answers")


def test_a_file_that_is_not_watched_is_left_alone(
    serve: Serve, model_path: Path, versions: Callable[[int], bytes], jpeg: bytes
) -> None:
    service = serve(model_path, f"watched={model_path}", "--no-watch")
    before = version_of_named(service, "model", jpeg)
    replace(model_path, versions(3))
    watching = serve(model_path)
    assert version_of(watching, jpeg) != before
    assert version_of_named(service, "model", jpeg) == before


def version_of_named(service: Service, name: str, jpeg: bytes) -> str:
    return str(service.request("POST", f"/models/{name}/predict", jpeg).json["version"])


def test_bad_files_are_refused_and_the_old_one_answers(
    serve: Serve, model_path: Path, versions: Callable[[int], bytes], jpeg: bytes
) -> None:
    service = serve(model_path)
    before = version_of(service, jpeg)
    new = versions(4)
    middle = len(new) // 3
    flipped = new[:middle] + bytes([new[middle] ^ 1]) + new[middle + 1 :]
    for count, bad in enumerate([new[: len(new) // 2], flipped, b"\x80\x04pickle", b""], 1):
        beside = model_path.with_suffix(".tmp")
        beside.write_bytes(bad)
        beside.replace(model_path)
        until(lambda count=count: len(service.logged("new model refused")) == count, "the bad file is refused")
        assert version_of(service, jpeg) == before
    assert {line["level"] for line in service.logged("new model refused")} == {"error"}
    assert service.metric('finetune_reloads_total{model="model",outcome="refused"}') == 4  # each once
    expected = replace(model_path, new)
    until(lambda: version_of(service, jpeg) == expected, "a good file is taken after bad ones")


def test_a_deleted_file_goes_on_answering(
    serve: Serve, model_path: Path, versions: Callable[[int], bytes], jpeg: bytes
) -> None:
    service = serve(model_path)
    before = version_of(service, jpeg)
    model_path.unlink()
    service.process.send_signal(signal.SIGHUP)
    until(lambda: service.logged("new model refused"), "it was looked for")
    assert version_of(service, jpeg) == before
    expected = replace(model_path, versions(5))
    until(lambda: version_of(service, jpeg) == expected, "a new file is taken")


def test_no_request_is_lost_while_models_change(
    serve: Serve, model_path: Path, versions: Callable[[int], bytes], jpeg: bytes
) -> None:
    """Each answer is that of the version it names, to the last bit."""
    service = serve(model_path)
    expected: dict[str, float] = {}

    def note() -> None:
        predictor = Predictor(model_path, threads=1)
        expected[predictor.contract.graph_sha256[:12]] = predictor.predict(jpeg)[0].probability

    note()
    stop = threading.Event()
    found: list[tuple[int, str, float]] = []

    def ask() -> None:
        with service.connect() as connection:
            while not stop.is_set():
                connection.sendall(posted("/predict", jpeg))
                answer = read_answer(connection)
                row = answer.json["predictions"][0] if answer.status == 200 else {}
                found.append((answer.status, answer.headers["x-model-version"], row.get("probability", -1.0)))

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        for seed in range(10, 16):
            version = replace(model_path, versions(seed))
            note()
            service.process.send_signal(signal.SIGHUP)
            until(lambda version=version: version_of(service, jpeg) == version, "the new version answers")
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert {status for status, _, _ in found} == {200}
    assert {version for _, version, _ in found} <= set(expected)
    assert len({version for _, version, _ in found}) > 1
    assert all(expected[version] == probability for _, version, probability in found)


def test_every_worker_takes_the_new_file(
    serve: Serve, model_path: Path, versions: Callable[[int], bytes], jpeg: bytes
) -> None:
    service = serve(model_path, "--workers", "2")
    expected = replace(model_path, versions(6))
    until(lambda: len(service.logged("model swapped in")) == 2, "both workers have swapped")
    assert {version_of(service, jpeg) for _ in range(10)} == {expected}
