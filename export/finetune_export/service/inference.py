"""The Open Inference Protocol v2 over REST, with its binary tensor and classification extensions.

What goes in is either ``image``, UINT8 [N, S, S, 3], pixels as the contract's preprocessing leaves them, or ``file``,
BYTES [N], picture files, which the service then prepares itself. What comes out is ``probabilities``, FP32 [N, K], or
``values`` for regression, and ``embedding``, FP32 [N, D]. Specification: https://github.com/kserve/open-inference-protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from finetune_export import __version__
from finetune_export.errors import ImageError
from finetune_export.image import Pixels
from finetune_export.service import tensors
from finetune_export.service.admission import Engine, Outputs
from finetune_export.service.bodies import read_body, while_connected
from finetune_export.service.models import Served
from finetune_export.service.problems import Problem, problem_of
from finetune_export.service.settings import Settings
from finetune_export.session import outputs_of

EXTENSIONS = ("binary_tensor_data", "classification")
JSON_LENGTH = "Inference-Header-Content-Length"
PLATFORM = "onnxruntime_onnx"
INPUTS = ("image", "file")
_REQUEST = {"id": str, "parameters": dict, "inputs": list, "outputs": list}
_OUTPUT = {"name": str, "parameters": dict}
_ASKED = {"binary_data": bool, "classification": int}


@dataclass(frozen=True)
class Asked:
    """An output as it was asked for: as ``binary`` data or JSON; ``classes``, unless 0, is how many of the best."""

    name: str
    binary: bool
    classes: int = 0


@dataclass(frozen=True)
class Inference:
    """A request to infer, checked: pictures as pixels, uint8 (N, S, S, 3), or as files; and the outputs asked for."""

    id: str | None
    pictures: Pixels | list[bytes]
    outputs: list[Asked]


# ── what the server and its models are ──────────────────────────────────────────────────────────────


async def server(_: Request) -> Response:
    """Name this server, its version and the extensions of the protocol it has."""
    return JSONResponse({"name": "finetune-export", "version": __version__, "extensions": list(EXTENSIONS)})


async def live(_: Request) -> Response:
    """Answer at all."""
    return JSONResponse({"live": True})


async def ready(_: Request) -> Response:
    """Say that every model answers: the service does not listen before that."""
    return JSONResponse({"ready": True})


async def models(request: Request) -> Response:
    """List the models' names."""
    return JSONResponse({"models": list(request.app.state.settings.models)})


async def model(request: Request) -> Response:
    """Describe a model's input and outputs; -1 is the number of pictures."""
    served = _served(request)
    side_px = served.predictor.contract.preprocessing.image_size_px
    widths = (len(served.predictor.labels), served.predictor.features)
    names = outputs_of(served.predictor.task)
    outputs = [_described(name, "FP32", width) for name, width in zip(names, widths, strict=True)]
    inputs = [_described("image", "UINT8", side_px, side_px, 3)]
    head = {"name": served.name, "versions": [served.version], "platform": PLATFORM}
    return JSONResponse({**head, "inputs": inputs, "outputs": outputs})


async def model_ready(request: Request) -> Response:
    """Say that this model answers."""
    return JSONResponse({"name": _served(request).name, "ready": True})


def _described(name: str, datatype: str, *sides: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [-1, *sides]}


def _served(request: Request) -> Served:
    """Return the model that the path names, in the version that the path may name; ``Problem`` 404 for others."""
    served: Served = request.app.state.models.get(request.path_params["name"])
    if request.path_params.get("version", served.version) != served.version:
        raise Problem(404, f"there is no such version of this model; it has version {served.version}")
    request.state.served = served
    return served


# ── infer ───────────────────────────────────────────────────────────────────────────────────────────


async def infer(request: Request) -> Response:
    """Answer with the outputs that were asked for, of every picture."""
    served, settings = _served(request), request.app.state.settings
    request.app.state.engine.check_room()  # before the body is read: a refusal costs next to nothing
    body = await read_body(request, settings)
    asked = read(body, request.headers.get(JSON_LENGTH), served, settings)
    results = await while_connected(request, _run(request, served, asked.pictures))
    values = dict(zip(outputs_of(served.predictor.task), results, strict=True))
    outputs = [_output(each, values[each.name], served.predictor.labels) for each in asked.outputs]
    head = {"model_name": served.name, "model_version": served.version}
    return _response(*tensors.dump({**head, "id": asked.id} if asked.id is not None else head, outputs))


def read(body: bytes, json_length: str | None, served: Served, settings: Settings) -> Inference:
    """Return what a body asks for; ``Problem`` 400 that names what is wrong with it."""
    value, binary = tensors.split(body, json_length)
    found = tensors.members(value, "request", _REQUEST, ("inputs",))
    if len(found["inputs"]) != 1:
        raise Problem(400, f"inputs: {len(found['inputs'])} given; it has to be one, {' or '.join(INPUTS)}")
    given = tensors.read_input(found["inputs"][0], binary)
    if given.name not in INPUTS:
        raise given.wrong(f"there is no such input; it has to be {' or '.join(INPUTS)}")
    return Inference(
        found.get("id"), _pictures(given, served, settings), _asked(found, outputs_of(served.predictor.task))
    )


def _pictures(given: tensors.Input, served: Served, settings: Settings) -> Pixels | list[bytes]:
    if given.name == "file":
        return tensors.read_files(given, settings.max_pictures)
    side_px = served.predictor.contract.preprocessing.image_size_px
    return tensors.read_pixels(given, side_px, settings.max_pictures)


def _asked(found: dict[str, Any], names: Sequence[str]) -> list[Asked]:
    """Return the outputs asked for of those with these names, all of them if none is named."""
    binary = tensors.parameters(found, "request", {"binary_data_output": bool}).get("binary_data_output", False)
    if "outputs" not in found:
        return [Asked(name, binary) for name in names]
    asked = [_one_asked(each, f"outputs[{i}]", names, binary) for i, each in enumerate(found["outputs"])]
    if len({each.name for each in asked}) != len(asked) or not asked:
        raise Problem(400, "outputs: each has to be named once, and at least one; leave it out for all")
    return asked


def _one_asked(value: Any, where: str, names: Sequence[str], binary: bool) -> Asked:
    found = tensors.members(value, where, _OUTPUT, ("name",))
    where = f"output {tensors.show(found['name'])}"
    if found["name"] not in names:
        raise Problem(400, f"{where}: there is no such output; it has to be {' or '.join(names)}")
    parameters = tensors.parameters(found, where, _ASKED)
    classes = parameters.get("classification")
    if classes is not None and found["name"] != "probabilities":
        raise Problem(400, f"{where}: classification is for the output probabilities")
    if classes is not None and classes < 1:
        raise Problem(400, f"{where}: classification {tensors.show(classes)} is not allowed; it has to be 1 or more")
    return Asked(found["name"], parameters.get("binary_data", binary), classes or 0)


async def _run(request: Request, served: Served, pictures: Pixels | list[bytes]) -> Outputs:
    engine: Engine = request.app.state.engine
    async with engine.admit(len(pictures)):
        if isinstance(pictures, list):
            pictures = await _decoded(request, served, pictures)
        outputs = await engine.run(served, pictures)
    request.app.state.metrics.pictures(served.name, "answered", len(pictures))
    return outputs


async def _decoded(request: Request, served: Served, files: list[bytes]) -> Pixels:
    """Return the pictures as one array; a tensor has no place for the error of one of them, so it ends the request."""
    engine: Engine = request.app.state.engine
    pixels = []
    for i, picture in enumerate(await engine.decode(served, files)):
        if isinstance(picture, ImageError):
            request.app.state.metrics.pictures(served.name, "refused")
            problem = problem_of(picture)
            raise Problem(problem.status, f'input "file": element {i}: {problem.text}')
        pixels.append(picture)
    return np.stack(pixels)


def _output(asked: Asked, values: NDArray[np.float32], labels: Sequence[str]) -> tensors.Output:
    """Return an output as asked for; as classification, shape [N, k], its texts are ``probability:index:label``."""
    if not asked.classes:
        return tensors.Output(asked.name, values, asked.binary)
    best = np.argsort(-values, axis=1, kind="stable")[:, : asked.classes]
    texts = [[f"{row[i]:f}:{i}:{labels[i]}" for i in order] for row, order in zip(values, best, strict=True)]
    return tensors.Output(asked.name, np.array(texts, object), asked.binary)


def _response(body: bytes, json_length: int | None) -> Response:
    if json_length is None:
        return Response(body, media_type="application/json")
    return Response(body, headers={JSON_LENGTH: str(json_length)}, media_type="application/octet-stream")


def _of_model(path: str, endpoint: Any, method: str) -> list[Route]:
    """Return the routes to a model and to a version of it."""
    bases = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
    return [Route(base + path, endpoint, methods=[method]) for base in bases]


routes = [
    Route("/v2", server),
    Route("/v2/health/live", live),
    Route("/v2/health/ready", ready),
    Route("/v2/models", models),
    *_of_model("", model, "GET"),
    *_of_model("/ready", model_ready, "GET"),
    *_of_model("/infer", infer, "POST"),
]
