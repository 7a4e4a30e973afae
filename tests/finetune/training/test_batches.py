from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from finetune.training.batches import Batches, made_ahead

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


def batches_of(count: int, size: int, *, shuffled: bool) -> Batches:
    return Batches(inputs_of, targets_of(count), size, shuffled=shuffled)


def targets_of(count: int) -> Tensor:
    return torch.arange(count) * 7 % 5


def order_of(batches: Batches) -> list[int]:
    return [index for inputs, _ in batches for index in inputs[:, 0].tolist()]


COUNTS = st.integers(1, 40)
SIZES = st.integers(2, 45)


@given(count=COUNTS, size=SIZES)
def test_in_order_every_picture_comes_once_with_its_target(count: int, size: int) -> None:
    batches = batches_of(count, size, shuffled=False)

    found = list(batches)

    assert len(found) == len(batches) == -(-count // size)
    assert torch.cat([inputs[:, 0] for inputs, _ in found]).tolist() == list(range(count))
    assert torch.equal(torch.cat([targets for _, targets in found]), targets_of(count))
    assert {len(inputs) for inputs, _ in found[:-1]} <= {size}


@given(count=COUNTS, size=SIZES, seed=st.integers(0, 2**32))
def test_shuffled_every_picture_comes_at_most_once_with_its_target_and_only_a_lonely_last_one_never(
    count: int, size: int, seed: int
) -> None:
    torch.manual_seed(seed)
    batches = batches_of(count, size, shuffled=True)

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


@given(count=st.integers(12, 40), size=SIZES, seed=st.integers(0, 2**32))
def test_the_seed_decides_the_order_and_each_epoch_has_another(count: int, size: int, seed: int) -> None:
    def orders() -> list[list[int]]:
        torch.manual_seed(seed)
        batches = batches_of(count, size, shuffled=True)
        return [order_of(batches), order_of(batches)]

    first, again = orders(), orders()

    assert first == again
    assert first[0] != first[1]


def test_another_seed_gives_another_order() -> None:
    orders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        orders.append(order_of(batches_of(30, 8, shuffled=True)))

    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(30))


def test_in_order_nothing_is_drawn_at_random() -> None:
    before = torch.get_rng_state()

    list(batches_of(9, 4, shuffled=False))

    assert torch.equal(torch.get_rng_state(), before)


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
