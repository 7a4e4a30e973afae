"""Random generators go on where they were, and no step of a run shares its chance with another."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finetune.training.checkpoints import Checkpoints
from finetune.training.randomness import random_state, restore_random_state, seed_of

Draw = Callable[[], object]
DRAWS: dict[str, Draw] = {
    "torch": lambda: (torch.randn(5).tolist(), torch.randperm(7).tolist()),
    "numpy": lambda: (np.random.rand(3).tolist(), np.random.permutation(7).tolist()),
    "numpy, in pairs": lambda: np.random.standard_normal(1).tolist(),
    "random": lambda: (random.random(), random.sample(range(9), 4)),
    "random, in pairs": lambda: random.gauss(0, 1),
}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("before", [0, 1, 2, 700])
def test_what_is_drawn_after_a_restored_state_is_what_was_drawn_after_it(name: str, before: int) -> None:
    draw = DRAWS[name]
    for _ in range(before):  # some generators make two numbers at once, and keep the second
        draw()
    state = random_state()
    expected = [draw() for _ in range(3)]
    for other in DRAWS.values():
        other()

    restore_random_state(state)

    assert [draw() for _ in range(3)] == expected


def test_a_state_comes_back_from_a_checkpoint(tmp_path: Path) -> None:
    random.gauss(0, 1)
    np.random.standard_normal(1)
    Checkpoints(tmp_path).save(random_state(), {}, "some state")
    expected = [draw() for draw in DRAWS.values()]

    found = Checkpoints(tmp_path).load()
    assert found is not None
    restore_random_state(found.tensors)

    assert [draw() for draw in DRAWS.values()] == expected


def test_asking_for_the_state_draws_nothing() -> None:
    before = random_state()

    after = random_state()

    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())


def test_every_step_of_every_seed_has_a_seed_of_its_own() -> None:
    names = ("find", "frozen", "last 1 stage", "last 2 stages", "unfrozen", "svm", "logreg")
    seeds = [seed_of(seed, name) for seed in range(50) for name in names]

    assert len(set(seeds)) == len(seeds)


@given(st.integers(0, 2**32 - 1), st.text(max_size=20))
def test_a_seed_is_one_that_every_generator_takes_and_always_the_same(seed: int, step: str) -> None:
    found = seed_of(seed, step)

    assert 0 <= found < 2**32
    assert found == seed_of(seed, step)
    np.random.seed(found)
