from __future__ import annotations

import itertools
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.clock import Clock
from finetune.config import RunOptions, resolve
from finetune.errors import ConfigError
from finetune.training.strategies import RATE_SPAN, Outcome, Phase, discriminative_rates, follow, phase_to_measure, plan

GROUPS = ("stem", "block 1", "block 2", "head")


def planned(*, lr: float = 0.01, from_scratch: bool = False, **said: Any) -> tuple[Phase, ...]:
    return plan(resolve(cast(RunOptions, said)), GROUPS, lr, from_scratch)


def refusal(**said: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        planned(**said)
    return str(caught.value)


# ── the rate that can be found ──────────────────────────────────────────────────────────────────────


def test_the_rate_is_measured_while_the_head_learns_alone() -> None:
    assert phase_to_measure(resolve(), GROUPS, from_scratch=False).name == "frozen"


def test_from_scratch_the_rate_is_measured_in_the_only_phase() -> None:
    assert phase_to_measure(resolve(), GROUPS, from_scratch=True).name == "from scratch"


def test_without_frozen_epochs_there_is_nothing_to_measure_the_heads_rate_in() -> None:
    with pytest.raises(ConfigError, match="--freeze-epochs 0 leaves nothing to measure it in; give --freeze-epochs"):
        phase_to_measure(resolve({"freeze_epochs": 0}), GROUPS, from_scratch=False)


# ── the plan ────────────────────────────────────────────────────────────────────────────────────────


def test_pretrained_weights_are_trained_frozen_and_then_unfrozen() -> None:
    assert [(phase.name, phase.epochs) for phase in planned(freeze_epochs=5, epochs=3)] == [
        ("frozen", 5),
        ("unfrozen", 3),
    ]


def test_while_the_body_is_frozen_the_head_alone_learns_at_the_full_rate() -> None:
    frozen, _ = planned(lr=0.01)

    assert (frozen.frozen_groups, frozen.rates) == (3, (0, 0, 0, 0.01))


def test_after_unfreezing_the_head_learns_at_a_thirtieth_of_the_rate() -> None:
    _, unfrozen = planned(lr=0.03)

    assert (unfrozen.frozen_groups, unfrozen.rates[-1]) == (0, pytest.approx(0.001))


def test_after_unfreezing_every_group_learns_more_slowly_than_the_one_above() -> None:
    _, unfrozen = planned()

    assert 0 < unfrozen.rates[0] < unfrozen.rates[1] < unfrozen.rates[2] < unfrozen.rates[3]


def test_the_rate_after_unfreezing_can_be_given() -> None:
    assert planned(unfrozen_lr=0.0003)[1].rates[-1] == pytest.approx(0.0003)


def test_unfreezing_some_stages_leaves_the_lower_ones_frozen() -> None:
    _, unfrozen = planned(unfreeze=1)

    assert unfrozen.frozen_groups == 2
    assert unfrozen.rates[:2] == (0, 0)
    assert all(unfrozen.rates[2:])


def test_what_is_unfrozen_learns_as_fast_as_if_all_were() -> None:
    assert planned(unfreeze=2)[1].rates[1:] == planned()[1].rates[1:]


def test_unfreezing_as_many_stages_as_there_are_is_unfreezing_all() -> None:
    assert planned(unfreeze=3) == planned()


def test_unfreezing_more_stages_than_there_are_is_refused_with_their_names() -> None:
    assert refusal(unfreeze=4, backbone="resnet18") == (
        "--unfreeze 4 is not allowed; resnet18 has 3 stages: stem, block 1, block 2."
    )


def test_from_scratch_everything_learns_at_one_rate_at_once() -> None:
    (phase,) = planned(from_scratch=True, epochs=4, lr=0.01)

    assert (phase.name, phase.epochs, phase.frozen_groups, phase.rates) == ("from scratch", 4, 0, (0.01,) * 4)


def test_a_phase_without_epochs_is_left_out() -> None:
    assert [phase.name for phase in planned(freeze_epochs=0)] == ["unfrozen"]
    assert [phase.name for phase in planned(epochs=0)] == ["frozen"]


@pytest.mark.parametrize("from_scratch", [False, True])
def test_training_nothing_is_refused(from_scratch: bool) -> None:
    assert refusal(epochs=0, freeze_epochs=0, from_scratch=from_scratch) == (
        "Nothing would be trained; give --epochs (or, with pretrained weights, --freeze-epochs) at least 1."
    )


def test_from_scratch_frozen_epochs_are_no_training() -> None:
    assert "Nothing would be trained" in refusal(epochs=0, freeze_epochs=5, from_scratch=True)


def test_every_phase_has_a_rate_for_every_group_and_0_exactly_where_it_is_frozen() -> None:
    for phase in (*planned(), *planned(unfreeze=2), *planned(from_scratch=True)):
        assert [rate == 0 for rate in phase.rates] == [i < phase.frozen_groups for i in range(len(GROUPS))]


# ── the rates ───────────────────────────────────────────────────────────────────────────────────────


@given(st.floats(1e-6, 10), st.integers(3, 12))
def test_rates_rise_by_the_same_factor_from_group_to_group(top: float, groups: int) -> None:
    rates = discriminative_rates(top, groups)

    factors = [above / below for below, above in itertools.pairwise(rates)]
    assert factors == pytest.approx([factors[0]] * (groups - 1))


@given(st.floats(1e-6, 10), st.integers(2, 12))
def test_the_head_has_the_top_rate_and_the_stem_the_hundredth_of_it(top: float, groups: int) -> None:
    rates = discriminative_rates(top, groups)

    assert (rates[-1], rates[0]) == (top, pytest.approx(top / RATE_SPAN))


def test_a_single_group_is_the_head_and_has_the_top_rate() -> None:
    assert discriminative_rates(0.1, 1) == (0.1,)


# ── following it ────────────────────────────────────────────────────────────────────────────────────


class Apprentice:
    """A trainer whose weights are the name of the phase that it was trained in last."""

    def __init__(self, **accuracies: float) -> None:
        self.accuracies = accuracies
        self.weights = "initial"

    def train(self, phase: Phase) -> float:
        self.weights = phase.name
        return self.accuracies[phase.name]

    def snapshot(self) -> str:
        return self.weights

    def restore(self, weights: str) -> None:
        self.weights = weights


def followed(**accuracies: float) -> tuple[Outcome, str, Clock]:
    phases = [Phase(name=name, epochs=1, frozen_groups=0, rates=(0.1,), rise=0.3) for name in accuracies]
    trainer, clock = Apprentice(**accuracies), Clock()
    return follow(phases, cast(Any, trainer), clock), trainer.weights, clock


def test_the_later_phase_is_kept_where_it_is_better() -> None:
    outcome, weights, _ = followed(frozen=0.8, unfrozen=0.9)

    assert (outcome.kept, weights) == ("unfrozen", "unfrozen")


def test_the_earlier_phase_is_kept_where_unfreezing_cost_accuracy() -> None:
    outcome, weights, _ = followed(frozen=0.9, unfrozen=0.8)

    assert (outcome.kept, weights) == ("frozen", "frozen")


def test_of_equals_the_later_phase_is_kept() -> None:
    outcome, weights, _ = followed(frozen=0.9, unfrozen=0.9)

    assert (outcome.kept, weights) == ("unfrozen", "unfrozen")


def test_the_best_of_three_is_kept_wherever_it_is() -> None:
    outcome, weights, _ = followed(a=0.5, b=0.9, c=0.7)

    assert (outcome.kept, weights) == ("b", "b")


def test_a_single_phase_is_kept_even_without_a_hit() -> None:
    outcome, weights, _ = followed(frozen=0.0)

    assert (outcome.kept, weights) == ("frozen", "frozen")


def test_the_outcome_tells_the_accuracy_of_every_phase_in_order() -> None:
    outcome, _, _ = followed(frozen=0.9, unfrozen=0.8)

    assert list(outcome.accuracies.items()) == [("frozen", 0.9), ("unfrozen", 0.8)]


def test_every_phase_is_measured_by_its_name() -> None:
    _, _, clock = followed(frozen=0.9, unfrozen=0.8)

    assert list(clock.seconds) == ["frozen", "unfrozen"]
