"""What a run is after: what is learned of the targets, what logits stand for, and which score is the better one."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finetune.builtin.metrics import METRICS
from finetune.errors import ConfigError, PluginError
from finetune.evaluation.catalogue import HEADLINE, metrics_of
from finetune.training.objective import Objective, objective_of
from finetune.types import Answered, Example, Metric, Task

LABELS = ("ant", "bee", "cat")
TASKS: tuple[Task, ...] = ("single-label", "multi-label", "regression")
SHOWN: dict[Task, tuple[Example, ...]] = {
    "single-label": tuple(Example(path=Path(f"{i}.png"), label=LABELS[i % 3]) for i in range(6)),
    "multi-label": tuple(Example(path=Path(f"{i}.png"), labels=LABELS[: i % 4]) for i in range(6)),
    "regression": tuple(Example(path=Path(f"{i}.png"), values=(i, 100 - 7 * i, 5)) for i in range(6)),
}


def of(task: Task, monitor: str | None = None) -> Objective:
    return objective_of(task, LABELS, monitor, SHOWN[task])


# ── targets and answers ─────────────────────────────────────────────────────────────────────────────


def test_single_labels_are_learned_as_their_places() -> None:
    objective = of("single-label")

    learned = objective.learned(objective.targets(SHOWN["single-label"]))

    assert learned.dtype == torch.int64
    assert learned.tolist() == [0, 1, 2, 0, 1, 2]


def test_several_labels_are_learned_as_0_and_1() -> None:
    objective = of("multi-label")

    learned = objective.learned(objective.targets(SHOWN["multi-label"]))

    assert learned.dtype == torch.float32
    assert learned.tolist()[:4] == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_values_are_learned_with_mean_0_and_deviation_1_and_a_constant_as_0() -> None:
    objective = of("regression")

    learned = objective.learned(objective.targets(SHOWN["regression"]))

    assert learned.dtype == torch.float32
    assert learned.mean(dim=0).tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    assert learned.std(dim=0, correction=0).tolist() == pytest.approx([1, 1, 0], abs=1e-6)


def test_the_scaling_is_that_of_the_training_pictures() -> None:
    objective = of("regression")
    other = (Example(path=Path("x.png"), values=(2.5, 82.5, 6)),)

    assert objective.learned(objective.targets(other)).tolist() == [pytest.approx([0, 0, 1])]


@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3), min_size=1, max_size=20))
def test_the_answer_to_what_is_learned_is_the_value_it_was(values: list[list[float]]) -> None:
    examples = tuple(Example(path=Path("x.png"), values=tuple(row)) for row in values)
    objective = objective_of("regression", LABELS, None, examples)
    targets = objective.targets(examples)

    answers = objective.answers(objective.learned(targets))

    spread = np.ptp(targets, axis=0).max() + np.abs(targets).max()
    assert np.allclose(answers, targets, rtol=1e-5, atol=1e-6 * spread)


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_float32_and_in_the_form_of_the_task(task: Task) -> None:
    logits = torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]], requires_grad=True)
    expected = {
        "single-label": logits.softmax(dim=1),
        "multi-label": logits.sigmoid(),
        "regression": logits * torch.tensor([1.7078251, 11.9547758, 1]) + torch.tensor([2.5, 82.5, 5]),
    }[task]

    answers = of(task).answers(logits)

    assert answers.dtype == np.float32
    assert np.allclose(answers, expected.detach().numpy(), rtol=1e-6)


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_a_temperature_divides_the_logits(task: Task) -> None:
    logits = torch.tensor([[1.0, 2.0, 0.0]])

    assert np.allclose(of(task).answers(logits, 0.25), of(task).answers(logits * 4))


# ── the monitored metric ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("task", TASKS)
def test_the_headline_metric_is_monitored_unless_another_is_named(task: Task) -> None:
    assert of(task).monitor == HEADLINE[task]
    last = metrics_of(METRICS, task)[-1]
    assert (of(task, last.name).metric, of(task, last.name).monitor) == (last, last.name)


def right_logits(task: Task) -> torch.Tensor:
    """Return logits that are right about every picture, and sure of it."""
    learned = of(task).learned(of(task).targets(SHOWN[task]))
    if task == "regression":
        return learned
    shown = torch.nn.functional.one_hot(learned, 3) if task == "single-label" else learned
    return 20.0 * (2 * shown - 1)


@pytest.mark.parametrize(
    ("task", "monitor"), [(task, metric.name) for task in TASKS for metric in metrics_of(METRICS, task)]
)
def test_what_is_right_has_a_higher_merit_than_what_is_wrong(task: Task, monitor: str) -> None:
    objective, targets = of(task, monitor), of(task).targets(SHOWN[task])
    right, wrong = (objective.score(sign * right_logits(task), targets) for sign in (1, -1))

    assert objective.merit(right) >= objective.merit(wrong)
    if monitor != "top-5":  # of three labels, all are among the first five
        assert objective.merit(right) > objective.merit(wrong)
        assert (right > wrong) is METRICS[monitor].higher_is_better


@pytest.mark.parametrize("monitor", ["accuracy", "log-loss"])
def test_an_undefined_score_has_a_lower_merit_than_any(monitor: str) -> None:
    objective = of("single-label", monitor)
    broken = torch.full((6, 3), math.nan)

    score = objective.score(broken, objective.targets(SHOWN["single-label"]))

    assert math.isnan(score)
    assert objective.merit(score) < objective.merit(0.0)
    assert objective.merit(score) < objective.merit(1e9)


# ── a stranger's metric ─────────────────────────────────────────────────────────────────────────────

BOLD = Metric(name="bold", summary="", tasks=TASKS, measure="finetune_bold:bold", higher_is_better=False)


@pytest.fixture
def bold(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Answered], object]], Objective]:
    """Monitor a function as a plugin's metric."""

    def monitored(measure: Callable[[Answered], object]) -> Objective:
        monkeypatch.setitem(sys.modules, "finetune_bold", SimpleNamespace(bold=measure))
        return objective_of("single-label", LABELS, "bold", SHOWN["single-label"], {**METRICS, "bold": BOLD})

    return monitored


def test_a_strangers_metric_may_be_monitored(bold: Callable[..., Objective]) -> None:
    objective = bold(lambda about: float(about.answers.max(axis=1).mean()))
    sure, unsure = (objective.score(scale * torch.eye(3), np.arange(3)) for scale in (9, 1))

    assert (objective.monitor, objective.shown(sure)) == ("bold", "0.9998")
    assert objective.merit(sure) < objective.merit(unsure)
    assert [metric.name for metric in objective.metrics] == [m.name for m in metrics_of(METRICS, "single-label")] + [
        "bold"
    ]


def test_a_strangers_metric_that_fails_while_it_is_monitored_is_a_plugin_error(bold: Callable[..., Objective]) -> None:
    with pytest.raises(PluginError, match=r"^The metric 'bold' failed: ValueError: "):
        bold(lambda about: about.answers.reshape(7)).score(torch.eye(3), np.arange(3))


# ── what is said ────────────────────────────────────────────────────────────────────────────────────


def test_shares_are_shown_in_percent_and_everything_else_as_a_number() -> None:
    assert of("single-label").shown(0.9741) == "97.4%"
    assert of("single-label", "log-loss").shown(0.123456) == "0.1235"
    assert of("regression", "mae").shown(12.3456) == "12.35"


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────


def refusal(task: Task, monitor: str) -> str:
    with pytest.raises(ConfigError) as caught:
        of(task, monitor)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize("task", TASKS)
def test_a_metric_that_the_task_does_not_have_is_refused_with_those_that_it_has(task: Task) -> None:
    known = ", ".join(sorted(metric.name for metric in metrics_of(METRICS, task)))

    assert refusal(task, "beauty") == f"Unknown --monitor for a {task} task 'beauty'. Known: {known}."


def test_a_metric_of_another_task_is_refused() -> None:
    assert refusal("regression", "log-loss").endswith("'log-loss'. Known: mae, r2, rmse.")


def test_a_misspelt_metric_is_refused_with_the_one_that_was_meant() -> None:
    assert refusal("single-label", "acuracy").startswith(
        "Unknown --monitor for a single-label task 'acuracy'. Did you mean 'accuracy'? Known: "
    )
