"""The steps of training are those of torch's optimizers, at the rates of torch's schedulers, under torch's names."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from fastai.callback.core import Callback
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from finetune.training.learner.schedules import schedule
from finetune.training.strategies import Phase

from .conftest import RATES, batches, config_of, learner_of, model

EPOCHS, STEPS = 6, 50


class Rates(Callback):  # type: ignore[misc]
    """Writes down rate and momentum of every group at every step."""

    def __init__(self) -> None:
        self.lr: list[list[float]] = []
        self.momentum: list[float] = []

    def before_step(self) -> None:
        self.lr.append([group["lr"] for group in self.opt.opt.param_groups])
        group = self.opt.opt.param_groups[0]
        self.momentum.append(group["betas"][0] if "betas" in group else group.get("momentum"))


# ── optimizers ──────────────────────────────────────────────────────────────────────────────────────────

MOMENTUM, DECAY = 0.7, 0.05
BY_TORCH: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": MOMENTUM},
    "Adam": {"betas": (MOMENTUM, 0.999)},
    "AdamW": {"betas": (MOMENTUM, 0.999)},
    "RMSprop": {"momentum": MOMENTUM},
    "Adagrad": {},
}


def by_torch(net: nn.Sequential, name: str, epochs: int) -> None:
    """Train as a plain loop does."""
    groups = [{"params": net[i].parameters(), "lr": rate} for i, rate in zip((0, 2), RATES, strict=True)]
    optimizer = getattr(torch.optim, name)(groups, weight_decay=DECAY, **BY_TORCH[name])
    for _ in range(epochs):
        for inputs, targets in batches():
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs), targets).backward()
            optimizer.step()


@pytest.mark.parametrize("name", BY_TORCH)
def test_an_optimizer_takes_the_steps_of_torchs_of_that_name(name: str) -> None:
    ours, theirs = model(), model()

    config = config_of(optimizer=name, momentum=MOMENTUM, weight_decay=DECAY)
    learner_of(ours, config).fit(4, list(RATES))
    by_torch(theirs, name, epochs=4)

    for mine, other, start in zip(ours.parameters(), theirs.parameters(), model().parameters(), strict=True):
        assert torch.allclose(mine, other, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(mine, start, atol=1e-4)


@pytest.mark.parametrize("name", BY_TORCH)
def test_an_optimizer_is_fused_where_torch_can(name: str) -> None:
    learner = learner_of(model(), config_of(optimizer=name))
    learner.create_opt()

    assert type(learner.opt.opt) is getattr(torch.optim, name)
    assert learner.opt.opt.param_groups[0].get("fused", False) is (name != "RMSprop")


# ── schedules ───────────────────────────────────────────────────────────────────────────────────────────


def phase_of(rise: float = 0.3, start_divisor: float = 25.0) -> Phase:
    return Phase(name="x", epochs=EPOCHS, frozen_groups=0, rates=RATES, rise=rise, start_divisor=start_divisor)


def rates_over(phase: Phase, **said: Any) -> Rates:
    """Train through a phase and return the rates of each step."""
    rates, config = Rates(), config_of(**said)
    learner = learner_of(model(), config, train=batches(2 * STEPS, 2))
    learner.fit(EPOCHS, list(RATES), cbs=[schedule(phase, phase.rates, config), rates])
    assert len(rates.lr) == EPOCHS * STEPS
    return rates


def torchs_optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in RATES], momentum=0.9)


def torchs_rates(name: str, steps: int, **options: Any) -> list[list[float]]:
    """Return the rates that torch's scheduler of that name gives, step by step."""
    optimizer = torchs_optimizer()
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
    rates = []
    for _ in range(steps):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(("every", "gamma"), [(1, 0.5), (2, 0.1), (4, 0.3), (7, 0.1)])
def test_steplr_gives_torchs_rates_in_every_step_of_every_epoch(every: int, gamma: float) -> None:
    rates = rates_over(phase_of(), schedule="StepLR", step_epochs=every, gamma=gamma).lr

    expected = torchs_rates("StepLR", EPOCHS, step_size=every, gamma=gamma)
    assert [rates[step] for step in range(len(rates))] == [
        pytest.approx(expected[step // STEPS]) for step in range(len(rates))
    ]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5))
def test_steplr_steps_where_epochs_meet_however_the_shares_are_rounded(epochs: int, steps: int, every: int) -> None:
    phase = Phase(name="x", epochs=epochs, frozen_groups=0, rates=RATES, rise=0.3)
    course = schedule(phase, RATES, config_of(schedule="StepLR", step_epochs=every, gamma=0.5)).scheds["lr"]

    done = 0.0  # fastai adds up the share of a phase that is done, batch by batch
    for step in range(epochs * steps):
        assert list(course(done)) == pytest.approx([rate * 0.5 ** (step // steps // every) for rate in RATES])
        done += 1 / (epochs * steps)


def test_cosineannealinglr_gives_torchs_rates_where_epochs_meet() -> None:
    rates = rates_over(phase_of(), schedule="CosineAnnealingLR").lr

    expected = torchs_rates("CosineAnnealingLR", EPOCHS, T_max=EPOCHS)
    assert rates[::STEPS] == [pytest.approx(rate) for rate in expected]
    assert rates[-1] < [rate / 1000 for rate in RATES]


@pytest.mark.parametrize("start_divisor", [25.0, 5.0])
@pytest.mark.parametrize("rise", [0.25, 0.3])
def test_onecyclelr_gives_torchs_rates_within_a_step(rise: float, start_divisor: float) -> None:
    seen = rates_over(phase_of(rise, start_divisor), schedule="OneCycleLR")

    expected = torchs_rates(
        "OneCycleLR",
        EPOCHS * STEPS,
        max_lr=list(RATES),
        total_steps=EPOCHS * STEPS,
        pct_start=rise,
        div_factor=start_divisor,
        final_div_factor=1e5 / start_divisor,
    )
    # Torch comes to rest with the last step, fastai after it: they are a step apart, at most.
    a_step = math.pi / 2 / (rise * EPOCHS * STEPS)
    for ours, theirs in zip(seen.lr, expected, strict=True):
        assert [a / peak for a, peak in zip(ours, RATES, strict=True)] == pytest.approx(
            [b / peak for b, peak in zip(theirs, RATES, strict=True)], abs=a_step
        )
    assert (max(seen.momentum), min(seen.momentum)) == (pytest.approx(0.95), pytest.approx(0.85, abs=1e-4))


def test_only_onecyclelr_moves_the_momentum() -> None:
    assert set(rates_over(phase_of(), schedule="CosineAnnealingLR", momentum=0.6).momentum) == {0.6}
    assert set(rates_over(phase_of(), schedule="StepLR", momentum=0.6, optimizer="SGD").momentum) == {0.6}


@pytest.mark.parametrize("name", BY_TORCH)
@pytest.mark.parametrize("course", ["OneCycleLR", "CosineAnnealingLR", "StepLR"])
def test_every_optimizer_follows_every_schedule(name: str, course: str) -> None:
    config, net = config_of(optimizer=name, schedule=course), model()
    phase = Phase(name="x", epochs=3, frozen_groups=0, rates=RATES, rise=0.3)

    learner_of(net, config).fit(3, list(RATES), cbs=[schedule(phase, RATES, config)])

    moved = [not torch.equal(a, b) for a, b in zip(net.parameters(), model().parameters(), strict=True)]
    assert all(moved)
    assert all(parameter.isfinite().all() for parameter in net.parameters())
