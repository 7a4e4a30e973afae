"""The serving benchmark: its load, its figures and its processes, and all of its sections on tiny data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from finetune_export import Predictor, golden, model_file
from finetune_export.contract import (
    CONTRACT_KEY,
    GOLDEN_KEY,
    BackboneOrigin,
    Contract,
    DatasetOrigin,
    Preprocessing,
)

BENCH = Path(__file__).parent / "bench_serve"
sys.path.insert(0, str(BENCH))  # as Python does for a script

from answers import Answers  # noqa: E402
from goals import Found, Goal, Table, shown  # noqa: E402
from load import parsed  # noqa: E402
from messages import malformed, mixed  # noqa: E402
from processes import Process, Processes, ProcessFailedError  # noqa: E402
from servers import Server, asked, ours, top  # noqa: E402
from workplace import TINY, Workplace, photos_in  # noqa: E402

sys.path.remove(str(BENCH))

SIDE = 16
WAITING = "import threading; threading.Event().wait()"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A matrix on the averages of a picture's columns, with contract and golden pairs."""
    weights = np.random.default_rng(7).normal(0, 0.3, (SIDE * 3, 2)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["columns"], keepdims=0),
        helper.make_node("Flatten", ["columns"], ["sums"]),
        helper.make_node("Mul", ["sums", "scale"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = {"axes": np.array([1], np.int64), "scale": np.array(1 / 255, np.float32), "weights": weights}
    outputs = {"probabilities": ["N", 2], "embedding": ["N", SIDE * 3]}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(sealed(built.SerializeToString()))
    return path


def sealed(data: bytes) -> bytes:
    contract = Contract(
        labels=("cat", "dog"),
        preprocessing=Preprocessing(image_size_px=SIDE, crop_fraction=1, mean=(0, 0, 0), std=(1, 1, 1)),
        backbone=BackboneOrigin(name="tiny", weights="none", licence="Apache-2.0"),
        dataset=DatasetOrigin(
            name="drawn", source="drawn", licence="CC0-1.0", fingerprint="0" * 64, train_images=2, valid_images=2
        ),
        run_id="a",
        metrics={"accuracy": 1.0},
        versions={},
        graph_sha256=model_file.read(data).graph_sha256,
    )
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    pairs = golden.make(contract.preprocessing, lambda pixels: session.run(None, {"image": pixels})[0])
    return model_file.with_metadata(data, {CONTRACT_KEY: contract.to_json(), GOLDEN_KEY: golden.dump(pairs)})


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as started:
        yield started


@pytest.fixture
def server(processes: Processes, model: Path, pictures: Path) -> Iterator[Server]:
    with ours(processes, model, photos_in(pictures)) as started:
        yield started


def answers(rows: list[tuple[float, float, int]], **more: Any) -> Answers:
    """Answers that began, took and had a status; the load started at second 100."""
    began, seconds, status = (list(column) for column in zip(*rows, strict=True))
    base: dict[str, Any] = {"kind": ["a"] * len(rows), "right": [code == 200 for code in status]}
    whole = {"started": 100.0, "ended": 110.0, "cpu_s": 0.5, "versions": {}, "bodies": {}}
    return Answers(began=began, seconds=seconds, status=status, **(base | whole | more))


# ── figures ─────────────────────────────────────────────────────────────────────────────────────────


def test_good_answers_that_end_within_the_window_are_counted() -> None:
    rows = [(100.1, 0.2, 200), (100.9, 0.2, 200), (101.2, 0.1, 503), (101.5, 0.4, 200), (102.9, 0.2, 200)]
    assert answers(rows).per_s(1.0, 2.0) == 1.0


def test_quantiles_are_of_one_status_after_the_warm_up() -> None:
    rows = [(100.1, 9.0, 200), (101.5, 0.010, 200), (101.6, 0.030, 200), (101.7, 0.001, 503)]
    assert answers(rows).quantile_ms(0.5, after_s=1) == pytest.approx(20)
    assert answers(rows).quantile_ms(0.5, 503) == pytest.approx(1)
    assert answers(rows).quantile_ms(0.5, 404) is None


def test_only_requests_sent_after_a_fault_show_that_it_is_over() -> None:
    rows = [(100.0, 1.5, 200), (100.6, 0.1, 0), (100.9, 0.4, 200), (101.0, 0.1, 200)]
    assert answers(rows).first_good_after(100.5) == pytest.approx(0.6)
    assert answers(rows).first_good_after(101.0) is None


def test_wrong_answers_are_named() -> None:
    found = answers([(100.0, 0.1, 0), (100.0, 0.1, 500), (100.0, 0.1, 200)], kind=["a", "b", "c"])
    assert found.wrong() == {"a: no answer": 1, "b: 500": 1}


@pytest.mark.parametrize(
    ("values", "settings", "cells"),
    [
        ([80, 90, 84], {"at_least": True}, ["84 ms (80 to 90)", "at least 85 ms", "**missed**"]),
        ([80, 90, 84], {}, ["84 ms (80 to 90)", "at most 85 ms", "reached"]),
        ([80, 90, 84], {"worst": True}, ["84 ms (80 to 90)", "at most 85 ms", "**missed**"]),
        ([84.9], {"at_least": True}, ["85 ms", "at least 85 ms", "**missed**"]),
        ([], {}, ["–", "at most 85 ms", "not measured"]),
    ],
)
def test_a_goal_is_held_against_the_median_or_the_worst_before_it_is_rounded(
    values: list[float], settings: dict[str, bool], cells: list[str]
) -> None:
    assert Goal(what="p99", values=values, target=85, unit="ms", **settings).cells() == ["p99", *cells]


def test_a_section_is_title_tables_goals_and_notes() -> None:
    goals = [Goal(what="errors", values=[0], target=0)]
    found = Found("Soak", "What it is.", [Table(("", "b"), [("1", "2")])], goals, ["A note."])
    assert found.markdown().split("\n\n") == [
        "### Soak",
        "What it is.",
        "|  | b |\n| --- | --- |\n| 1 | 2 |",
        "|  | measured | goal |  |\n| --- | --- | --- | --- |\n| errors | 0 | at most 0 | reached |",
        "A note.",
    ]


def test_what_was_not_measured_is_a_dash() -> None:
    assert shown([None]) == "–"
    assert shown([None, 1234.5], 1, "ms") == "1,234.5 ms"


# ── messages ────────────────────────────────────────────────────────────────────────────────────────


def test_an_answer_is_complete_when_its_body_is() -> None:
    whole = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy"
    assert all(parsed(bytearray(whole[:end])) is None for end in range(len(whole)))
    assert parsed(bytearray(whole)) == (503, b"busy", True)


def test_a_share_of_the_mixed_requests_is_malformed_and_the_same_each_time(pictures: Path) -> None:
    first, second = (list(islice(mixed(photos_in(pictures), "/predict", 0.1, 3), 500)) for _ in range(2))
    assert first == second
    assert 30 < sum(message.allowed != {200} or message.hang_up for message in first) < 70
    assert {"picture", "two pictures", "cut JPEG"} <= {message.kind for message in first}


# ── load on the service ─────────────────────────────────────────────────────────────────────────────


def test_clients_are_answered_as_the_predictor_answers(server: Server, model: Path, pictures: Path) -> None:
    found = server.answers(clients=3, requests=40)
    assert (len(found), found.count(200)) == (40, 40)
    assert sum(found.versions.values()) == 40
    assert set(found.bodies) == set(map(str, photos_in(pictures)))
    for name, body in found.bodies.items():
        (prediction,) = Predictor(model).predict(name)
        assert top(body) == (prediction.label, pytest.approx(prediction.probability, abs=1e-5))


def test_every_malformed_request_is_refused_as_it_should_be(server: Server, pictures: Path) -> None:
    kinds = {message.kind for message in malformed(b"abc", "/predict")}
    found = server.answers(clients=2, requests=400, malformed=0.5, seed=5)
    assert kinds < set(found.kind)
    assert set(found.wrong()) == set()


def test_open_load_leaves_at_its_rate_and_a_burst_is_sent_at_once(server: Server) -> None:
    found = server.answers(loop="open", rate=200.0, seconds=0.5, seed=2)
    assert 60 < len(found) < 160
    assert found.count(200) == len(found)
    burst = server.load(loop="burst", clients=16)
    burst.wait_for("sent")
    assert burst.answers().count(200) == 16


def test_load_that_nobody_answers_is_noted_and_ends(server: Server) -> None:
    load = server.load(clients=2, seconds=600.0)
    server.process.kill()
    load.stop()
    assert set(load.answers().status) <= {0, 200}


def test_the_twin_answers_the_same_under_another_version(processes: Processes, model: Path, pictures: Path) -> None:
    photos = photos_in(pictures)
    place = Workplace(processes, model, photos, TINY)
    with ours(processes, place.twin, photos) as other, ours(processes, model, photos) as first:
        one, two = asked(first, photos[0]), asked(other, photos[0])
    assert one["version"] != two["version"]
    assert one["predictions"] == two["predictions"]


# ── processes ───────────────────────────────────────────────────────────────────────────────────────


def test_a_process_that_ends_before_it_is_ready_is_quoted(processes: Processes, pictures: Path) -> None:
    with pytest.raises(ProcessFailedError, match=r"not ready: status 3: no model"):
        Server(processes, [sys.executable, "-c", "import sys; print('no model'); sys.exit(3)"], [])


def test_nothing_that_was_started_outlives_the_benchmark(tmp_path: Path) -> None:
    grandchild = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {WAITING!r}], process_group=0)"
    with Processes(tmp_path) as started:
        process = started.start([sys.executable, "-c", f"{grandchild}; print('ready', flush=True); p.wait()"])
        process.wait_until(lambda: "ready" in process.written, 30, "not ready")
        family = process.tree()
        assert len(family) == 2
    assert psutil.wait_procs(family, 10)[1] == []


def test_the_footprint_is_that_of_the_whole_family(processes: Processes) -> None:
    holding = "held = b'1' * 100_000_000; print('ready', flush=True); " + WAITING
    process = processes.start([sys.executable, "-c", holding])
    process.wait_until(lambda: "ready" in process.written, 30, "not ready")
    found = process.footprint()
    assert found.rss_mb > 100
    assert found.threads >= 1
    assert found.fds >= 3


# ── the command ─────────────────────────────────────────────────────────────────────────────────────


def command(*arguments: object) -> list[str]:
    return [sys.executable, str(BENCH), *map(str, arguments)]


def surroundings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("FINETUNE_REAL")}


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), env=surroundings(), capture_output=True, text=True, check=False)


def test_without_photos_it_says_so_and_ends_well() -> None:
    ended = bench()
    said = "Skipped: FINETUNE_REAL_DATA is not set; it has to point at the folder of the real photos.\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, said, "")


def test_a_section_that_does_not_exist_is_refused_with_those_that_do() -> None:
    ended = bench("--only", "speed")
    assert ended.returncode == 2
    assert "no section speed; there are ceiling, overload, faults, runtime, bulk, rivals, soak" in ended.stderr


@pytest.mark.slow
def test_sections_measure_on_tiny_data_and_write_what_they_found(model: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    where = ("--model", model, "--photos", pictures, "--out", out)
    ended = bench("--tiny", "--seconds", "0.3", "--requests", "60", "--only", "ceiling,overload,bulk,soak", *where)
    assert ended.returncode in (0, 1), ended.stderr  # on a busy machine goals may be missed
    assert "Failed" not in ended.stdout
    written = json.loads((out / "bench-serve.json").read_text())
    assert list(written["sections"]) == ["ceiling", "overload", "bulk", "soak"]
    assert written["sections"]["ceiling"]["figures"]["8"]["errors"] == [0]
    goals = {goal["what"]: goal for section in written["sections"].values() for goal in section["goals"]}
    assert goals["answers equal to the predictor's"]["value"] == 100
    assert goals["more open files"]["verdict"] == "reached"
    text = (out / "bench-serve.md").read_text()
    assert "**Everything was short: these figures mean nothing.**" in text
    assert str(tmp_path) not in text
    assert all(found in text for found in ended.stdout.split("\n\n"))


@pytest.mark.slow
def test_faults_and_rivals_measure_on_tiny_data(model: Path, pictures: Path, tmp_path: Path) -> None:
    litserve = tmp_path / "none"
    litserve.write_text("not a folder")
    where = ("--model", model, "--photos", pictures, "--out", tmp_path / "out", "--litserve", litserve)
    ended = bench("--tiny", "--seconds", "0.3", "--only", "faults,rivals", *where)
    assert "SIGTERM: answered | 64 | at least 64 | reached" in ended.stdout
    assert "swaps: failed requests | 0 | at most 0 | reached" in ended.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_ends_everything_that_it_started(
    model: Path, pictures: Path, number: signal.Signals, status: int
) -> None:
    arguments = command("--only", "overload", "--model", model, "--photos", pictures)
    process = Process(arguments, env=surroundings())
    try:
        process.wait_until(lambda: len(process.tree()) > 3, 60, "no load yet")  # itself, service, worker, clients
        family = process.tree()
        process.popen.send_signal(number)
        assert process.ended(60) == status
        assert psutil.wait_procs(family[1:], 10)[1] == []
    finally:
        process.kill()
