"""A real page in a real browser: exported, its runtime installed by npm, served over loopback, opened in Chromium."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from finetune.targets.web import export
from finetune.types import Artifact, ExportRequest
from finetune_export import golden, model_file
from finetune_export.contract import (
    CONTRACT_KEY,
    GOLDEN_KEY,
    BackboneOrigin,
    Contract,
    DatasetOrigin,
    Preprocessing,
)

SIDE = 24
HOSTILE = "<img src=x onerror=alert(1)>"
LABELS = ("ant", "bee", HOSTILE, "Käfer 甲", "wasp", "fly", "moth")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


# ── a model and its page ────────────────────────────────────────────────────────────────────────────


def graph(contract: Contract, seed: int = 7) -> bytes:
    """Rows and columns of the picture, averaged, through one matrix: sensitive to what is where.

    It ends in the way of the contract's task.
    """
    answering, constants = last_step(contract)
    weights = np.random.default_rng(seed).normal(0, 0.5, (SIDE * 6, len(LABELS))).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["unit"]),
        helper.make_node("ReduceMean", ["unit", "down"], ["columns"], keepdims=0),
        helper.make_node("ReduceMean", ["unit", "across"], ["rows"], keepdims=0),
        helper.make_node("Concat", ["columns", "rows"], ["both"], axis=1),
        helper.make_node("Flatten", ["both"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "weights"], ["logits"]),
        *answering,
    ]
    initializers = [
        numpy_helper.from_array(np.array(1 / 255, np.float32), "scale"),
        numpy_helper.from_array(np.array([1], np.int64), "down"),
        numpy_helper.from_array(np.array([2], np.int64), "across"),
        numpy_helper.from_array(weights, "weights"),
        *constants,
    ]
    outputs = {answering[-1].output[0]: len(LABELS), "embedding": SIDE * 6}
    made = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width]) for name, width in outputs.items()],
        initializers,
    )
    opsets = [helper.make_opsetid("", 18)]
    model: bytes = helper.make_model(made, opset_imports=opsets, ir_version=10).SerializeToString()
    return model


def last_step(contract: Contract) -> tuple[list[NodeProto], list[TensorProto]]:
    """Return what a graph of a task ends with, from logits to answers, and the numbers in it."""
    if contract.scaling:
        numbers = {"value scale": contract.scaling.scale, "value offset": contract.scaling.offset}
        scaled = helper.make_node("Mul", ["logits", "value scale"], ["scaled"])
        nodes = [scaled, helper.make_node("Add", ["scaled", "value offset"], ["values"])]
        return nodes, [numpy_helper.from_array(np.array(each, np.float32), name) for name, each in numbers.items()]
    if contract.task == "multi-label":
        return [helper.make_node("Sigmoid", ["logits"], ["probabilities"])], []
    return [helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1)], []


def contract_for(**changes: Any) -> Contract:
    facts: dict[str, Any] = {
        "labels": LABELS,
        "preprocessing": Preprocessing(
            image_size_px=SIDE, crop_fraction=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
        ),
        "backbone": BackboneOrigin(name="tiny", weights="none", licence="Apache-2.0"),
        "dataset": DatasetOrigin(
            name="insects & <b>more</b>",
            source="drawn",
            licence="CC0-1.0",
            fingerprint="0" * 64,
            train_images=20,
            valid_images=8,
        ),
        "run_id": "2024-01-02-a",
        "metrics": {"accuracy": 0.975},
        "versions": {"finetune-export": "0.1.0"},
    }
    return Contract(**facts | changes)


def sealed(data: bytes, contract: Contract, answering: bytes) -> bytes:
    """Return a graph with its contract, as an exporter makes it, and the golden pairs that ``answering`` answers."""
    session = onnxruntime.InferenceSession(answering, providers=["CPUExecutionProvider"])
    pairs = golden.make(contract.preprocessing, lambda pixels: session.run(None, {"image": pixels})[0])
    stamped = replace(contract, graph_sha256=model_file.read(data).graph_sha256)
    return model_file.with_metadata(data, {CONTRACT_KEY: stamped.to_json(), GOLDEN_KEY: golden.dump(pairs)})


@pytest.fixture(scope="session")
def contract() -> Contract:
    return contract_for()


@pytest.fixture(scope="session")
def make_model(contract: Contract) -> Callable[..., bytes]:
    """Make a model file; with ``golden_seed``, its golden answers are those of another network."""

    def made(contract: Contract = contract, seed: int = 7, golden_seed: int | None = None) -> bytes:
        answering = graph(contract, seed if golden_seed is None else golden_seed)
        return sealed(graph(contract, seed), contract, answering)

    return made


@pytest.fixture(scope="session")
def export_page(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> Callable[..., Artifact]:
    """Export the page of a model into a new folder."""

    def artifact(model: bytes, contract: Contract = contract) -> Artifact:
        folder = tmp_path_factory.mktemp("export")
        (folder / "model.onnx").write_bytes(model)
        (folder / "staging").mkdir()
        request = ExportRequest(
            network=None,
            contract=contract,
            folder=folder / "staging",
            onnx=folder / "model.onnx",
            training_images=(),
            judge=lambda artifact: pytest.fail(f"{artifact.path} is judged by the run"),
            note=pytest.fail,
        )
        return export(request)

    return artifact


@pytest.fixture(scope="session")
def page_folder(export_page: Callable[..., Artifact], make_model: Callable[..., bytes]) -> Path:
    """A page as it is exported, without its runtime."""
    return export_page(make_model()).path


@pytest.fixture(scope="session")
def runtime(page_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``npm install`` makes in a page; FINETUNE_ORT_WEB may name onnxruntime-web's own folder."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not here; install Node.js to test the page in a browser")
    folder = tmp_path_factory.mktemp("installed") / "web"
    shutil.copytree(page_folder, folder)
    if at_hand := os.environ.get("FINETUNE_ORT_WEB"):
        (folder / "node_modules").mkdir()
        (folder / "node_modules" / "onnxruntime-web").symlink_to(Path(at_hand).absolute())
        subprocess.run(["node", "install-runtime.js"], cwd=folder, check=True)
    else:
        install = ["npm", "install", "--prefer-offline", "--no-audit", "--no-fund"]
        if subprocess.run(install, cwd=folder, capture_output=True, timeout=120, check=False).returncode:
            pytest.skip("npm cannot fetch onnxruntime-web; name its folder in FINETUNE_ORT_WEB")
    shutil.rmtree(folder / "node_modules")
    return folder / "runtime"


@pytest.fixture(scope="session")
def install(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Copy a page and give it its runtime, ready to be served."""

    def installed(page: Path) -> Path:
        folder = tmp_path_factory.mktemp("served") / "web"
        shutil.copytree(page, folder)
        shutil.copytree(runtime, folder / "runtime")
        return folder

    return installed


# ── a browser ───────────────────────────────────────────────────────────────────────────────────────


class Quiet(SimpleHTTPRequestHandler):
    """Python's own static server, as the page's README names it, without its log."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder over loopback, and yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


DECODE = """async (text) => {
  const { decode } = await import("./decoding.js");
  try {
    const { width, height, data } = await decode(new Blob([Uint8Array.fromBase64(text)]));
    return { width, height, data: new Uint8Array(data.buffer).toBase64() };
  } catch (error) {
    return error.constructor.name + ": " + error.message;
  }
}"""

TO_PIXELS = """async ([text, width, height, preprocessing]) => {
  const { toPixels } = await import("./preprocessing.js");
  const data = new Uint8ClampedArray(Uint8Array.fromBase64(text));
  return new Uint8Array(toPixels({ width, height, data }, preprocessing).buffer).toBase64();
}"""


def as_array(text: str, height: int, width: int) -> NDArray[np.uint8]:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 3)


@dataclass
class Visit:
    """A page opened in a browser, and everything that went wrong in it or left for elsewhere."""

    page: Any
    url: str
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._note_complaint)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", self._note_dialog)
        self.page.context.on("request", self._note_if_foreign)

    def _note_complaint(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(message.text)

    def _note_dialog(self, dialog: Any) -> None:
        self.faults.append(dialog.message)
        dialog.dismiss()

    def _note_if_foreign(self, request: Any) -> None:
        if not request.url.startswith((self.url, "blob:", "data:")):
            self.faults.append(f"asked {request.url}")

    def open(self, state: str = "ready") -> Visit:
        """Load the page and wait until it is ready, or refused."""
        self.page.goto(self.url)
        self.page.wait_for_selector(f"body[data-state={state}]", timeout=60_000)
        return self

    def decoded(self, data: bytes) -> NDArray[np.uint8] | str:
        """Return the upright RGB picture (H, W, 3) that the page decodes from a file, or why it is refused."""
        found = self.page.evaluate(DECODE, base64.b64encode(data).decode())
        return found if isinstance(found, str) else as_array(found["data"], found["height"], found["width"])

    def pixels(self, picture: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.uint8]:
        """Return what the page makes of an RGB picture (H, W, 3) for the network: (S, S, 3)."""
        height, width, _ = picture.shape
        facts = {"image_size_px": preprocessing.image_size_px, "crop_fraction": preprocessing.crop_fraction}
        data = base64.b64encode(picture.tobytes()).decode()
        found = self.page.evaluate(TO_PIXELS, [data, width, height, facts])
        return as_array(found, preprocessing.image_size_px, preprocessing.image_size_px)

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)  # type: ignore[no-any-return]

    def choose(self, data: bytes, name: str = "picture") -> None:
        """Choose a file, and wait for its answer or what is said instead."""
        self.page.evaluate("document.getElementById('time').textContent = ''")
        self.page.evaluate("document.getElementById('message').hidden = true")
        self.page.set_input_files("#choose", {"name": name, "mimeType": "", "buffer": data})
        self.page.wait_for_selector("#time:not(:empty), #message:not([hidden])")

    def answer(self) -> dict[str, float]:
        """Return the labels with the shares that the bars show, as exact as they were computed."""
        rows = "rows => rows.map(row => [row.firstChild.textContent, +row.lastChild.style.getPropertyValue('--share')])"
        return dict(self.page.eval_on_selector_all(".bars li", rows))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; it ends with the module, for Playwright keeps an event loop running in this thread."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not here: install it to test the page in a browser")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Visit]]:
    """Visit a folder's page as somebody who was never there before."""
    with ExitStack() as stack:

        def visited(folder: Path, **options: Any) -> Visit:
            url = stack.enter_context(serving(folder))
            context = stack.enter_context(browser.new_context(**options))
            return Visit(context.new_page(), url)

        yield visited


@pytest.fixture(scope="module")
def page(browser: Any, page_folder: Path) -> Iterator[Visit]:
    """A page without a runtime, to ask its modules: it will not classify, but it decodes and preprocesses."""
    with serving(page_folder) as url, browser.new_context() as context:
        yield Visit(context.new_page(), url).open("refused")


@pytest.fixture(scope="module")
def ready(browser: Any, page_folder: Path, install: Callable[[Path], Path]) -> Iterator[Visit]:
    """A page that has passed its checks, for all tests that leave it able to answer."""
    with serving(install(page_folder)) as url, browser.new_context() as context:
        yield Visit(context.new_page(), url).open()
