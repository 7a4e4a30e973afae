"""The built-in metrics, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from finetune.hookspecs import hookimpl
from finetune.types import Metric, Task

CLASSIFICATION: tuple[Task, ...] = ("single-label", "multi-label")

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="accuracy",
            summary="share of pictures that are right, every label of them",
            tasks=CLASSIFICATION,
            measure="finetune.evaluation.metrics:accuracy",
            is_share=True,
        ),
        Metric(
            name="top-5",
            summary="share whose label is among the five most probable",
            tasks=("single-label",),
            measure="finetune.evaluation.metrics:top_5",
            is_share=True,
        ),
        Metric(
            name="balanced-accuracy",
            summary="mean recall of the labels",
            tasks=("single-label",),
            measure="finetune.evaluation.metrics:balanced_accuracy",
            is_share=True,
        ),
        Metric(
            name="macro-f1",
            summary="mean F1 of the labels",
            tasks=CLASSIFICATION,
            measure="finetune.evaluation.metrics:macro_f1",
            is_share=True,
        ),
        Metric(
            name="mean-auroc",
            summary="mean area under the ROC curve of the labels",
            tasks=CLASSIFICATION,
            measure="finetune.evaluation.metrics:mean_auroc",
            is_share=True,
        ),
        Metric(
            name="mean-average-precision",
            summary="mean average precision of the labels",
            tasks=CLASSIFICATION,
            measure="finetune.evaluation.metrics:mean_average_precision",
            is_share=True,
        ),
        Metric(
            name="log-loss",
            summary="mean negative log probability of what is right",
            tasks=CLASSIFICATION,
            measure="finetune.evaluation.metrics:log_loss",
            higher_is_better=False,
        ),
        Metric(
            name="ece",
            summary="expected calibration error: how far confidence is from being right, 15 bins",
            tasks=CLASSIFICATION,
            measure="finetune.evaluation.metrics:ece",
            higher_is_better=False,
            is_share=True,
        ),
        Metric(
            name="mae",
            summary="mean absolute error, in the units of the values",
            tasks=("regression",),
            measure="finetune.evaluation.metrics:mae",
            higher_is_better=False,
        ),
        Metric(
            name="rmse",
            summary="root of the mean squared error, in the same units",
            tasks=("regression",),
            measure="finetune.evaluation.metrics:rmse",
            higher_is_better=False,
        ),
        Metric(
            name="r2",
            summary="share of the variance explained, mean over the values",
            tasks=("regression",),
            measure="finetune.evaluation.metrics:r2",
        ),
    )
}


@hookimpl
def finetune_register_metrics(register: Callable[[Metric], None]) -> None:
    """Offer the metrics that the project brings along."""
    for metric in METRICS.values():
        register(metric)
