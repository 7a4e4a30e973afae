"""The OpenAPI 3.1 document of the service: every route, with the limits, names and versions of this moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from finetune_export import __version__
from finetune_export.contract import Task
from finetune_export.service import openapi_schemas
from finetune_export.service.inference import JSON_LENGTH
from finetune_export.service.models import Served
from finetune_export.service.settings import Settings

Json = dict[str, Any]

_DESCRIPTION = """Answers for pictures with models that finetune exported: with labels, or with values.

`POST /predict` takes picture files. The Open Inference Protocol v2 under `/v2` takes and gives tensors, as JSON or as
binary data. Every answer has the header `X-Request-Id` (yours, if you send one), and every error is one line:
`{"error": text}`."""

_BODY_ERRORS = (400, 408, 411, 413, 415, 503)
_RUN_ERRORS = (404, *_BODY_ERRORS, 422, 500, 504)
_ERRORS = {
    400: "The request is not as it has to be; the text says where.",
    401: "The bearer token is missing or wrong.",
    404: "There is no such model, or no such version of it.",
    408: "The body did not arrive in time.",
    411: "The body has no length.",
    413: "The body or a picture is too large.",
    415: "It is not a picture of a format that is read, or the body is compressed.",
    422: "The picture is damaged.",
    500: "The network could not answer.",
    503: "Too much is waiting already; try again in a moment.",
    504: "The network took too long.",
}


async def openapi(request: Request) -> Response:
    """Answer ``GET /openapi.json``."""
    return JSONResponse(document(request.app.state.settings, request.app.state.models.all))


def document(settings: Settings, served: Mapping[str, Served]) -> Json:
    """Return the document for these settings and the models as they are now, by their names."""
    sides_px = sorted({each.predictor.contract.preprocessing.image_size_px for each in served.values()})
    tasks = _tasks(served)
    return {
        "openapi": "3.1.0",
        "info": {"title": "finetune-export", "version": __version__, "description": _DESCRIPTION},
        "security": [{"token": []}] if settings.token else [],
        "paths": _paths(settings, served),
        "components": {
            "schemas": openapi_schemas.schemas(settings, sides_px, tasks),
            "responses": {str(status): _error(status) for status in _ERRORS},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}} if settings.token else {},
        },
    }


# ── paths ───────────────────────────────────────────────────────────────────────────────────────────


def _paths(settings: Settings, served: Mapping[str, Served]) -> Json:
    errors = (401,) if settings.token else ()
    name = _in_path("name", list(served))
    version = _in_path("version", sorted({each.version for each in served.values()}))
    paths: Json = {"/predict": {"post": _predict(settings, served, errors)}} if len(served) == 1 else {}
    paths["/models/{name}/predict"] = {"parameters": [name], "post": _predict(settings, served, errors)}
    paths |= _server(errors)
    paths |= _model("/v2/models/{name}", [name], errors)
    paths |= _model("/v2/models/{name}/versions/{version}", [name, version], errors)
    return {**paths, **_about(errors), **_page()}


def _predict(settings: Settings, served: Mapping[str, Served], errors: tuple[int, ...]) -> Json:
    top = {
        "name": "top",
        "in": "query",
        "description": "How many of the most probable labels to name; not for a model with values.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999, "default": 5},
    }
    summary = f"Answer for a picture, or up to {settings.max_pictures} in a form"
    return {
        **_operation(summary, _json("PredictAnswer"), errors + _RUN_ERRORS),
        "parameters": [top] if _tasks(served) != ["regression"] else [],
        "requestBody": {
            "required": True,
            "description": f"A picture file; at most {settings.max_body_bytes} bytes altogether.",
            "content": {
                **{media_type: {} for media_type in openapi_schemas.PICTURE_TYPES},
                "multipart/form-data": {"schema": openapi_schemas.reference("Form")},
            },
        },
    }


def _server(errors: tuple[int, ...]) -> Json:
    return {
        "/v2": {"get": _operation("Name the server and its extensions", _json("Server"), errors)},
        "/v2/health/live": {"get": _open("Say that the server answers", _json("Live"))},
        "/v2/health/ready": {"get": _open("Say that every model answers", _json("Ready"))},
        "/v2/models": {"get": _operation("List the models", _json("Models"), errors)},
    }


def _model(base: str, parameters: list[Json], errors: tuple[int, ...]) -> Json:
    errors = (*errors, 404)
    return {
        base: {
            "parameters": parameters,
            "get": _operation("Describe a model's input and outputs", _json("Model"), errors),
        },
        f"{base}/ready": {
            "parameters": parameters,
            "get": _operation("Say that a model answers", _json("ModelReady"), errors),
        },
        f"{base}/infer": {"parameters": parameters, "post": _infer(errors)},
    }


def _infer(errors: tuple[int, ...]) -> Json:
    length = {"schema": {"type": "integer", "minimum": 0}, "description": "How many bytes of the body are JSON."}
    answer = {**_json("InferAnswer"), **_any("application/octet-stream")}
    operation = _operation("Infer", answer, errors + _RUN_ERRORS)
    operation["responses"]["200"]["headers"] = {JSON_LENGTH: length}
    return {
        **operation,
        "description": (
            "One input: `image`, UINT8 [N, S, S, 3], pixels, or `file`, BYTES [N], picture files as binary data. "
            f"Binary data follows the JSON; `{JSON_LENGTH}` then says where it begins."
        ),
        "parameters": [{"name": JSON_LENGTH, "in": "header", **length}],
        "requestBody": {
            "required": True,
            "content": {**_json("InferRequest"), **_any("application/octet-stream")},
        },
    }


def _about(errors: tuple[int, ...]) -> Json:
    return {
        "/metrics": {"get": _operation("Count and time, for Prometheus", _any("text/plain"), errors)},
        "/openapi.json": {"get": _operation("This document", _any("application/json"), errors)},
    }


def _page() -> Json:
    return {
        "/": {"get": _open("A page to ask about a picture on", _any("text/html"))},
        "/page.css": {"get": _open("Its style", _any("text/css"))},
        "/page.js": {"get": _open("Its script", _any("text/javascript"))},
        "/icon.svg": {"get": _open("Its icon", _any("image/svg+xml"))},
    }


def _tasks(served: Mapping[str, Served]) -> list[Task]:
    return sorted({each.predictor.task for each in served.values()})


# ── parts ───────────────────────────────────────────────────────────────────────────────────────────


def _operation(summary: str, content: Json, errors: tuple[int, ...]) -> Json:
    failures = {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(set(errors))}
    return {"summary": summary, "responses": {"200": {"description": "Done.", "content": content}, **failures}}


def _open(summary: str, content: Json) -> Json:
    """Return an operation that needs no token."""
    return {**_operation(summary, content, ()), "security": []}


def _error(status: int) -> Json:
    headers = {503: "Retry-After", 401: "WWW-Authenticate"}
    also = {"headers": {headers[status]: {"schema": {"type": "string"}}}} if status in headers else {}
    return {"description": _ERRORS[status], "content": _json("Error"), **also}


def _json(schema: str) -> Json:
    return {"application/json": {"schema": openapi_schemas.reference(schema)}}


def _any(media_type: str) -> Json:
    return {media_type: {}}


def _in_path(name: str, values: list[str]) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "enum": values}}


routes = [Route("/openapi.json", openapi)]
