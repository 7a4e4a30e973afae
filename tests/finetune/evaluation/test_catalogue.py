"""Which metrics a task has, which one chooses, and how they are read."""

from __future__ import annotations

import pytest

from finetune.builtin.metrics import METRICS
from finetune.errors import ConfigError
from finetune.evaluation.catalogue import HEADLINE, metrics_of, monitored, shares_of, shown
from finetune.evaluation.metrics import BUILT_IN
from finetune.types import Metric, Task

TASKS: tuple[Task, ...] = ("single-label", "multi-label", "regression")
MOOD = Metric(name="mood", summary="", tasks=("regression",), measure="moods:mood", is_share=True)
WITH_MOOD = {**METRICS, "mood": MOOD}


@pytest.mark.parametrize("task", TASKS)
def test_the_headline_of_a_task_is_one_of_its_metrics(task: Task) -> None:
    assert monitored(METRICS, task, None) == METRICS[HEADLINE[task]]
    assert task in METRICS[HEADLINE[task]].tasks


def test_the_metrics_go_by_their_names_and_each_has_its_arithmetic() -> None:
    assert all(metric.name == name for name, metric in METRICS.items())
    assert all(metric.tasks and metric.summary for metric in METRICS.values())
    assert set(METRICS) == BUILT_IN


def test_a_strangers_metric_is_one_of_its_task_after_the_built_in_ones() -> None:
    assert [metric.name for metric in metrics_of(WITH_MOOD, "regression")] == ["mae", "rmse", "r2", "mood"]
    assert MOOD not in metrics_of(WITH_MOOD, "multi-label")
    assert monitored(WITH_MOOD, "regression", "mood") == MOOD


def test_a_metric_that_the_task_does_not_have_is_refused_with_those_that_it_has() -> None:
    with pytest.raises(ConfigError) as caught:
        monitored(WITH_MOOD, "regression", "log-loss")

    assert str(caught.value) == "Unknown --monitor for a regression task 'log-loss'. Known: mae, mood, r2, rmse."


def test_shares_are_read_in_percent_and_everything_else_as_a_number() -> None:
    assert set(METRICS) - set(shares_of(METRICS)) == {"log-loss", "mae", "rmse", "r2"}
    assert "mood" in shares_of(WITH_MOOD)
    assert (shown(0.9741, True), shown(0.123456, False)) == ("97.4%", "0.1235")
