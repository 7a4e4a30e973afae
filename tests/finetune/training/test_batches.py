from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from fastai.torch_core import set_seed
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from finetune.training.batches import Batches, made_ahead
from finetune.training.randomness import random_state

LONG_S = 60
"""How long a thread may take to get its turn on a busy machine; a test that waits for it that long has failed."""


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


# ── made ahead ──────────────────────────────────────────────────────────────────────────────────────


@given(items=st.lists(st.integers(), max_size=12))
def test_what_is_made_ahead_comes_complete_and_in_order(items: list[int]) -> None:
    assert list(made_ahead(lambda item: 2 * item, items)) == [2 * item for item in items]


def test_the_next_one_is_made_while_this_one_is_used_and_none_beyond_it() -> None:
    makers, second_made = [], threading.Event()

    def make(item: int) -> int:
        makers.append(threading.current_thread())
        if item == 1:
            second_made.set()
        return item

    coming = made_ahead(make, range(10))
    assert next(coming) == 0

    assert second_made.wait(LONG_S)
    assert len(makers) == 2
    assert threading.current_thread() not in makers
    assert list(coming) == list(range(1, 10))


def test_an_error_in_making_comes_once_in_its_place_and_ends_the_thread() -> None:
    before = set(threading.enumerate())
    coming = made_ahead(lambda item: 6 / (3 - item), range(10))

    assert [next(coming) for _ in range(3)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(coming)

    assert set(threading.enumerate()) <= before
    assert list(coming) == []


def test_an_error_in_the_last_one_is_not_lost() -> None:
    coming = made_ahead(lambda item: 6 / (3 - item), range(4))

    with pytest.raises(ZeroDivisionError):
        list(coming)


def test_an_abandoned_iteration_ends_its_thread() -> None:
    before = set(threading.enumerate())
    coming = made_ahead(lambda item: item, range(10))
    next(coming)
    assert set(threading.enumerate()) > before

    coming.close()  # type: ignore[attr-defined]

    assert set(threading.enumerate()) <= before


# ── batches ─────────────────────────────────────────────────────────────────────────────────────────


def inputs_of(indices: list[int], epoch: int) -> Tensor:
    """Return inputs that say which picture they are of, and in which epoch they were made."""
    return torch.tensor([[index, epoch] for index in indices])


def batches_of(count: int, size: int, **options: Any) -> Batches:
    return Batches(inputs_of, targets_of(count), size, **options)


def targets_of(count: int) -> Tensor:
    return torch.arange(count) * 7 % 5


def order_of(batches: Batches) -> list[int]:
    return [index for inputs, _ in batches for index in inputs[:, 0].tolist()]


COUNTS = st.integers(1, 40)
SIZES = st.integers(2, 45)
SEEDS = st.integers(0, 2**32 - 1)


@given(count=COUNTS, size=SIZES)
def test_in_order_every_picture_comes_once_with_its_target(count: int, size: int) -> None:
    batches = batches_of(count, size, shuffled=False)

    found = list(batches)

    assert len(found) == len(batches) == -(-count // size)
    assert torch.cat([inputs[:, 0] for inputs, _ in found]).tolist() == list(range(count))
    assert torch.equal(torch.cat([targets for _, targets in found]), targets_of(count))
    assert {len(inputs) for inputs, _ in found[:-1]} <= {size}


@given(count=COUNTS, size=SIZES, seed=SEEDS)
def test_shuffled_every_picture_comes_at_most_once_with_its_target_and_only_a_lonely_last_one_never(
    count: int, size: int, seed: int
) -> None:
    batches = batches_of(count, size, shuffled=True, seed=seed)

    found = list(batches)

    seen = Counter(index for inputs, _ in found for index in inputs[:, 0].tolist())
    lonely = count > size and count % size == 1
    assert len(found) == len(batches)
    assert set(seen) <= set(range(count))
    assert set(seen.values()) == {1}
    assert len(seen) == count - lonely
    for inputs, targets in found:
        assert torch.equal(targets, targets_of(count)[inputs[:, 0]])
        assert len(inputs) > 1 or count == 1


@given(count=st.integers(12, 40), size=SIZES, seed=SEEDS)
def test_the_seed_decides_the_order_and_each_epoch_has_another(count: int, size: int, seed: int) -> None:
    first, again = (batches_of(count, size, shuffled=True, seed=seed) for _ in range(2))

    orders = [order_of(first) for _ in range(3)]

    assert orders == [order_of(again) for _ in range(3)]
    assert len(set(map(tuple, orders))) == 3


@given(epoch=st.integers(0, 1000), seed=SEEDS, is_weighted=st.booleans())
def test_the_order_of_an_epoch_does_not_depend_on_those_before_it(epoch: int, seed: int, is_weighted: bool) -> None:
    weights = torch.rand(30) if is_weighted else None
    earlier = batches_of(30, 8, shuffled=True, seed=seed, weights=weights, first_epoch=epoch)
    later = batches_of(30, 8, shuffled=True, seed=seed, weights=weights, first_epoch=epoch + 1)
    next(iter(earlier))  # an epoch that is left in the middle counts, too

    assert order_of(earlier) == order_of(later)


def test_another_seed_gives_another_order_in_every_epoch() -> None:
    orders = {
        tuple(order_of(batches_of(30, 8, shuffled=True, seed=seed, first_epoch=epoch)))
        for seed in range(6)
        for epoch in range(6)
    }

    assert len(orders) == 36
    assert all(sorted(order) == list(range(30)) for order in orders)


@pytest.mark.parametrize("options", [{}, {"shuffled": True}, {"shuffled": True, "weights": torch.ones(9)}], ids=str)
def test_no_global_random_generator_is_touched_or_listened_to(options: dict[str, Any]) -> None:
    orders = []
    for seed in (1, 2):
        set_seed(seed)
        before = random_state()
        orders.append(order_of(batches_of(9, 4, **options)))
        assert all(torch.equal(before[name], state) for name, state in random_state().items())

    assert orders[0] == orders[1]


# ── balanced ────────────────────────────────────────────────────────────────────────────────────────


def test_with_weights_pictures_come_as_often_as_their_shares_say() -> None:
    weights = torch.tensor([1.0] * 90 + [9.0] * 10)  # ten rare pictures that count as much as ninety frequent ones
    batches = batches_of(100, 16, shuffled=True, weights=weights)

    drawn = [order_of(batches) for _ in range(40)]

    assert {len(order) for order in drawn} == {100}
    rare = sum(index >= 90 for order in drawn for index in order) / 4000
    assert 0.47 < rare < 0.53  # of 4000 draws, by four standard deviations


def test_a_picture_without_weight_never_comes_and_each_comes_with_its_target() -> None:
    batches = batches_of(20, 6, shuffled=True, weights=torch.tensor([0.0, 1.0] * 10))

    for inputs, targets in batches:
        assert all(index % 2 for index in inputs[:, 0].tolist())
        assert torch.equal(targets, targets_of(20)[inputs[:, 0]])


# ── from the middle ─────────────────────────────────────────────────────────────────────────────────


@given(count=COUNTS, size=SIZES, seed=SEEDS, is_shuffled=st.booleans(), data=st.data())
def test_a_pass_from_the_middle_is_the_rest_of_the_whole_one(
    count: int, size: int, seed: int, is_shuffled: bool, data: st.DataObject
) -> None:
    whole, rest = (batches_of(count, size, shuffled=is_shuffled, seed=seed) for _ in range(2))
    expected = list(whole)
    step = data.draw(st.integers(0, len(expected)))

    rest.start_at(step)

    assert len(rest) == len(expected)
    found = list(rest)
    assert len(found) == len(expected) - step
    for (inputs, targets), (expected_inputs, expected_targets) in zip(found, expected[step:], strict=True):
        assert torch.equal(inputs, expected_inputs)
        assert torch.equal(targets, expected_targets)


def test_after_a_pass_from_the_middle_the_next_one_is_whole_and_of_the_next_epoch() -> None:
    whole, resumed = (batches_of(30, 8, shuffled=True) for _ in range(2))
    list(whole)

    resumed.start_at(3)
    list(resumed)

    assert order_of(resumed) == order_of(whole)


def test_batches_before_the_middle_are_not_made() -> None:
    asked: list[list[int]] = []

    def fetch(indices: list[int], epoch: int) -> Tensor:
        asked.append(indices)
        return inputs_of(indices, epoch)

    batches = Batches(fetch, targets_of(10), 4)
    batches.start_at(2)
    list(batches)

    assert asked == [[8, 9]]


@pytest.mark.parametrize("targets", [torch.arange(9), torch.rand(9, 3)], ids=["labels", "values"])
def test_targets_come_in_their_own_form(targets: Tensor) -> None:
    for inputs, found in Batches(inputs_of, targets, 4, shuffled=True):
        assert found.dtype == targets.dtype
        assert torch.equal(found, targets[inputs[:, 0]])


# ── in use ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_lonely_picture_of_one_epoch_is_seen_in_another() -> None:
    batches = batches_of(9, 4, shuffled=True)

    left_out = {(set(range(9)) - set(order_of(batches))).pop() for _ in range(20)}

    assert len(left_out) > 1


def test_inputs_are_made_for_the_epoch_that_they_are_seen_in() -> None:
    batches = batches_of(9, 4, shuffled=True)

    assert [{int(epoch) for inputs, _ in batches for epoch in inputs[:, 1]} for _ in range(3)] == [{0}, {1}, {2}]


def test_inputs_are_made_in_a_thread_of_their_own() -> None:
    makers = set()

    def fetch(indices: list[int], epoch: int) -> Tensor:
        makers.add(threading.current_thread())
        return inputs_of(indices, epoch)

    list(Batches(fetch, targets_of(9), 4))

    assert len(makers) == 1
    assert threading.current_thread() not in makers


@pytest.mark.parametrize("is_closed", [True, False])
def test_batches_that_are_left_in_the_middle_end_their_thread(is_closed: bool) -> None:
    before = set(threading.enumerate())
    iterator = iter(batches_of(40, 4, shuffled=False))
    next(iterator)
    assert set(threading.enumerate()) > before

    if is_closed:
        iterator.close()  # type: ignore[attr-defined]
    del iterator

    assert set(threading.enumerate()) <= before


def test_batches_that_were_left_in_the_middle_begin_anew() -> None:
    batches = batches_of(10, 4, shuffled=False)
    next(iter(batches))

    assert order_of(batches) == list(range(10))


def test_an_error_in_fetching_reaches_who_iterates_unchanged() -> None:
    broken = KeyError("gone")

    def fetch(indices: list[int], epoch: int) -> Tensor:
        if 4 in indices:
            raise broken
        return inputs_of(indices, epoch)

    batches = iter(Batches(fetch, targets_of(12), 4))

    assert next(batches)[0][:, 0].tolist() == [0, 1, 2, 3]
    with pytest.raises(KeyError) as caught:
        next(batches)
    assert caught.value is broken
    assert list(batches) == []
