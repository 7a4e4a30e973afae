"""What a row of answers means: the labels that it gives, or the values that it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune_export.contract import Contract, Task
from finetune_export.prediction import Prediction

OfTask = Callable[[Task], Contract]
probabilities = st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3)
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def of(contract: Contract, *answers: float) -> Prediction:
    return Prediction.of("a.jpg", np.array(answers, np.float32), contract)


def test_the_top_labels_come_best_first() -> None:
    prediction = Prediction("a.jpg", "single-label", ("a", "b", "c", "d"), (0.2, 0.2, 0.5, 0.1), ("c",))
    assert prediction.top(3) == [("c", 0.5), ("a", 0.2), ("b", 0.2)]
    assert len(prediction.top(9)) == 4
    for k in (0, -1):
        with pytest.raises(ValueError, match=f"k: {k} is not allowed; it has to be at least 1"):
            prediction.top(k)


@quick
@given(answers=probabilities)
def test_of_single_labels_the_first_of_the_most_probable_ones_is_given(
    answers: list[float], contract: Contract
) -> None:
    found = of(contract, *answers)
    assert found.given == (found.label,) == (found.top(1)[0][0],)
    assert found.probability == max(answers) == found.answers[found.labels.index(found.label)]
    assert not found.abstains


@pytest.mark.parametrize(
    ("answers", "abstains"),
    [((0.6, 0.3, 0.1), True), ((0.75, 0.2, 0.05), False), ((0.9, 0.1, 0.0), False), ((0.4, 0.5, 0.1), False)],
)
def test_a_model_abstains_where_its_label_stays_below_the_threshold(
    answers: tuple[float, ...], abstains: bool, contract: Contract
) -> None:
    found = of(replace(contract, thresholds={"ant": 0.75}), *answers)
    assert found.abstains is abstains
    assert found.given == (found.label,)  # what it would have said


@pytest.mark.parametrize(
    ("answers", "given"),
    [
        ((0.5, 0.3, 0.9), ("Käfer 甲", "ant", "bee")),
        ((0.49, 0.29, 0.49), ()),
        ((0.6, 0.2, 0.6), ("ant", "Käfer 甲")),  # equals in the labels' order
        ((0.1, 0.4, 0.2), ("bee",)),
    ],
)
def test_of_several_labels_those_are_given_that_reach_their_thresholds(
    answers: tuple[float, ...], given: tuple[str, ...], contract_of: OfTask
) -> None:
    found = of(contract_of("multi-label"), *answers)
    assert (found.given, found.abstains) == (given, False)


@quick
@given(answers=probabilities)
def test_the_given_labels_are_in_the_order_of_their_probabilities(answers: list[float], contract_of: OfTask) -> None:
    found = of(contract_of("multi-label"), *answers)
    ranked = [label for label, _ in found.top(3)]
    assert list(found.given) == [label for label in ranked if label in found.given]
    assert found.label == ranked[0]


def test_values_have_their_names(contract_of: OfTask) -> None:
    found = of(contract_of("regression"), 40.5, -71.25, 0.5)
    assert found.values == {"age": 40.5, "weight in kg": -71.25, "error": 0.5}
    assert (found.given, found.abstains) == ((), False)


@pytest.mark.parametrize("ask", [lambda each: each.label, lambda each: each.probability, lambda each: each.top(1)])
def test_a_regression_has_no_labels_to_choose_from(ask: Callable[[Prediction], object], contract_of: OfTask) -> None:
    with pytest.raises(ValueError, match="a regression prediction has no labels with probabilities; it has values"):
        ask(of(contract_of("regression"), 1, 2, 3))


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_probabilities_are_no_values(task: Task, contract_of: OfTask) -> None:
    with pytest.raises(ValueError, match=f"a {task} prediction has no values; it has label, probability, given and "):
        _ = of(contract_of(task), 0.1, 0.2, 0.7).values
