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
    assert found.max_difference == pytest.approx(0.01, rel=2e-3)  # of which steps of float32 are excused


LARGE_OFFSETS = pytest.mark.parametrize(("offset", "scale"), [(300.0, 0.1), (2000.0, 1.0), (-300.0, 0.1), (1e5, 0.5)])


@pytest.fixture
def of_scaling(contract: Contract) -> Callable[[float, float], Contract]:
    """Return the contract of one value with this offset and scale."""

    def of(offset: float, scale: float) -> Contract:
        scaling = Scaling(offset=(offset,), scale=(scale,))
        return replace(contract, task="regression", labels=("value",), scaling=scaling)

    return of


@LARGE_OFFSETS
@pytest.mark.parametrize("steps", [1, 2])
def test_what_float32_rounds_off_at_a_large_offset_is_no_difference(
    offset: float, scale: float, steps: int, of_scaling: Callable[[float, float], Contract]
) -> None:
    value, step = np.float32(offset), np.spacing(np.float32(abs(offset)))
    assert step / scale > 1e-4, "else it would have counted as the same without any excuse"
    found = compare(answers([value]), answers([value + steps * step]), of_scaling(offset, scale))
    assert (found.agreement, found.max_difference) == (1.0, 0.0)


@LARGE_OFFSETS
def test_what_is_more_than_float32_rounds_off_counts(
    offset: float, scale: float, of_scaling: Callable[[float, float], Contract]
) -> None:
    value, step = np.float32(offset), float(np.spacing(np.float32(abs(offset))))
    found = compare(answers([value]), answers([value + np.float32(5 * step)]), of_scaling(offset, scale))
    assert found.max_difference == pytest.approx(3 * step / scale)  # over 1e-4, what a float32 export may differ by
    far = compare(answers([value]), answers([value + np.float32(0.01 * scale + 5 * step)]), of_scaling(offset, scale))
    assert far.agreement == 0.0


def test_a_value_beside_a_power_of_two_is_excused_by_the_longer_steps(
    of_scaling: Callable[[float, float], Contract],
) -> None:
    below, above = np.nextafter(np.float32(512), np.float32(0)), np.nextafter(np.float32(512), np.float32(1e3))
    ours = of_scaling(512.0, 0.1)
    for pair in ((below, above), (above, below)):
        assert compare(answers([pair[0]]), answers([pair[1]]), ours).max_difference == 0.0


def test_probabilities_are_excused_nothing(two: Contract) -> None:
    step = np.spacing(np.float32(0.75))
    found = compare(answers([0.75, 0.25]), answers([0.75 + step, 0.25]), two)
    assert found.max_difference == step
