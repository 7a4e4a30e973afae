"""What a training came to, as the rows of its table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import nan
from typing import TYPE_CHECKING

from finetune.evaluation.catalogue import shown

if TYPE_CHECKING:
    from finetune.types import Pretrained, RunResult


def data(result: RunResult | Pretrained) -> str:
    """Return what was trained on: how many labels, and pictures of each part."""
    named = {"single-label": "classes", "multi-label": "labels", "regression": "value(s)"}[result.task]
    counts = f"{result.train_images} training and {result.valid_images} validation pictures"
    tested = f", {result.test_images} test pictures" * bool(result.test_images)
    return f"{result.dataset}: {result.labels} {named}, {counts}{tested}"


def scored(
    result: RunResult | Pretrained,
    scores: Mapping[str, float],
    interval: tuple[float, float] | None,
    shares: Collection[str],
) -> str:
    """Return the headline metric with its interval, and the others behind it."""
    metric = result.metric
    bounds = " to ".join(shown(bound, metric in shares) for bound in interval or ())
    within = f" (95%: {bounds})" if interval else ""
    others = "  ".join(f"{name} {shown(value, name in shares)}" for name, value in scores.items() if name != metric)
    return f"{metric} {shown(scores.get(metric, nan), metric in shares)}{within}  {others}{_averaged(result)}"


def _averaged(result: RunResult | Pretrained) -> str:
    """Return of how many values the metrics are the mean, where there are several."""
    return f"  (mean over {result.labels} values)" if result.task == "regression" and result.labels > 1 else ""
