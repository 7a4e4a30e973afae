"""The folder that the target writes: complete, the same each time, safe for any name, its model proven."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.plugins import load_function, load_plugins
from finetune.targets.web import export
from finetune.types import Artifact
from finetune_export import Predictor
from finetune_export.contract import Contract
from finetune_export.golden import MAX_DIFFERENCE

Export = Callable[..., Artifact]
Make = Callable[..., bytes]

NOT_SERVED = {"README.md", "install-runtime.js", "package.json", "service-worker.js"}
RUNTIME = {"runtime/ort.js", "runtime/ort-wasm-simd-threaded.wasm"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def version(folder: Path) -> str:
    found = re.search(r'const VERSION = "(\w+)"', (folder / "service-worker.js").read_text())
    assert found
    return found[1]


def test_the_target_is_registered() -> None:
    assert load_function(load_plugins().find_target("web").export, "The target 'web'") is export


def test_the_page_forgives_as_much_as_python_does(export_page: Export, make_model: Make) -> None:
    text = (export_page(make_model()).path / "golden.js").read_text()
    stated = re.search(r"const MAX_DIFFERENCE = \{(.+?)\};", text)
    assert stated
    numbers = {name: float(value) for name, value in re.findall(r"(\w+): ([\d.e-]+)", stated[1])}
    assert numbers == dict(MAX_DIFFERENCE)


def test_the_artifact_answers_with_the_model_in_the_folder(
    export_page: Export, make_model: Make, tmp_path: Path
) -> None:
    path = tmp_path / "picture.png"
    Image.linear_gradient("L").save(path)
    artifact = export_page(make_model())
    assert artifact.path.name == "web"
    assert (artifact.path / "model.onnx").read_bytes() == make_model()
    expected = Predictor(artifact.path / "model.onnx").answers([path])
    assert np.array_equal(artifact.answers([path]), expected)


def test_exporting_twice_gives_the_same_folder(export_page: Export, make_model: Make) -> None:
    assert contents(export_page(make_model()).path) == contents(export_page(make_model()).path)


def test_another_model_is_another_version(export_page: Export, make_model: Make) -> None:
    assert version(export_page(make_model()).path) != version(export_page(make_model(seed=8)).path)


def test_the_service_worker_keeps_every_file_that_is_served(page_folder: Path) -> None:
    worker = (page_folder / "service-worker.js").read_text()
    listed = set(json.loads(re.search(r"const FILES = (\[.*?\]);", worker, re.S)[1].replace(",\n]", "\n]")))  # type: ignore[index]
    assert listed == {"./", *RUNTIME, *contents(page_folder)} - NOT_SERVED


def test_no_placeholder_is_left(page_folder: Path) -> None:
    assert [name for name, data in contents(page_folder).items() if b"{{title" in data or b"{{version" in data] == []


@pytest.mark.parametrize("name", ["insects & <b>more</b>", 'a "quoted" \\ name', "Käfer 甲", "{{version}}"])
def test_any_name_is_written_as_what_it_is(
    export_page: Export, make_model: Make, contract: Contract, name: str
) -> None:
    named = replace(contract, dataset=replace(contract.dataset, name=name))
    folder = export_page(make_model(), named).path
    page = (folder / "index.html").read_text()
    assert html.unescape(re.search(r"<h1 .*?>(.*)</h1>", page)[1]) == name  # type: ignore[index]
    assert "<b>" not in page
    assert json.loads((folder / "manifest.webmanifest").read_text())["name"] == name


def test_the_runtime_is_pinned_and_not_in_the_folder(page_folder: Path) -> None:
    package = json.loads((page_folder / "package.json").read_text())
    assert re.fullmatch(r"\d+\.\d+\.\d+", package["dependencies"]["onnxruntime-web"])
    assert not list(page_folder.rglob("*.wasm"))


def test_no_address_of_anybody_is_in_the_page(page_folder: Path) -> None:
    known = ("http://www.w3.org/2000/svg", "http://localhost:8000")
    for name, data in contents(page_folder).items():
        if name != "model.onnx":
            text = data.decode()
            for address in known:
                text = text.replace(address, "")
            assert "://" not in text, name
