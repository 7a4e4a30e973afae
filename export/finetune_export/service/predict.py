"""``POST /predict``: pictures in, labels or values out, as JSON."""

from __future__ import annotations

import json
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from finetune_export.errors import ImageError
from finetune_export.prediction import Prediction
from finetune_export.service.bodies import pictures_in, read_body, while_connected
from finetune_export.service.models import Models, Served
from finetune_export.service.problems import Problem, problem_of

DEFAULT_TOP = 5
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


async def predict(request: Request) -> Response:
    """Answer for the pictures of a body: the body itself is one, a form may have several.

    One picture that is refused is refused as a whole; among several it gets its own ``error`` and ``status``. Query
    ``top``: how many of the best labels to name, 1 to all, 5 by default; a model with values has none.
    """
    began = time.perf_counter()
    state = request.app.state
    served = request.state.served = _served(request, state.models)
    top, engine = _top(request, served), state.engine
    engine.check_room()  # before the body is read: a refusal costs next to nothing
    names, pictures = zip(*pictures_in(request, await read_body(request, state.settings), state.settings), strict=True)
    async with engine.admit(len(pictures)):
        results = await while_connected(request, engine.predict(served, pictures))
    _count(request, served, results)
    if len(results) == 1 and isinstance(results[0], ImageError):
        raise problem_of(results[0])
    rows = [_row(name, result, top) for name, result in zip(names, results, strict=True)]
    return _json({**_about(served), "predictions": rows, "seconds": round(time.perf_counter() - began, 6)})


def _served(request: Request, models: Models) -> Served:
    name = request.path_params.get("name")
    served = models.default if name is None else models.get(name)
    if served is None:
        raise Problem(404, f"there are several models; ask /models/NAME/predict with one of {', '.join(models.all)}")
    return served


def _top(request: Request, served: Served) -> int:
    if not request.scope["query_string"]:
        return DEFAULT_TOP
    if served.predictor.task == "regression" and "top" in request.query_params:
        raise Problem(400, "top is for models with labels; this one has values, so leave it out")
    text, most = request.query_params.get("top", str(DEFAULT_TOP)), len(served.predictor.labels)
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= 1):
        raise Problem(400, f"top has to be a number from 1 to {most}")
    return min(int(text), most)


def _about(served: Served) -> dict[str, str]:
    return {"model": served.name, "version": served.version}


def _row(name: str, result: Prediction | ImageError, top: int) -> dict[str, Any]:
    if isinstance(result, ImageError):
        problem = problem_of(result)
        return {"name": name, "error": problem.text, "status": problem.status}
    if result.task == "regression":
        return {"name": name, "values": result.values}
    best = [_share(label, probability) for label, probability in result.top(top)]
    if result.task == "multi-label":
        probabilities = dict(zip(result.labels, result.answers, strict=True))
        given = [_share(label, probabilities[label]) for label in result.given]
        return {"name": name, "labels": given, "top": best}
    return {"name": name, **_share(result.label, result.probability), "abstains": result.abstains, "top": best}


def _share(label: str, probability: float) -> dict[str, Any]:
    return {"label": label, "probability": probability}


def _count(request: Request, served: Served, results: list[Prediction | ImageError]) -> None:
    refused = sum(isinstance(result, ImageError) for result in results)
    metrics = request.app.state.metrics
    if refused:
        metrics.pictures(served.name, "refused", refused)
    if refused < len(results):
        metrics.pictures(served.name, "answered", len(results) - refused)


def _json(content: object) -> Response:
    return Response(_encode(content).encode(), media_type="application/json")


routes = [
    Route("/predict", predict, methods=["POST"]),
    Route("/models/{name}/predict", predict, methods=["POST"]),
]
