"""The target ``web``: a folder with a web page that answers for pictures in the browser, offline, on the device.

What is proved where: the model is the verified ``model.onnx``, copied byte for byte, and the Python runtime proves the
copy like any other artifact. What a browser adds, decoding, preprocessing and WebAssembly, the page proves to itself
with the golden pairs inside the model, each time it is loaded; it answers nothing before that.

The folder holds no foreign code: ``npm install`` in it fetches onnxruntime-web in the version that its ``package.json``
pins.
"""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Mapping
from importlib.resources import files

from finetune.run_folder import MODEL, write
from finetune.types import Artifact, ExportRequest
from finetune_export.predictor import Predictor

FOLDER = "web"
PAGE = "web_page"


def export(request: ExportRequest) -> Artifact:
    """Write the folder ``web`` and return it, its model as the torch-free predictor sees it.

    The same model and data set name give the same bytes in every file.
    """
    assert request.onnx is not None, "only the target 'onnx' comes before there is a model"
    content = {**_page(request.contract.dataset.name), MODEL: request.onnx.read_bytes()}
    folder = request.folder / FOLDER
    folder.mkdir()
    for name, data in _stamped(content).items():
        write(folder / name, data)
    return Artifact(path=folder, answers=Predictor(folder / MODEL).answers)


def _page(title: str) -> dict[str, bytes]:
    """Return the page's files by name, with the title in them, escaped as each kind of file needs it."""
    page = {file.name: file.read_bytes() for file in files(__package__).joinpath(PAGE).iterdir()}
    titles = {
        "index.html": html.escape(title),
        "manifest.webmanifest": json.dumps(title, ensure_ascii=False)[1:-1],
        "README.md": " ".join(title.split()),
    }
    return page | {name: page[name].replace(b"{{title}}", text.encode()) for name, text in titles.items()}


def _stamped(content: Mapping[str, bytes]) -> dict[str, bytes]:
    """Write the version, a hash of all files, into the service worker: browsers look for a new one by its bytes."""
    digest = hashlib.sha256()
    for name, data in sorted(content.items()):
        digest.update(f"{name} {hashlib.sha256(data).hexdigest()}\n".encode())
    worker = content["service-worker.js"].replace(b"{{version}}", digest.hexdigest()[:16].encode())
    return {**content, "service-worker.js": worker}
