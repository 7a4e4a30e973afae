"""What each strategy trains, when, and how fast; and what is refused before anything is trained."""

from __future__ import annotations

import itertools
from typing import Any, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.config import RunConfig, RunOptions, Strategy, resolve
from finetune.errors import ConfigError
from finetune.training.strategies import Fit, Phase, Step, discriminative_rates, phase_to_measure, plan
from finetune.types import Task

GROUPS = ("stem", "block 1", "block 2", "head")
STRATEGIES = get_args(Strategy)
TRAINED = [name for name in STRATEGIES if name not in ("svm", "logreg")]


def config_of(**said: Any) -> RunConfig:
    return resolve(cast(RunOptions, said))


def steps_of(strategy: Strategy, *, lr: float = 0.01, groups: tuple[str, ...] = GROUPS, **said: Any) -> list[Step]:
    return list(plan(config_of(**said), groups, lr, strategy))


def phases_of(strategy: Strategy, **said: Any) -> list[Phase]:
    """Return the steps that train; between 'auto''s first two there is a fit, too."""
    steps = steps_of(strategy, **said)
    fits = [step for step in steps if not isinstance(step, Phase)]
    assert fits == ([Fit(name="logreg")] if strategy == "auto" and steps[0].name == "frozen" else [])
    return [step for step in steps if isinstance(step, Phase)]


def courses(strategy: Strategy, **said: Any) -> list[tuple[str, int, int]]:
    return [(phase.name, phase.epochs, phase.frozen_groups) for phase in phases_of(strategy, **said)]


def refusal(strategy: Strategy, *, groups: tuple[str, ...] = GROUPS, **said: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        steps_of(strategy, groups=groups, **said)
    assert caught.value.exit_code == 2
    return str(caught.value)


# ── the plan of each strategy ───────────────────────────────────────────────────────────────────────


def test_probe_trains_the_head_alone() -> None:
    assert courses("probe", freeze_epochs=5, epochs=3) == [("frozen", 5, 3)]


@pytest.mark.parametrize("strategy", ["svm", "logreg"])
def test_a_classic_classifier_is_fitted_in_one_step(strategy: Strategy) -> None:
    assert steps_of(strategy) == [Fit(name=strategy)]
    assert steps_of(strategy, epochs=0, freeze_epochs=0) == [Fit(name=strategy)]


def test_finetune_trains_the_head_and_then_everything() -> None:
    assert courses("finetune", freeze_epochs=5, epochs=3) == [("frozen", 5, 3), ("unfrozen", 3, 0)]


def test_partial_trains_the_head_and_then_the_last_two_stages_with_it() -> None:
    assert courses("partial", freeze_epochs=5, epochs=3) == [("frozen", 5, 3), ("last 2 stages", 3, 1)]


def test_partial_unfreezes_as_many_stages_as_it_is_told() -> None:
    assert courses("partial", epochs=3, unfreeze=1)[1] == ("last 1 stage", 3, 2)
    assert courses("partial", epochs=3, unfreeze=3)[1] == ("unfrozen", 3, 0)


def test_partial_of_a_single_stage_unfreezes_that_one() -> None:
    assert courses("partial", groups=("stem", "head"), epochs=3)[1] == ("unfrozen", 3, 0)


def test_gradual_unfreezes_stage_by_stage_from_the_top() -> None:
    assert courses("gradual", freeze_epochs=5, epochs=6) == [
        ("frozen", 5, 3),
        ("last 1 stage", 2, 2),
        ("last 2 stages", 2, 1),
        ("unfrozen", 2, 0),
    ]


def test_scratch_trains_everything_at_one_rate_at_once() -> None:
    (phase,) = phases_of("scratch", epochs=4, lr=0.01)

    assert (phase.name, phase.epochs, phase.frozen_groups, phase.rates) == ("from scratch", 4, 0, (0.01,) * 4)


def test_auto_may_climb_from_the_probe_over_the_last_stages_to_everything() -> None:
    assert courses("auto", freeze_epochs=5, epochs=3) == [
        ("frozen", 5, 3),
        ("last 2 stages", 3, 1),
        ("unfrozen", 3, 0),
    ]


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_auto_fits_a_logistic_regression_to_single_labels_only(task: Task) -> None:
    names = [step.name for step in plan(config_of(), GROUPS, 0.01, "auto", task)]

    assert names == ["frozen", "last 2 stages", "unfrozen"]
    assert [step.name for step in steps_of("auto")] == ["frozen", "logreg", "last 2 stages", "unfrozen"]


def test_auto_takes_no_step_twice_where_there_are_few_stages() -> None:
    assert courses("auto", groups=("stem", "block", "head"), epochs=3)[1:] == [("unfrozen", 3, 0)]


def test_auto_never_unfreezes_more_than_it_is_told() -> None:
    assert courses("auto", unfreeze=1, epochs=3)[1:] == [("last 1 stage", 3, 2)]
    assert courses("auto", unfreeze=3, epochs=3)[1:] == [("unfrozen", 3, 0)]


def test_a_phase_without_epochs_is_left_out() -> None:
    assert [phase.name for phase in phases_of("finetune", freeze_epochs=0)] == ["unfrozen"]
    assert [phase.name for phase in phases_of("finetune", epochs=0)] == ["frozen"]
    assert [phase.name for phase in phases_of("auto", epochs=0)] == ["frozen"]


@given(st.integers(0, 60), st.integers(2, 12))
def test_graduals_shares_sum_to_the_epochs_and_end_with_everything_unfrozen(epochs: int, stages: int) -> None:
    groups = (*(f"stage {i}" for i in range(stages)), "head")

    frozen, *later = phases_of("gradual", groups=groups, epochs=epochs)

    assert frozen.name == "frozen"
    assert sum(phase.epochs for phase in later) == epochs
    assert len(later) == min(epochs, stages)
    if later:
        assert later[-1].frozen_groups == 0
        assert max(phase.epochs for phase in later) - min(phase.epochs for phase in later) <= 1
    depths = [phase.frozen_groups for phase in (frozen, *later)]
    assert depths == sorted(set(depths), reverse=True)  # each unfreezes more than the one before
    assert len({phase.name for phase in later}) == len(later)


@given(
    st.sampled_from(TRAINED),
    st.integers(2, 12),
    st.integers(1, 20),
    st.integers(1, 20),
    st.none() | st.integers(1, 2),
)
def test_every_phase_has_a_rate_for_every_group_and_0_exactly_where_it_is_frozen(
    strategy: Strategy, stages: int, epochs: int, freeze_epochs: int, unfreeze: int | None
) -> None:
    groups = (*(f"stage {i}" for i in range(stages)), "head")

    phases = phases_of(strategy, groups=groups, epochs=epochs, freeze_epochs=freeze_epochs, unfreeze=unfreeze)

    assert phases
    for phase in phases:
        assert [rate == 0 for rate in phase.rates] == [i < phase.frozen_groups for i in range(len(groups))]
        assert phase.frozen_groups <= stages  # the head always learns


# ── the rates ───────────────────────────────────────────────────────────────────────────────────────


def test_while_the_body_is_frozen_the_head_alone_learns_at_the_full_rate() -> None:
    assert phases_of("finetune", lr=0.01)[0].rates == (0, 0, 0, 0.01)


@pytest.mark.parametrize("strategy", ["finetune", "partial", "gradual", "auto"])
def test_after_unfreezing_the_head_learns_at_a_tenth_of_the_rate(strategy: Strategy) -> None:
    later = phases_of(strategy, lr=0.03)[1:]

    assert [phase.rates[-1] for phase in later] == pytest.approx([0.003] * len(later))


def test_after_unfreezing_every_group_learns_more_slowly_than_the_one_above() -> None:
    rates = phases_of("finetune")[1].rates

    assert 0 < rates[0] < rates[1] < rates[2] < rates[3]


def test_the_rate_after_unfreezing_can_be_given() -> None:
    assert phases_of("finetune", unfrozen_lr=0.0003)[1].rates[-1] == pytest.approx(0.0003)


def test_what_is_unfrozen_learns_as_fast_as_if_all_were() -> None:
    assert phases_of("finetune", unfreeze=2)[1].rates[1:] == phases_of("finetune")[1].rates[1:]


def test_finetune_of_the_last_two_stages_is_partial() -> None:
    assert phases_of("finetune", unfreeze=2) == phases_of("partial")


def test_the_span_of_the_rates_can_be_given() -> None:
    rates = phases_of("finetune", rate_span=8)[1].rates

    assert rates[-1] / rates[0] == pytest.approx(8)


def test_with_a_span_of_1_all_groups_learn_alike() -> None:
    (phase,) = phases_of("finetune", rate_span=1, freeze_epochs=0, unfrozen_lr=1e-4)

    assert phase.rates == (1e-4,) * 4


@given(st.floats(1e-6, 10), st.floats(1, 1e6), st.integers(3, 12))
def test_rates_rise_by_the_same_factor_from_group_to_group(top: float, span: float, groups: int) -> None:
    rates = discriminative_rates(top, span, groups)

    factors = [above / below for below, above in itertools.pairwise(rates)]
    assert factors == pytest.approx([factors[0]] * (groups - 1))


@given(st.floats(1e-6, 10), st.floats(1, 1e6), st.integers(2, 12))
def test_the_head_has_the_top_rate_and_the_stem_is_the_span_below(top: float, span: float, groups: int) -> None:
    rates = discriminative_rates(top, span, groups)

    assert (rates[-1], rates[0]) == (top, pytest.approx(top / span))


def test_a_single_group_is_the_head_and_has_the_top_rate() -> None:
    assert discriminative_rates(0.1, 100, 1) == (0.1,)


# ── the rate that can be found ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("strategy", ["auto", "probe", "finetune", "partial", "gradual"])
def test_the_rate_is_measured_while_the_head_learns_alone(strategy: Strategy) -> None:
    assert phase_to_measure(config_of(), GROUPS, strategy).name == "frozen"


@pytest.mark.parametrize("freeze_epochs", [0, 20])
def test_from_scratch_the_rate_is_measured_in_the_only_phase(freeze_epochs: int) -> None:
    assert phase_to_measure(config_of(freeze_epochs=freeze_epochs), GROUPS, "scratch").name == "from scratch"


def test_without_frozen_epochs_there_is_nothing_to_measure_the_heads_rate_in() -> None:
    with pytest.raises(ConfigError, match="--freeze-epochs 0 leaves nothing to measure it in; give --freeze-epochs"):
        phase_to_measure(config_of(freeze_epochs=0), GROUPS, "finetune")


@pytest.mark.parametrize("strategy", ["svm", "logreg"])
@pytest.mark.parametrize("freeze_epochs", [0, 20])
def test_a_classic_classifier_has_no_rate_to_find(strategy: Strategy, freeze_epochs: int) -> None:
    with pytest.raises(
        ConfigError, match=rf"^--strategy {strategy} has no learning rate to find; leave out --lr find\.$"
    ):
        phase_to_measure(config_of(freeze_epochs=freeze_epochs), GROUPS, strategy)


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_unfreezing_more_stages_than_there_are_is_refused_with_their_names(strategy: Strategy) -> None:
    assert refusal(strategy, unfreeze=4, backbone="resnet18") == (
        "--unfreeze 4 is not allowed; resnet18 has 3 stages: stem, block 1, block 2."
    )


def test_gradual_is_refused_where_there_is_one_stage_to_unfreeze() -> None:
    assert refusal("gradual", groups=("stem", "head"), backbone="resnet18") == (
        "--strategy gradual unfreezes stage by stage, and resnet18 has one; take --strategy finetune."
    )


@pytest.mark.parametrize("strategy", ["svm", "logreg"])
def test_a_classic_classifier_under_fastais_head_is_refused(strategy: Strategy) -> None:
    assert refusal(strategy, head="fastai") == (
        f"--head fastai is not allowed with --strategy {strategy}, which is linear."
    )


@pytest.mark.parametrize(
    ("strategy", "epochs", "freeze_epochs", "flags"),
    [
        ("probe", 5, 0, "--freeze-epochs"),
        ("scratch", 0, 5, "--epochs"),
        *((name, 0, 0, "--freeze-epochs or --epochs") for name in ("auto", "finetune", "partial", "gradual")),
    ],
)
def test_training_nothing_is_refused_with_the_option_that_counts(
    strategy: Strategy, epochs: int, freeze_epochs: int, flags: str
) -> None:
    text = refusal(strategy, epochs=epochs, freeze_epochs=freeze_epochs)

    assert text == f"Nothing would be trained; give {flags} at least 1."
