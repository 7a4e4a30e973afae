from __future__ import annotations

import pytest

from finetune.evaluation.catalogue import HEADLINE, METRICS, metrics_of
from finetune.types import Task


@pytest.mark.parametrize("task", ["single-label", "multi-label", "regression"])
def test_the_headline_of_a_task_is_one_of_its_metrics(task: Task) -> None:
    assert HEADLINE[task] in [metric.name for metric in metrics_of(task)]


def test_the_metrics_go_by_their_names() -> None:
    assert all(metric.name == name for name, metric in METRICS.items())
    assert all(metric.tasks and metric.summary for metric in METRICS.values())
