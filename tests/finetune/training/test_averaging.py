"""Averages of weights: which tensors are in them, that they go on where they were, and that a soup never gets worse."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from finetune.training.averaging import (
    SLOWEST_DECAY,
    SOUP_EPOCHS,
    Candidate,
    MovingAverage,
    Weights,
    averaged,
    greedy_soup,
    kept_candidates,
)


def model() -> nn.Sequential:
    """Return a network of a frozen layer, a batch norm and a layer that learns."""
    torch.manual_seed(2)
    made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    made[0].requires_grad_(False)
    return made


def step(net: nn.Sequential, number: int) -> None:
    """Change what learns as a training step does: parameters, and the batch norm's statistics."""
    generator = torch.Generator().manual_seed(number)
    net.train()(torch.randn(8, 3, generator=generator))
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator))


def same(first: Weights, second: Weights) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# ── the moving average ──────────────────────────────────────────────────────────────────────────────


def test_the_first_step_is_the_average_and_later_ones_move_it_by_what_is_forgotten() -> None:
    net = model()
    average = MovingAverage(net, steps=40)  # looks back on 4 steps: keeps three quarters
    step(net, 1)
    average.update()
    first = average.weights()
    assert same(first, net.state_dict())

    step(net, 2)
    average.update()

    for name, latest in net.state_dict().items():
        expected = 0.75 * first[name] + 0.25 * latest if latest.is_floating_point() else latest
        assert torch.allclose(average.weights()[name], expected, atol=1e-6), name


def test_what_is_frozen_is_kept_bit_for_bit_and_takes_no_memory() -> None:
    net = model()
    average = MovingAverage(net, steps=500)
    for number in range(20):
        step(net, number)
        average.update()

    assert all(torch.equal(average.weights()[name], net.state_dict()[name]) for name in ("0.weight", "0.bias"))
    averaged_here = sum(tensor.numel() for tensor in average.state().values())
    assert averaged_here == 1 + sum(p.numel() for p in net.parameters() if p.requires_grad) + 2 * 4


@pytest.mark.parametrize(("steps", "decay"), [(1, 0.0), (10, 0.0), (40, 0.75), (160, 0.9375), (10**6, SLOWEST_DECAY)])
def test_the_average_looks_back_on_a_tenth_of_the_phase(steps: int, decay: float) -> None:
    net = nn.Sequential(nn.Linear(1, 1, bias=False))
    average = MovingAverage(net, steps)
    for value in (0.0, 1.0):
        nn.init.constant_(net[0].weight, value)
        average.update()

    assert float(average.weights()["0.weight"]) == pytest.approx(1 - decay)


def test_weights_are_a_copy_that_the_network_takes() -> None:
    net = model()
    average = MovingAverage(net, steps=100)
    average.update()
    before = {name: tensor.clone() for name, tensor in average.weights().items()}
    taken = average.weights()

    step(net, 1)
    average.update()

    assert same(taken, before)
    net.load_state_dict(taken)
    assert same(net.state_dict(), taken)


def test_an_average_goes_on_from_a_saved_state_as_if_it_never_had_stopped() -> None:
    net = model()
    whole = MovingAverage(net, steps=100)
    for number in range(3):
        step(net, number)
        whole.update()
    saved, weights = whole.state(), {name: tensor.clone() for name, tensor in net.state_dict().items()}
    step(net, 3)
    whole.update()

    other = model()
    other.load_state_dict(weights)
    resumed = MovingAverage(other, steps=100)
    resumed.load(saved)
    step(other, 3)
    resumed.update()

    assert same(resumed.weights(), whole.weights())
    assert same(resumed.state(), whole.state())


def test_the_state_of_another_model_is_refused() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        MovingAverage(nn.Sequential(nn.Linear(3, 2)), 9).load(MovingAverage(nn.Sequential(nn.Linear(4, 2)), 9).state())


# ── the soup ────────────────────────────────────────────────────────────────────────────────────────


def at(value: float, count: int = 0) -> dict[str, Tensor]:
    return {"weight": torch.tensor([value]), "batches": torch.tensor(count)}


def candidates(values: Sequence[float], target: float) -> list[Candidate]:
    return [Candidate(-abs(value - target), at(value, number)) for number, value in enumerate(values)]


def test_a_soup_takes_what_brings_it_nearer_and_leaves_out_what_does_not() -> None:
    found = greedy_soup(candidates([1.4, 0.8, 5.0], target=1.0), lambda weights: -abs(float(weights["weight"]) - 1.0))

    assert found.members == (1, 0)  # best first
    assert float(found.weights["weight"]) == pytest.approx(1.1)
    assert found.score == pytest.approx(-0.1)


def test_what_costs_nothing_is_taken() -> None:
    found = greedy_soup([Candidate(1.0, at(0.0)), Candidate(1.0, at(2.0)), Candidate(0.5, at(4.0))], lambda _: 1.0)

    assert found.members == (0, 1, 2)
    assert float(found.weights["weight"]) == 2


def test_a_soup_of_one_is_that_epoch() -> None:
    only = Candidate(0.5, at(3.0))

    assert greedy_soup([only], lambda _: pytest.fail("there is nothing to compare")) == (0.5, only.weights, (0,))


@given(values=st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=SOUP_EPOCHS), target=st.floats(-10, 10))
def test_a_soup_is_never_worse_than_the_best_epoch(values: list[float], target: float) -> None:
    made = candidates(values, target)

    found = greedy_soup(made, lambda weights: -abs(float(weights["weight"]) - target))

    assert found.score >= max(candidate.score for candidate in made)
    assert len(set(found.members)) == len(found.members)


def test_whole_numbers_are_those_of_the_first() -> None:
    found = averaged([at(1.0, count=7), at(2.0, count=9)])

    assert (float(found["weight"]), int(found["batches"])) == (1.5, 7)
    assert found["batches"].dtype == torch.int64


def test_the_best_epochs_are_kept_and_of_equals_the_earlier() -> None:
    kept: tuple[Candidate, ...] = ()
    for number, score in enumerate([0.5, 0.9, 0.5, 0.7, 0.6, 0.8, 0.5, 0.4]):
        kept = kept_candidates(kept, score, lambda number=number: at(number))

    assert [candidate.score for candidate in kept] == [0.9, 0.8, 0.7, 0.6, 0.5]
    assert [float(candidate.weights["weight"]) for candidate in kept] == [1, 5, 3, 4, 0]
    assert len(kept) == SOUP_EPOCHS


def test_candidates_are_copies_and_are_made_only_where_they_are_kept() -> None:
    live = at(1.0)
    kept = kept_candidates((), 1.0, lambda: live)
    live["weight"].fill_(9)
    full = kept * SOUP_EPOCHS

    assert float(kept[0].weights["weight"]) == 1
    assert kept_candidates(full, 1.0, lambda: pytest.fail("copied for nothing")) == full
