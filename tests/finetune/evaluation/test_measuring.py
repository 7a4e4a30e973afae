"""Registered metrics, asked: what they are given, what may come of it, and who is blamed when they break."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from finetune.builtin.metrics import METRICS
from finetune.errors import DataError, PluginError
from finetune.evaluation.catalogue import metrics_of
from finetune.evaluation.measuring import all_measured, answered, measured
from finetune.evaluation.metrics import score
from finetune.types import Answered, Metric, Task

from .conftest import EXAMPLES, single

Measure = Callable[[Answered], object]

MOOD = Metric(name="mood", summary="", tasks=("single-label",), measure="finetune_moods:mood")
LABELS = tuple("abcdefgh")


@pytest.fixture
def mood(monkeypatch: pytest.MonkeyPatch) -> Callable[[Measure], Metric]:
    """Let a function be what a plugin's metric is measured by."""

    def registered(measure: Measure) -> Metric:
        monkeypatch.setitem(sys.modules, "finetune_moods", SimpleNamespace(mood=measure))
        return MOOD

    return registered


def about(task: Task = "single-label", labels: int = 8, thresholds: Any = None) -> Answered:
    return answered(task, LABELS[:labels], *EXAMPLES[task](50, labels), thresholds)


# ── one of them ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_a_built_in_metric_is_its_score_for_each_of_its_tasks(metric: Metric) -> None:
    for task in metric.tasks:
        thresholds = np.full(8, 0.3) if task == "multi-label" else None
        asked = about(task, thresholds=thresholds)
        assert measured(metric, asked) == score(metric.name, task, asked.answers, asked.targets, thresholds)


@pytest.mark.parametrize(("labels", "defined"), [(5, False), (6, True)])
def test_the_top_five_of_five_labels_are_undefined(labels: int, defined: bool) -> None:
    assert np.isfinite(measured(METRICS["top-5"], about(labels=labels))) == defined


@pytest.mark.parametrize("value", [0.25, np.float32(0.25), np.float64(0.25)], ids=repr)
def test_a_float_of_any_kind_is_what_a_metric_returns(value: Any, mood: Callable[[Measure], Metric]) -> None:
    found = measured(mood(lambda _: value), about())

    assert (found, type(found)) == (float(value), float)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "NoneType"),
        ("0.5", "str"),
        (True, "bool"),
        (3, "int"),
        (np.int64(3), "int64"),
        (1j, "complex"),
        ([0.5], "list"),
        (torch.ones(()), "Tensor"),
    ],
    ids=lambda value: str(value),
)
def test_what_is_no_float_is_a_plugin_error(value: Any, kind: str, mood: Callable[[Measure], Metric]) -> None:
    with pytest.raises(PluginError) as caught:
        measured(mood(lambda _: value), about())

    assert (str(caught.value), caught.value.exit_code) == (
        f"The metric 'mood' is broken: finetune_moods:mood returned {kind} instead of float.",
        5,
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -np.float32(np.inf)], ids=repr)
def test_what_is_not_finite_is_undefined(value: float, mood: Callable[[Measure], Metric]) -> None:
    assert np.isnan(measured(mood(lambda _: value), about()))


def test_a_metric_is_not_asked_about_answers_that_are_not_finite(mood: Callable[[Measure], Metric]) -> None:
    answers, targets = single(5)
    answers[2, 1] = np.nan

    assert np.isnan(
        measured(mood(lambda _: pytest.fail("it was asked")), answered("single-label", LABELS, answers, targets))
    )


@pytest.mark.parametrize("name", ["answers", "targets", "thresholds"])
def test_a_metric_cannot_change_what_it_is_given(name: str, mood: Callable[[Measure], Metric]) -> None:
    answers, targets = EXAMPLES["multi-label"](5)
    given = {"answers": answers, "targets": targets, "thresholds": np.full(8, 0.5)}
    before = given[name].copy()

    def overwriting(about: Answered) -> float:
        getattr(about, name)[:] = 0
        return 1.0

    with pytest.raises(
        PluginError, match=r"^The metric 'mood' failed: ValueError: assignment destination is read-only"
    ):
        measured(mood(overwriting), answered("multi-label", LABELS, **given))

    assert np.array_equal(given[name], before)
    given[name][:] = 0  # it is ours to write to


def test_what_a_metric_prints_does_not_reach_stdout(
    mood: Callable[[Measure], Metric], capsys: pytest.CaptureFixture[str]
) -> None:
    def talking(_: Answered) -> float:
        sys.stdout.write("a plugin talks\n")
        return 0.5

    assert measured(mood(talking), about()) == 0.5
    assert capsys.readouterr() == ("", "a plugin talks\n")


# ── all of them ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("task", EXAMPLES)
def test_all_metrics_of_a_task_are_measured_in_their_order(task: Task) -> None:
    metrics = metrics_of(METRICS, task)
    found = all_measured(metrics, "accuracy", about(task))

    assert list(found.values) == [metric.name for metric in metrics]
    assert found.values == {metric.name: measured(metric, about(task)) for metric in metrics}
    assert found.notes == ()


def broken(_: Answered) -> float:
    raise KeyError("joy")


def test_a_metric_that_fails_is_left_out_and_told(mood: Callable[[Measure], Metric]) -> None:
    found = all_measured([mood(broken), METRICS["accuracy"]], "accuracy", about())

    assert list(found.values) == ["accuracy"]
    assert found.notes == (
        "Left 'mood' out of the scores: The metric 'mood' failed: KeyError: 'joy'. FINETUNE_DEBUG=1 shows where.",
    )


def test_where_a_metric_fails_is_shown_to_who_asks_for_it(
    mood: Callable[[Measure], Metric], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FINETUNE_DEBUG", "1")

    all_measured([mood(broken)], "accuracy", about())

    assert "in broken" in capsys.readouterr().err


def test_a_metric_that_refuses_the_pictures_is_told_in_its_own_words(mood: Callable[[Measure], Metric]) -> None:
    def refusing(_: Answered) -> float:
        raise DataError("Nobody smiles.")

    assert all_measured([mood(refusing)], "accuracy", about()).notes == (
        "Left 'mood' out of the scores: Nobody smiles.",
    )


def test_a_metric_that_cannot_be_loaded_is_left_out_and_told() -> None:
    gone = Metric(name="gone", summary="", tasks=("single-label",), measure="finetune_gone:gone")
    (note,) = all_measured([gone], "accuracy", about()).notes

    assert note == (
        "Left 'gone' out of the scores: The metric 'gone' cannot be loaded from 'finetune_gone:gone': "
        "ModuleNotFoundError: No module named 'finetune_gone'"
    )


@pytest.mark.parametrize("measure", [broken, lambda _: None])
def test_the_monitored_metric_ends_the_run_where_it_fails(measure: Measure, mood: Callable[[Measure], Metric]) -> None:
    with pytest.raises(PluginError, match=r"^The metric 'mood' "):
        all_measured([METRICS["accuracy"], mood(measure)], "mood", about())


def test_a_strangers_metric_that_is_undefined_is_told_and_a_built_in_one_is_not(
    mood: Callable[[Measure], Metric],
) -> None:
    found = all_measured([METRICS["top-5"], mood(lambda _: float("nan"))], "mood", about(labels=3))

    assert found.values == {}
    assert found.notes == ("Left 'mood' out of the scores: it is undefined for these 50 pictures.",)
