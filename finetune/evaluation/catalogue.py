"""The registered metrics of a task, which of them chooses, and how they are read; ``measuring`` calls them."""

from __future__ import annotations

from collections.abc import Mapping

from finetune.errors import ConfigError
from finetune.names import unknown_name
from finetune.types import Metric, Task

HEADLINE: Mapping[Task, str] = {
    "single-label": "accuracy",
    "multi-label": "mean-average-precision",
    "regression": "r2",
}
"""The built-in metric that stands for a model, and chooses the best epoch unless ``--monitor`` names another."""


def metrics_of(metrics: Mapping[str, Metric], task: Task) -> tuple[Metric, ...]:
    """Return those of the registered metrics that a task has, in the order in which they are shown."""
    return tuple(metric for metric in metrics.values() if task in metric.tasks)


def monitored(metrics: Mapping[str, Metric], task: Task, name: str | None, option: str = "--monitor") -> Metric:
    """Return the metric that was asked for by an ``option``, or the headline metric for None.

    Raises ``ConfigError`` for one that the task does not have.
    """
    allowed = {metric.name: metric for metric in metrics_of(metrics, task)}
    if name is not None and name not in allowed:
        raise ConfigError(unknown_name(f"{option} for a {task} task", name, allowed))
    return allowed[name or HEADLINE[task]]


def shares_of(metrics: Mapping[str, Metric]) -> tuple[str, ...]:
    """Return the names of the metrics that are between 0 and 1, and read in percent."""
    return tuple(metric.name for metric in metrics.values() if metric.is_share)


def shown(value: float, is_share: bool) -> str:
    """Return a metric's value as people read it: shares in percent, everything else as a number."""
    return f"{value:.1%}" if is_share else f"{value:.4g}"
