"""The application: every route of the service, and how each error is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from finetune_export.errors import FinetuneError, ImageError
from finetune_export.service import inference, openapi, page, predict
from finetune_export.service import metrics as metrics_room
from finetune_export.service.admission import Engine
from finetune_export.service.bodies import Held
from finetune_export.service.envelope import Envelope, answer
from finetune_export.service.logs import Log
from finetune_export.service.metrics import Metrics
from finetune_export.service.models import Models
from finetune_export.service.problems import Problem, out_of_memory, problem_of
from finetune_export.service.settings import Settings

HEALTH = ("/v2/health/live", "/v2/health/ready")
_TEXTS = {404: "there is nothing at this address", 405: "this method is not allowed here"}


def create_app(settings: Settings, models: Models, engine: Engine, metrics: Metrics, log: Log) -> Starlette:
    """Return the application; ``app.state`` has the parts that it was made of, by their names here, and ``held``."""
    held = Held(settings.max_held_bytes)
    open_paths = [*HEALTH, *(route.path for route in page.routes)]
    envelope = Middleware(Envelope, log=log, metrics=metrics, held=held, token=settings.token, open_paths=open_paths)
    app = Starlette(routes=_routes(), middleware=[envelope], exception_handlers=_handlers(log))
    app.router.redirect_slashes = False  # it would send clients to whatever their Host header names
    app.state.settings, app.state.models, app.state.engine = settings, models, engine
    app.state.metrics, app.state.log, app.state.held = metrics, log, held
    return app


def _routes() -> list[Route]:
    return [*predict.routes, *inference.routes, *metrics_room.routes, *openapi.routes, *page.routes]


def _handlers(log: Log) -> dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]:
    """Return how errors become answers; those that are not here are 500, see ``Envelope``."""

    async def of_problem(_: Request, exc: Exception) -> Response:
        assert isinstance(exc, Problem)
        return answer(exc)

    async def of_routing(_: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        text = _TEXTS.get(exc.status_code, "the request cannot be answered")
        headers = {name: ", ".join(sorted(value.split(", "))) for name, value in (exc.headers or {}).items()}  # Allow
        return answer(Problem(exc.status_code, text, headers))

    async def of_runtime(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, FinetuneError)
        if not isinstance(exc, ImageError):
            log.write("error", "no answer", request_id=request.state.request_id, reason=str(exc))
        return answer(problem_of(exc))

    async def of_memory(request: Request, _: Exception) -> Response:
        log.write("error", "no answer", request_id=request.state.request_id, reason="out of memory")
        return answer(out_of_memory())

    return {Problem: of_problem, HTTPException: of_routing, FinetuneError: of_runtime, MemoryError: of_memory}
