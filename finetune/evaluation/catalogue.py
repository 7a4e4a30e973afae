"""The metrics by name: for which task each is, and which way it is better. Their arithmetic is in ``metrics``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from finetune.types import Task

CLASSIFICATION: tuple[Task, ...] = ("single-label", "multi-label")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a metric is called, for which tasks it is, and whether more of it is better."""

    name: str
    summary: str
    tasks: tuple[Task, ...]
    higher_is_better: bool = True


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(name="accuracy", summary="share of pictures that are right, every label of them", tasks=CLASSIFICATION),
        Metric(name="top-5", summary="share whose label is among the five most probable", tasks=("single-label",)),
        Metric(name="balanced-accuracy", summary="mean recall of the labels", tasks=("single-label",)),
        Metric(name="macro-f1", summary="mean F1 of the labels", tasks=CLASSIFICATION),
        Metric(name="mean-auroc", summary="mean area under the ROC curve of the labels", tasks=CLASSIFICATION),
        Metric(name="mean-average-precision", summary="mean average precision of the labels", tasks=CLASSIFICATION),
        Metric(
            name="log-loss",
            summary="mean negative log probability of what is right",
            tasks=CLASSIFICATION,
            higher_is_better=False,
        ),
        Metric(
            name="ece",
            summary="expected calibration error: how far confidence is from being right, 15 bins",
            tasks=CLASSIFICATION,
            higher_is_better=False,
        ),
        Metric(
            name="mae",
            summary="mean absolute error, in the units of the values",
            tasks=("regression",),
            higher_is_better=False,
        ),
        Metric(
            name="rmse",
            summary="root of the mean squared error, in the same units",
            tasks=("regression",),
            higher_is_better=False,
        ),
        Metric(name="r2", summary="share of the variance explained, mean over the values", tasks=("regression",)),
    )
}

SHARES = tuple(name for name in METRICS if name not in ("log-loss", "mae", "rmse", "r2"))
"""Metrics between 0 and 1, which people read in percent."""

HEADLINE: Mapping[Task, str] = {
    "single-label": "accuracy",
    "multi-label": "mean-average-precision",
    "regression": "r2",
}
"""The metric that stands for a model, and chooses the best epoch unless ``--monitor`` names another."""


def metrics_of(task: Task) -> tuple[Metric, ...]:
    """Return the metrics of a task, in the order in which they are shown."""
    return tuple(metric for metric in METRICS.values() if task in metric.tasks)


def shown(metric: str, value: float) -> str:
    """Return a metric's value as people read it: shares in percent, everything else as a number."""
    return f"{value:.1%}" if metric in SHARES else f"{value:.4g}"
