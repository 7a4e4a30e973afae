"""Real processes, real signals: what dies is replaced, what is told to stop finishes first, nothing stays behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from finetune_export.service.settings import Settings
from finetune_export.service.worker import _config

from .conftest import Serve, Service, gone, posted, read_answer, until


def answers(service: Service, jpeg: bytes) -> bool:
    return service.request("POST", "/predict", jpeg).status == 200


def refuses_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_it_says_where_it_listens(serve: Serve, model_path: Path) -> None:
    service = serve(model_path)
    version = service.request("GET", "/v2/models/model").json["versions"][0]
    assert service.line == f"Listening on http://127.0.0.1:{service.port} (model model, version {version})\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_service_ends_with_status_0(serve: Serve, model_path: Path, jpeg: bytes, number: int) -> None:
    service = serve(model_path)
    with service.connect() as idle:  # a connection that is kept does not hold it up
        idle.sendall(posted("/predict", jpeg))
        assert read_answer(idle).status == 200
        workers = service.workers()
        assert service.stop(number) == 0
    assert all(map(gone, workers))
    until(lambda: refuses_connections(service.port), "nobody listens")
    assert "Traceback" not in service.stderr()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_64_requests_in_flight_are_answered_before_it_ends(
    serve: Serve, model_path: Path, slow_jpeg: bytes, number: int
) -> None:
    service = serve(model_path, "--concurrency", "1")
    connections = [service.connect() for _ in range(64)]
    for connection in connections:
        connection.sendall(posted("/predict", slow_jpeg))

    def all_are_in() -> bool:
        text = service.request("GET", "/metrics").body.decode()
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        done = float(values.get('finetune_requests_total{route="/predict",status="200"}', 0))
        return done + float(values["finetune_admitted_pictures"]) == 64

    until(all_are_in, "64 requests are in flight")
    service.process.send_signal(number)
    found = [read_answer(connection) for connection in connections]
    assert [answer.status for answer in found] == [200] * 64
    assert found[-1].headers["connection"] == "close"
    for connection in connections:
        connection.close()
    assert service.process.wait(30) == 0


def test_a_body_on_its_way_may_arrive_before_it_ends(serve: Serve, model_path: Path, jpeg: bytes) -> None:
    service = serve(model_path)
    request = posted("/predict", jpeg)
    with service.connect() as connection:
        connection.sendall(request[:-1])
        until(lambda: service.request("GET", "/v2/health/live").status == 200, "the first bytes were read")
        service.process.send_signal(signal.SIGTERM)
        until(lambda: refuses_connections(service.port), "it does not accept any more")
        connection.sendall(request[-1:])
        assert read_answer(connection).status == 200
    assert service.process.wait(30) == 0


def test_a_second_signal_ends_it_at_once(serve: Serve, model_path: Path, jpeg: bytes) -> None:
    service = serve(model_path)
    with service.connect() as connection:
        connection.sendall(posted("/predict", jpeg)[:-1])  # never finished
        until(lambda: service.request("GET", "/v2/health/live").status == 200, "the first bytes were read")
        workers = service.workers()
        service.process.send_signal(signal.SIGTERM)
        until(lambda: refuses_connections(service.port), "it has begun to end")
        assert service.stop(signal.SIGTERM) == 143
    assert all(map(gone, workers))


def test_a_drain_that_takes_too_long_is_cut_off_and_says_so(serve_with: Callable[..., Service], jpeg: bytes) -> None:
    service = serve_with(drain_timeout_s=1.0)
    with service.connect() as connection:
        connection.sendall(posted("/predict", jpeg)[:-1])
        until(lambda: service.request("GET", "/v2/health/live").status == 200, "the first bytes were read")
        assert service.stop() == 143


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_worker_is_replaced(serve: Serve, model_path: Path, jpeg: bytes, workers: int) -> None:
    service = serve(model_path, "--workers", str(workers))
    before = service.workers()
    assert len(before) == workers
    before[0].kill()
    until(lambda: len([w for w in service.workers() if not gone(w)]) == workers and gone(before[0]), "a new worker")
    assert all(answers(service, jpeg) for _ in range(20))
    (line,) = until(lambda: service.logged("worker ended; starting another"), "it is logged")
    assert line["cause"] == "SIGKILL"
    assert service.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_supervisor_leaves_nothing_behind(serve: Serve, model_path: Path, workers: int) -> None:
    service = serve(model_path, "--workers", str(workers))
    left = service.workers()
    assert len(left) == workers
    service.process.kill()
    service.process.wait()
    until(lambda: all(map(gone, left)), "the workers end")
    until(lambda: refuses_connections(service.port), "nobody listens")


def test_ctrl_c_in_a_terminal_reaches_the_workers_through_the_supervisor_only(
    serve: Serve, model_path: Path, slow_jpeg: bytes
) -> None:
    service = serve(model_path, start_new_session=True)
    with service.connect() as connection:
        connection.sendall(posted("/predict", slow_jpeg))
        until(lambda: service.metric("finetune_admitted_pictures") >= 0, "it was read")
        os.killpg(service.process.pid, signal.SIGINT)  # as a terminal does
        assert read_answer(connection).status == 200
    assert service.process.wait(30) == 0


# ── starts that fail ────────────────────────────────────────────────────────────────────────────────


def refusal(*arguments: str | Path, **options: object) -> tuple[int, str]:
    command = [sys.executable, "-m", "finetune_export", "serve", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)  # type: ignore[call-overload]
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return done.returncode, line


def test_a_port_in_use_is_one_line_and_status_6(model_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, line = refusal(model_path, "--port", str(port))
    assert status == 6
    assert line.endswith(f"port {port} of 127.0.0.1 is in use; stop what listens there, or choose another")


def test_an_address_that_is_not_here_is_one_line_and_status_6(model_path: Path) -> None:
    status, line = refusal(model_path, "--host", "192.0.2.1")
    assert status == 6
    assert "192.0.2.1" in line


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_refused_model_is_one_line_and_status_4(model: bytes, tmp_path: Path, workers: str) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(model[:-100])
    status, line = refusal(path, "--port", "0", "--workers", workers)
    assert status == 4
    assert str(path) in line


def test_a_model_that_is_not_there_is_one_line_and_status_4(tmp_path: Path) -> None:
    status, line = refusal(tmp_path / "none.onnx", "--port", "0")
    assert status == 4
    assert "none.onnx" in line


def test_an_unknown_provider_is_one_line_and_status_6(model_path: Path) -> None:
    status, line = refusal(model_path, "--port", "0", "--provider", "Abacus")
    assert status == 6
    assert "Abacus" in line


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--port", "65536"], "65536"),
        (["--port", "x"], "'x' is not allowed; it has to be a number, 0 to 65535"),
        (["--workers", "0"], "'0' is not allowed; it has to be a number, 1 or more"),
        (["--queue", "-1"], "'-1'"),
        (["--run-timeout", "nan"], "'nan'"),
        (["--token-file", "/nowhere"], "/nowhere cannot be read"),
    ],
)
def test_usage_is_one_line_and_status_2(model_path: Path, arguments: list[str], text: str) -> None:
    status, line = refusal(model_path, *arguments)
    assert status == 2
    assert text in line


def test_names_are_unique_and_plain(model_path: Path, tmp_path: Path) -> None:
    status, line = refusal(model_path, model_path)
    assert (status, "two models are called 'model'" in line) == (2, True)
    status, line = refusal(f"a/b={model_path}")
    assert (status, "'a/b' cannot be a model's name" in line) == (2, True)


def test_a_worker_that_cannot_be_replaced_ends_the_service_with_the_cause(serve: Serve, model_path: Path) -> None:
    service = serve(model_path, "--no-watch")
    model_path.write_bytes(b"damaged")
    service.workers()[0].kill()
    assert service.process.wait(30) == 4
    assert str(model_path) in service.stderr().splitlines()[-1]


def test_a_missing_extra_is_one_line_and_status_6(model_path: Path, tmp_path: Path) -> None:
    """A folder without starlette stands in for an environment without the extra."""
    code = (
        "import sys, importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'starlette' else found(name, *rest)\n"
        "from finetune_export.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "serve", str(model_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 6
    assert done.stderr.count("\n") == 1
    assert 'pip install "finetune-export[serve]"' in done.stderr


# ── surroundings that fail ──────────────────────────────────────────────────────────────────────────


def test_closed_standard_streams_do_not_matter(serve: Serve, model_path: Path, jpeg: bytes) -> None:
    """The port has to be known beforehand, for nobody can say it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = f'exec "{sys.executable}" -m finetune_export serve "{model_path}" --port {port} <&- >&- 2>&-'
    process = subprocess.Popen(["sh", "-c", command])
    try:
        until(lambda: not refuses_connections(port), "it listens")
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(posted("/predict", jpeg))
            assert read_answer(connection).status == 200
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_a_log_that_nobody_reads_does_not_hold_up_answers(model_path: Path, jpeg: bytes) -> None:
    read, write = os.pipe()
    command = [sys.executable, "-m", "finetune_export", "serve", str(model_path), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=write)
    os.close(write)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().split(b":")[2].split()[0])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            for _ in range(1500):  # a pipe holds some 300 lines
                connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: here\r\n\r\n")
                assert read_answer(connection).status == 200
        os.close(read)
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(posted("/predict", jpeg))
            assert read_answer(connection).status == 200
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()
    finally:
        process.kill()
        process.wait()


def test_a_full_disk_under_the_log_does_not_hold_up_answers(model_path: Path, jpeg: bytes) -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "finetune_export", "serve", str(model_path), "--port", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=full)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().split(b":")[2].split()[0])
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(posted("/predict", jpeg))
                assert read_answer(connection).status == 200
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()
    finally:
        process.kill()
        process.wait()


def test_the_working_folder_shadows_nothing(serve: Serve, model_path: Path, tmp_path: Path, jpeg: bytes) -> None:
    """A file that is called like a library, next to the model, is not run."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "uvicorn.py").write_text("raise SystemExit('shadowed')")
    command = [
        str(Path(sys.executable).parent / "python"),
        "-P",
        "-m",
        "finetune_export",
        "serve",
        str(model_path),
        "--port",
        "0",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=here)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"Listening")
        process.stdout.close()
    finally:
        process.terminate()
        process.wait()


def test_nothing_is_written_at_home(serve: Serve, model_path: Path, tmp_path: Path, jpeg: bytes) -> None:
    """Nor is anything reported by onnxruntime, which begins with an identifier there."""
    home = tmp_path / "home"
    home.mkdir()
    surroundings = {**os.environ, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    surroundings.pop("XDG_CACHE_HOME")
    service = serve(model_path, env=surroundings)
    assert service.request("POST", "/predict", jpeg).status == 200
    assert service.stop() == 0
    assert list(home.rglob("*")) == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sighup_while_it_starts_does_not_end_it(model_path: Path, jpeg: bytes, workers: str) -> None:
    command = [sys.executable, "-m", "finetune_export", "serve", str(model_path), "--port", "0", "--workers", workers]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        until(lambda: psutil.Process(process.pid).children(), "a worker is starting")
        process.send_signal(signal.SIGHUP)
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"Listening")
        process.stdout.close()
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("drain_timeout_s", "given_s"), [(0.1, 1), (0.5, 1), (1.0, 1), (30.0, 30)])
def test_a_short_time_for_draining_is_not_none_at_all(drain_timeout_s: float, given_s: int) -> None:
    assert _config(Settings(models={}, drain_timeout_s=drain_timeout_s), None).timeout_graceful_shutdown == given_s
