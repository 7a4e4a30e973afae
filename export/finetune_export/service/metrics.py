"""What Prometheus may know: requests, times, pictures, what waits, what was refused, which model answers.

Labels are route templates, statuses and model names, never what a client chose: their number is bounded.
"""

from __future__ import annotations

import os
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client shares its values through files there, if it is set


class Metrics:
    """The counters of a worker process; those of all workers are summed when ``/metrics`` is asked for."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests answered.", "route", "status")
        self._seconds = Histogram(
            "finetune_request_seconds",
            "From the first byte of a request to its answer.",
            ("route",),
            registry=self._registry,
            buckets=SECONDS,
        )
        self._pictures = self._counter("pictures", "Pictures answered or refused.", "model", "outcome")
        self._refused = self._counter("refused", "Requests refused because something is full.", "reason")
        self._reloads = self._counter("reloads", "Model files that changed.", "model", "outcome")
        self._model = self._gauge("model_info", "The models that answer: 1.", "livemax", "model", "version")
        self.admitted = self._gauge("admitted_pictures", "Pictures being worked on or waiting.", "livesum")
        # Looking a child up by its labels costs more than counting.
        self._by_route: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._by_outcome: dict[tuple[str, str], Counter] = {}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request; ``route`` is its template."""
        children = self._by_route.get((route, status))
        if children is None:
            children = self._requests.labels(route, status), self._seconds.labels(route)
            self._by_route[route, status] = children
        children[0].inc()
        children[1].observe(seconds)

    def pictures(self, model: str, outcome: str, count: int = 1) -> None:
        """Count pictures that were ``answered`` or ``refused``."""
        child = self._by_outcome.get((model, outcome))
        if child is None:
            child = self._by_outcome[model, outcome] = self._pictures.labels(model, outcome)
        child.inc(count)

    def refused(self, reason: str) -> None:
        """Count a request that was refused because ``reason`` (queue, memory, connections) is full."""
        self._refused.labels(reason).inc()

    def reloaded(self, model: str, outcome: str) -> None:
        """Count a changed model file that was ``swapped`` in or ``refused``."""
        self._reloads.labels(model, outcome).inc()

    def serves(self, model: str, version: str, before: str | None = None) -> None:
        """Say which version of a model answers, and that the one ``before`` does not any more."""
        if before is not None and before != version:
            self._model.labels(model, before).set(0)
            if FOLDER not in os.environ:  # files of several processes keep their values
                self._model.remove(model, before)
        self._model.labels(model, version).set(1)

    def text(self) -> bytes:
        """Return the metrics of all workers in Prometheus' text format."""
        if FOLDER not in os.environ:
            return generate_latest(self._registry)
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return generate_latest(shared)

    def _counter(self, name: str, summary: str, *labels: str) -> Counter:
        return Counter(f"finetune_{name}", summary, labels, registry=self._registry)

    def _gauge(self, name: str, summary: str, mode: Any, *labels: str) -> Gauge:
        return Gauge(f"finetune_{name}", summary, labels, registry=self._registry, multiprocess_mode=mode)


async def metrics(request: Request) -> Response:
    """Answer ``GET /metrics``."""
    return Response(request.app.state.metrics.text(), headers={"content-type": CONTENT_TYPE_LATEST})


routes = [Route("/metrics", metrics)]
