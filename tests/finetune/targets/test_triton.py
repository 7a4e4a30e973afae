"""A Triton model repository: Triton's own schema reads it, and it says what is really in the file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from finetune.networks.network import Network, assemble, build_backbone
from finetune.plugins import load_plugins
from finetune.targets import triton
from finetune.targets.to_onnx import to_onnx
from finetune.types import Artifact, ExportRequest, ExportTarget
from finetune.verification import verify
from finetune_export import Predictor
from finetune_export.contract import BackboneOrigin, Contract, DatasetOrigin, Preprocessing

KSERVE = Path(__file__).parents[3] / "examples" / "kserve"
LABELS = ("Käfer 甲", 'a "quoted": label', "<script>", "שלום", "two\nlines\r\n", "back\\slash")
SIZE = 32
TYPES = {"tensor(uint8)": DataType.TYPE_UINT8, "tensor(float)": DataType.TYPE_FP32}
TARGET = ExportTarget(name="triton", summary="", export="finetune.targets.triton:export")


@dataclass(frozen=True)
class Made:
    """What the target was asked for, what it wrote, and what it said."""

    request: ExportRequest
    artifact: Artifact
    original: Predictor
    pictures: list[Path]
    notes: list[str]

    @property
    def model(self) -> Path:
        return self.artifact.path / "insects-of-koln"

    @property
    def config(self) -> ModelConfig:
        return text_format.Parse((self.model / "config.pbtxt").read_text(), ModelConfig())

    @property
    def session(self) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(self.model / "1" / "model.onnx", providers=["CPUExecutionProvider"])


def network_and_contract(labels: tuple[str, ...], dataset: str) -> tuple[Network, Contract]:
    torch.manual_seed(0)
    model = build_backbone(load_plugins().find_backbone("squeezenet1_1"), SIZE)
    origin = DatasetOrigin(
        name=dataset, source="drawn", licence="CC0-1.0", fingerprint="0" * 64, train_images=20, valid_images=8
    )
    contract = Contract(
        labels=labels,
        preprocessing=Preprocessing(
            image_size_px=SIZE, crop_fraction=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
        ),
        backbone=BackboneOrigin(name="squeezenet1_1", weights="none", licence=""),
        dataset=origin,
        run_id="2024-01-02-a",
        metrics={"accuracy": 0.975},
        versions={},
    )
    return assemble(model, len(labels), SIZE).eval(), contract


def request_for(folder: Path, network: Network, contract: Contract, notes: list[str]) -> ExportRequest:
    def judge(artifact: Artifact) -> None:
        raise AssertionError("this target has nothing to try again")

    onnx = folder / "model.onnx"
    onnx.write_bytes(to_onnx(network, contract))
    staging = folder / "staging"
    staging.mkdir()
    return ExportRequest(
        network=network,
        contract=contract,
        folder=staging,
        onnx=onnx,
        training_images=(),
        judge=judge,  # type: ignore[arg-type]
        note=notes.append,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Image.Image]) -> Made:
    folder, notes = tmp_path_factory.mktemp("triton"), list[str]()
    request = request_for(folder, *network_and_contract(LABELS, 'Insects: of "Köln"!'), notes)
    pictures = [folder / f"{kind}.png" for kind in range(3)]
    for kind, path in enumerate(pictures):
        picture(kind, size=(50 + kind, 40)).save(path)
    assert request.onnx is not None
    return Made(request, triton.export(request), Predictor(request.onnx), pictures, notes)


# ── the repository ──────────────────────────────────────────────────────────────────────────────────


def test_the_repository_holds_one_model_with_its_labels_and_one_version(
    made: Made, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    assert made.artifact.path.name == "triton"
    assert set(tree(made.artifact.path)) == {
        "insects-of-koln/config.pbtxt",
        "insects-of-koln/labels.txt",
        "insects-of-koln/1/model.onnx",
    }


def test_the_model_is_the_verified_file_byte_for_byte(made: Made) -> None:
    assert (made.model / "1" / "model.onnx").read_bytes() == made.original.path.read_bytes()


def test_the_artifact_passes_the_verification_it_is_registered_for(made: Made) -> None:
    reference = made.original.answers(made.pictures)

    targets = reference.argmax(axis=1)
    found = verify(made.artifact, TARGET, made.pictures, targets, reference, made.original.contract, max_drop=0.0)

    assert found.passed
    assert (found.compared, found.agreement, found.max_difference) == (3, 1.0, 0.0)


def test_exporting_twice_writes_the_same_bytes(
    made: Made, tmp_path: Path, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    again = triton.export(replace(made.request, folder=tmp_path, note=[].append))

    assert tree(again.path) == tree(made.artifact.path)


# ── config.pbtxt ────────────────────────────────────────────────────────────────────────────────────


def test_the_configuration_names_the_folder_it_lies_in_and_the_backend(made: Made) -> None:
    assert (made.config.name, made.config.backend) == (made.model.name, "onnxruntime")


def test_inputs_and_outputs_are_those_that_onnxruntime_finds_in_the_file(made: Made) -> None:
    config, session = made.config, made.session

    for stated, found in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [(one.name, one.data_type, list(one.dims)) for one in stated] == [
            (one.name, TYPES[one.type], one.shape[1:]) for one in found
        ]


def test_the_schema_refuses_a_field_that_triton_does_not_know(made: Made) -> None:
    text = (made.model / "config.pbtxt").read_text()

    with pytest.raises(text_format.ParseError):
        text_format.Parse(text + "\nmax_batch: 3", ModelConfig())


def test_requests_are_batched_up_to_the_largest_batch(made: Made) -> None:
    batching = made.config.dynamic_batching

    assert made.config.max_batch_size == 32
    assert 0 < batching.max_queue_delay_microseconds <= 10_000


def test_only_the_latest_version_is_served(made: Made) -> None:
    assert made.config.version_policy.latest.num_versions == 1


def test_every_warm_up_batch_is_one_that_the_file_answers(made: Made) -> None:
    (image,) = made.config.input

    assert {sample.batch_size for sample in made.config.model_warmup} == {1, made.config.max_batch_size}
    for sample in made.config.model_warmup:
        assert list(sample.inputs) == [image.name]
        stated = sample.inputs[image.name]
        assert (stated.data_type, list(stated.dims), stated.zero_data) == (image.data_type, list(image.dims), True)
        black = np.zeros((sample.batch_size, *stated.dims), np.uint8)
        (probabilities,) = made.session.run(["probabilities"], {image.name: black})
        assert np.isfinite(probabilities).all()


# ── labels.txt ──────────────────────────────────────────────────────────────────────────────────────


def test_the_probabilities_have_a_label_for_each_output_in_their_order(made: Made) -> None:
    outputs = {output.name: output for output in made.config.output}

    lines = (made.model / outputs["probabilities"].label_filename).read_bytes().decode().split("\n")

    assert outputs["embedding"].label_filename == ""
    assert lines == [*LABELS[:4], r"two\nlines\r\n", "back\\slash", ""]
    assert len(lines) - 1 == outputs["probabilities"].dims[0]


def test_it_is_said_that_a_label_with_line_breaks_reads_otherwise(made: Made) -> None:
    said = r"Triton reads one label from each line; the line breaks of 1 label(s) are escaped, as in 'two\nlines\r\n'."

    assert made.notes == [said]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_label_is_one_line_to_any_reader(label: str) -> None:
    line = triton.label_line(label)

    assert line.splitlines() == [line]
    assert (line == label) == (label.splitlines() == [label])


# ── the model's name ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("insects", "insects"),
        ("Käfer & Bienen (2024)", "kafer-bienen-2024"),
        ("../../etc/passwd", "etc-passwd"),
        ("a" * 62 + " b", "a" * 62),
        ("甲虫", "model"),
        ("", "model"),
    ],
)
def test_the_model_is_named_after_the_data_set(dataset: str, name: str) -> None:
    assert triton.model_name(dataset) == name


@given(st.text())
def test_any_name_becomes_one_that_is_safe_in_a_path_and_an_address(dataset: str) -> None:
    name = triton.model_name(dataset)

    assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", name)
    assert len(name) <= triton.LONGEST_NAME


# ── examples/kserve ─────────────────────────────────────────────────────────────────────────────────


def predictor_in(manifest: str) -> dict[str, Any]:
    """Return the predictor of a manifest, after a look at its head."""
    service = yaml.safe_load((KSERVE / manifest).read_text())
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", service["metadata"]["name"])
    return service["spec"]["predictor"]  # type: ignore[no-any-return]


def test_kserves_triton_is_given_the_repository_and_an_onnxruntime_that_is_new_enough() -> None:
    model = predictor_in("triton.yaml")["model"]

    assert (model["modelFormat"], model["protocolVersion"]) == ({"name": "triton"}, "v2")
    assert model["runtime"] == "kserve-tritonserver"
    assert model["runtimeVersion"] >= "25.03"
    assert model["storageUri"].endswith("/triton")
    assert set(model["resources"]) == {"requests", "limits"}


def test_our_own_service_runs_with_few_rights_and_says_when_it_is_ready() -> None:
    predictor = predictor_in("service.yaml")
    (container,) = predictor["containers"]
    security = container["securityContext"]

    assert container["name"] == "kserve-container"
    assert container["ports"] == [{"containerPort": 8080, "protocol": "TCP"}]
    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": 8080}
    assert container["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": 8080}
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}
    assert (security["runAsNonRoot"], security["readOnlyRootFilesystem"]) == (True, True)
    assert (security["allowPrivilegeEscalation"], security["capabilities"]) == (False, {"drop": ["ALL"]})
    assert [mount["name"] for mount in container["volumeMounts"]] == [volume["name"] for volume in predictor["volumes"]]


def test_the_readme_names_files_that_are_there() -> None:
    named = set(re.findall(r"\]\(([^)]+)\)", (KSERVE / "README.md").read_text()))

    assert (
        named == {"triton.yaml", "service.yaml", "ask.py"} == {path.name for path in KSERVE.iterdir()} - {"README.md"}
    )


def test_a_photo_is_asked_about_over_the_open_inference_protocol(made: Made) -> None:
    best = made.original.predict(made.pictures[0])[0].top(3)

    with speaking_the_protocol(made.session) as address:
        url = f"{address}/v2/models/{made.model.name}"
        script = [sys.executable, str(KSERVE / "ask.py"), url, str(made.original.path), str(made.pictures[0])]
        answer = subprocess.run(script, capture_output=True, check=True)

    assert answer.stdout.decode() == "".join(f"{probability:.4f}  {label}\n" for label, probability in best)


@contextmanager
def speaking_the_protocol(session: onnxruntime.InferenceSession) -> Iterator[str]:
    """Answer ``infer`` as the protocol says, by what the request itself states, and return the server's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v2/models/insects-of-koln/infer"
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            inputs = {one["name"]: tensor(one) for one in request["inputs"]}
            names = [one["name"] for one in request["outputs"]]
            outputs = [
                {"name": name, "datatype": "FP32", "shape": values.shape, "data": values.ravel().tolist()}
                for name, values in zip(names, session.run(names, inputs), strict=True)
            ]
            body = json.dumps({"outputs": outputs}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def tensor(stated: dict[str, Any]) -> Any:
    return np.array(stated["data"], {"UINT8": np.uint8}[stated["datatype"]]).reshape(stated["shape"])
