from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from finetune_export.contract import Contract, Scaling, Task
from finetune_export.errors import ModelError
from finetune_export.verify import Agreement, compare

rows = hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.just(3)), elements=st.floats(0, 1, width=32))
tasks = pytest.mark.parametrize("task", ["single-label", "multi-label", "regression"])

OfTask = Callable[[Task], Contract]


def answers(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


@pytest.fixture
def two(contract: Contract) -> Contract:
    """Return a contract of two single labels."""
    return replace(contract, labels=("ant", "bee"))


# ── every task ──────────────────────────────────────────────────────────────────────────────────────


@tasks
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(same=rows)
def test_a_model_agrees_with_itself(same: NDArray[np.float32], task: Task, contract_of: OfTask) -> None:
    assert compare(same, same, contract_of(task)) == Agreement(len(same), 1.0, 0.0, 0)


@tasks
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pair=st.integers(1, 5).flatmap(
        lambda n: st.tuples(*[hnp.arrays(np.float32, (n, 3), elements=st.floats(0, 1, width=32))] * 2)
    )
)
def test_it_does_not_matter_which_of_two_models_comes_first(
    pair: tuple[NDArray[np.float32], NDArray[np.float32]], task: Task, contract_of: OfTask
) -> None:
    one, other = pair
    assert compare(one, other, contract_of(task)) == compare(other, one, contract_of(task))


@tasks
@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_a_number_is_never_alike(odd: float, task: Task, contract_of: OfTask) -> None:
    for reference, candidate in [(0.5, odd), (odd, 0.5), (odd, odd)]:
        found = compare(
            answers([0.5, 0.5, 0], [0.5, reference, 0]), answers([0.5, 0.5, 0], [0.5, candidate, 0]), contract_of(task)
        )
        assert not found.max_difference <= 1e9
        assert found.worst == 1


@tasks
@pytest.mark.parametrize(("one", "other"), [((0, 3), (0, 3)), ((2, 3), (1, 3)), ((3,), (3,)), ((2, 2), (2, 2))])
def test_what_does_not_fit_is_an_error(
    one: tuple[int, ...], other: tuple[int, ...], task: Task, contract_of: OfTask
) -> None:
    with pytest.raises(ModelError, match=r"cannot be compared; both have to be \(pictures, 3\), with at least one"):
        compare(np.zeros(one, np.float32), np.zeros(other, np.float32), contract_of(task))


# ── single labels ───────────────────────────────────────────────────────────────────────────────────


def test_the_worst_picture_is_named(two: Contract) -> None:
    found = compare(answers([0.9, 0.1], [0.6, 0.4], [0.2, 0.8]), answers([0.9, 0.1], [0.4, 0.6], [0.2, 0.8]), two)
    assert (found.compared, found.worst) == (3, 1)
    assert found.agreement == pytest.approx(2 / 3)
    assert found.max_difference == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("reference", "candidate", "agrees"),
    [
        ([0.5, 0.5, 0.0], [0.4, 0.6, 0.0], True),
        ([0.4, 0.6, 0.0], [0.5, 0.5, 0.0], True),
        ([0.5, 0.5, 0.0], [0.3, 0.3, 0.4], False),
        ([0.2, 0.2, 0.2], [0.2, 0.2, 0.2], True),
    ],
)
def test_tied_labels_all_count_as_top(
    reference: list[float], candidate: list[float], agrees: bool, contract: Contract
) -> None:
    assert compare(answers(reference), answers(candidate), contract).agreement == float(agrees)


# ── several labels: "bee" has to reach 0.3, the others 0.5 ──────────────────────────────────────────


@pytest.mark.parametrize(
    ("reference", "candidate", "agrees"),
    [
        ([0.9, 0.4, 0.1], [0.6, 0.9, 0.4], True),  # another order of the same labels
        ([0.4, 0.2, 0.1], [0.1, 0.1, 0.4], True),  # none
        ([0.9, 0.31, 0.1], [0.9, 0.29, 0.1], False),  # the same top-1 label
        ([0.51, 0.0, 0.0], [0.49, 0.0, 0.0], False),
        ([0.50005, 0.0, 0.0], [0.3, 0.0, 0.0], True),  # on its threshold, it may be given or not
        ([0.0, 0.29995, 0.0], [0.0, 0.9, 0.0], True),
        ([0.50005, 0.9, 0.0], [0.3, 0.2, 0.0], False),  # which excuses no other label
    ],
)
def test_the_same_labels_have_to_be_given(
    reference: list[float], candidate: list[float], agrees: bool, contract_of: OfTask
) -> None:
    found = compare(answers(reference), answers(candidate), contract_of("multi-label"))
    assert found.agreement == float(agrees)
    assert found.max_difference == pytest.approx(max(abs(a - b) for a, b in zip(reference, candidate, strict=True)))


# ── values ──────────────────────────────────────────────────────────────────────────────────────────


def test_values_differ_by_shares_of_their_scale(contract: Contract) -> None:
    scaling = Scaling(offset=(1000.0, 0.0), scale=(100.0, 0.01))
    ours = replace(contract, task="regression", labels=("weight", "error"), scaling=scaling)
    found = compare(
        answers([1000, 0.5], [1000, 0.5], [1000, 0.5]), answers([1000.09, 0.5], [1000, 0.5001], [1000.2, 0.5]), ours
    )
    assert found.agreement == pytest.approx(1 / 3)  # the first differs by 0.0009 of its scale
    assert found.worst == 1
    assert found.max_difference == pytest.approx(0.01, rel=1e-3)
