"""'auto' goes on only where it pays; no step is taken twice, and none is begun once the time is up."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest

from finetune.clock import Clock
from finetune.stopping import Stop
from finetune.training.journal import Outcome
from finetune.training.objective import Objective
from finetune.training.transfer import climb, follow, verdict

from .conftest import FEW, LAST_IS_BEST, LIKE, MANY, RIGHT, SEVERAL, SURE, UNLIKE, Apprentice, steps_named, unexpected

# ── climbing ────────────────────────────────────────────────────────────────────────────────────────

LADDER = ("frozen", "last 2 stages", "unfrozen")


def climbed(
    *scores: float,
    depth: dict[str, float] = LIKE,
    pictures: int = MANY,
    names: tuple[str, ...] = LADDER,
    objective: Objective = RIGHT,
) -> tuple[Outcome, Apprentice]:
    reached = {name: [(score, 0.5)] for name, score in zip(names, scores, strict=False)}
    trainer = Apprentice(reached, depth, pictures, objective)
    return climb(steps_named(*names), cast(Any, trainer), Clock(), unexpected, seed=0), trainer


def test_with_many_pictures_auto_climbs_to_the_end_while_each_step_wins() -> None:
    outcome, trainer = climbed(0.8, 0.85, 0.9)

    assert (trainer.taken, outcome.kept, trainer.weights) == (list(LADDER), "unfrozen", "unfrozen 1")


@pytest.mark.parametrize("second", [0.8, 0.7])
def test_a_step_that_brings_nothing_is_the_last(second: float) -> None:
    outcome, trainer = climbed(0.8, second, 0.99)

    assert trainer.taken == ["frozen", "last 2 stages"]
    assert outcome.reasons[-1] == "last 2 stages brought nothing, so nothing more was tried."
    assert outcome.kept == ("last 2 stages" if second == 0.8 else "frozen")
    assert trainer.weights == f"{outcome.kept} 1"


def test_few_pictures_like_what_the_backbone_knows_need_the_probe_alone() -> None:
    outcome, trainer = climbed(0.8, 0.85, 0.9, pictures=FEW)

    assert (trainer.taken, outcome.kept) == (["frozen"], "frozen")
    assert outcome.reasons[-1].startswith("Train only the classifier: the features fit as they are")
    assert outcome.reasons[0].startswith("180 pictures, 60 in the typical class, are few;")


@pytest.mark.parametrize("depth", [UNLIKE, LAST_IS_BEST], ids=["a classic classifier", "partial"])
def test_few_pictures_unlike_what_the_backbone_knows_are_worth_the_last_stages_at_most(
    depth: dict[str, float],
) -> None:
    outcome, trainer = climbed(0.8, 0.85, 0.9, depth=depth, pictures=FEW)

    assert (trainer.taken, outcome.kept) == (["frozen", "last 2 stages"], "last 2 stages")


def test_many_pictures_unlike_what_the_backbone_knows_are_worth_everything() -> None:
    _, trainer = climbed(0.8, 0.85, 0.9, depth=UNLIKE)

    assert trainer.taken == list(LADDER)


def test_a_probe_that_is_right_leaves_nothing_to_gain() -> None:
    outcome, trainer = climbed(0.996, 0.999, 1.0)

    assert trainer.taken == ["frozen"]
    assert outcome.reasons[-1] == "The probe is right on 99.6%; there is nothing left to gain."


def climbed_with_logreg(value: float, later: float, pictures: int) -> tuple[Outcome, Apprentice]:
    reached: dict[str, list[Any]] = {"frozen": [(0.8, 0.5)], "logreg": [value]}
    trainer = Apprentice({**reached, **{name: [(later, 0.5)] for name in LADDER[1:]}}, LIKE, pictures)
    steps = steps_named("frozen", "logreg", *LADDER[1:])
    return climb(steps, cast(Any, trainer), Clock(), unexpected, seed=0), trainer


@pytest.mark.parametrize(("value", "kept"), [(0.85, "logreg"), (0.75, "frozen")])
def test_a_logistic_regression_on_the_same_features_is_tried_and_kept_where_it_wins(value: float, kept: str) -> None:
    outcome, trainer = climbed_with_logreg(value, 0.9, FEW)

    assert outcome.scores == {"frozen": 0.8, "logreg": value}
    assert (outcome.kept, trainer.weights.split()[0]) == (kept, kept)


def test_a_logistic_regression_that_would_take_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune.training.transfer.MOST_FITTED", 1e5)

    assert climbed_with_logreg(0.85, 0.9, FEW)[0].scores == {"frozen": 0.8}


def test_every_later_step_goes_on_from_the_best_so_far() -> None:
    outcome, trainer = climbed_with_logreg(0.75, 0.7, MANY)

    assert trainer.restored == ["frozen 1", "frozen 1"]  # before the last stages, and at the end
    assert verdict(outcome, RIGHT).startswith("Fine-tuning did not beat the probe (last 2 stages 70.0%, frozen 80.0%)")


def test_without_a_probe_every_step_is_taken_without_asking() -> None:
    outcome, trainer = climbed(0.8, 0.7, names=("last 2 stages", "unfrozen"))

    assert (trainer.taken, outcome.kept, outcome.reasons) == (["last 2 stages", "unfrozen"], "last 2 stages", ())


def test_measuring_has_a_time_of_its_own() -> None:
    clock, trainer = Clock(), Apprentice({"frozen": [(0.8, 0.5)]})

    climb(steps_named("frozen"), cast(Any, trainer), clock, unexpected, seed=0)

    assert list(clock.seconds) == ["frozen", "measure"]


def test_of_a_metric_of_which_less_is_better_auto_climbs_while_it_falls() -> None:
    assert climbed(0.8, 0.7, 0.6, objective=SURE)[1].taken == list(LADDER)
    assert climbed(0.8, 0.9, 0.6, objective=SURE)[1].taken == list(LADDER[:2])
    assert climbed(1.2, 1.1, 1.0, objective=SURE)[1].taken == list(LADDER)  # it is no share that would be right


def test_without_single_labels_nothing_is_measured_and_every_step_is_worth_trying() -> None:
    outcome, trainer = climbed(0.996, 0.997, 0.998, pictures=FEW, objective=SEVERAL)

    assert (trainer.taken, trainer.measured) == (list(LADDER), 0)
    assert (outcome.plan, outcome.reasons) == (LADDER[1:], ())


# ── going on ────────────────────────────────────────────────────────────────────────────────────────

WAYS = pytest.mark.parametrize("way", [follow, partial(climb, seed=0)], ids=["follow", "climb"])


def went_on(way: Callable[..., Outcome], done: tuple[float, ...], later: tuple[float, ...]) -> tuple[Outcome, Any]:
    """Take some steps, with no time for the others, and the others later with what the journal remembers."""
    reached = {name: [(score, 0.5)] for name, score in zip(LADDER, (*done, *later), strict=False)}
    before = Apprentice(reached, UNLIKE, MANY)
    first = LADDER[: len(done)]
    way(steps_named(*first), cast(Any, before), Clock(), unexpected)
    before.journal.outcome.plan = None if way is follow else LADDER[1:]
    after = Apprentice(reached, UNLIKE, MANY, journal=before.journal)
    return way(steps_named(*LADDER), cast(Any, after), Clock(), unexpected), after


@WAYS
@pytest.mark.parametrize("count", [1, 2, 3])
def test_steps_that_were_taken_are_not_taken_again(way: Callable[..., Outcome], count: int) -> None:
    scores = (0.7, 0.8, 0.9)

    outcome, trainer = went_on(way, scores[:count], scores[count:])

    assert trainer.taken == list(LADDER[count:])
    assert outcome.scores == dict(zip(LADDER, scores, strict=True))
    assert (outcome.kept, trainer.weights) == ("unfrozen", "unfrozen 1")
    assert trainer.measured == 0  # what is worth trying was known


@WAYS
def test_the_best_so_far_is_remembered(way: Callable[..., Outcome]) -> None:
    outcome, trainer = went_on(way, (0.7, 0.95), (0.9,))

    assert (outcome.kept, trainer.weights) == ("last 2 stages", "last 2 stages 1")


@WAYS
def test_no_step_is_begun_once_the_time_is_up_but_the_first(way: Callable[..., Outcome]) -> None:
    reached = {name: [(score, 0.5)] for name, score in zip(LADDER, (0.7, 0.8, 0.9), strict=True)}
    trainer = Apprentice(reached, UNLIKE, MANY)
    trainer.stop = Stop(max_minutes=0)

    outcome = way(steps_named(*LADDER), cast(Any, trainer), Clock(), unexpected)

    assert (trainer.taken, outcome.kept, outcome.scores) == (["frozen"], "frozen", {"frozen": 0.7})
    assert verdict(outcome, RIGHT) == "The probe is kept (frozen 70.0%); fine-tuning was not tried."
