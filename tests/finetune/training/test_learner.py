"""The door to fastai: learners that stop before they do harm, keep frozen what is frozen, and tell what they did."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from fastai.callback.core import Callback
from fastai.vision.learner import model_meta
from torch import Tensor, nn

import finetune
from finetune.config import RunConfig, RunOptions, resolve
from finetune.errors import DivergedError
from finetune.networks.network import Network, make_head, parameter_groups
from finetune.training.batches import Batches
from finetune.training.learner import (
    CURVE_ENDS,
    HIGHEST_LOSS,
    BestEpoch,
    Epoch,
    PretrainedInEval,
    Progress,
    StopOnBadLoss,
    learner_over_activations,
    learner_over_pictures,
    rate_curve,
    schedule,
)
from finetune.training.strategies import Phase

RATES = (0.001, 0.01)


class Reports:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, title: str, total: int | None = None) -> None: ...

    def advance(self, steps: int = 1, detail: str = "") -> None:  # noqa: ARG002
        self.steps += steps

    def end(self) -> None: ...


class Steps(Callback):  # type: ignore[misc]
    """Counts the steps of the optimizer."""

    taken = 0

    def before_step(self) -> None:
        self.taken += 1


def config_of(**said: Any) -> RunConfig:
    return resolve(cast(RunOptions, said))


def model() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))


def batches(count: int = 12, size: int = 4, inputs: Tensor | None = None) -> Batches:
    torch.manual_seed(4)
    made = torch.randn(count, 4) if inputs is None else inputs
    return Batches(lambda indices, _: made[indices], torch.arange(len(made)) % 2, size)


def learner_of(
    net: nn.Sequential,
    config: RunConfig | None = None,
    callbacks: Sequence[Callback] = (),
    *,
    train: Batches | None = None,
    valid: Batches | None = None,
    dtype: torch.dtype = torch.float32,
) -> Any:
    groups = [list(net[0].parameters()), list(net[2].parameters())]
    loaders = (train or batches(), valid or batches())
    return learner_over_activations(net, groups, *loaders, config or config_of(), dtype, callbacks)


# ── bad losses ──────────────────────────────────────────────────────────────────────────────────────────


def stopped(train: Batches | None = None, valid: Batches | None = None) -> tuple[str, nn.Sequential, Steps]:
    guard, steps, net = StopOnBadLoss(), Steps(), model()
    learner_of(net, callbacks=[guard, steps], train=train, valid=valid).fit(2, list(RATES))
    return guard.cause, net, steps


def bad_from(index: int, value: float) -> Tensor:
    inputs = torch.ones(12, 4)
    inputs[index:] = value
    return inputs


@pytest.mark.parametrize("value", [math.nan, math.inf], ids=str)
def test_a_loss_that_is_no_number_stops_before_it_reaches_the_weights(value: float) -> None:
    inputs = bad_from(0, value) * torch.tensor([1.0, -1.0, 1.0, 1.0])

    cause, net, steps = stopped(train=batches(inputs=inputs))

    assert re.fullmatch(r"The loss became (nan|inf) in epoch 1, step 1", cause)
    assert steps.taken == 0
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), model().parameters(), strict=True))


def test_a_bad_loss_is_told_with_its_step() -> None:
    cause, _, steps = stopped(train=batches(inputs=bad_from(8, math.nan)))

    assert (cause, steps.taken) == ("The loss became nan in epoch 1, step 3", 2)


def test_a_validation_loss_that_is_no_number_stops_too() -> None:
    cause, _, steps = stopped(valid=batches(inputs=bad_from(4, math.nan)))

    assert (cause, steps.taken) == ("The validation loss became nan in epoch 1, step 2", 3)


def test_a_loss_that_exploded_stops_while_it_is_still_a_number() -> None:
    guard = StopOnBadLoss()
    net = nn.Sequential(nn.Linear(4, 5), nn.Identity(), nn.Linear(5, 2))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(10 * HIGHEST_LOSS)

    learner_of(net, callbacks=[guard]).fit(1, list(RATES))

    found = re.fullmatch(r"The loss became (\S+) in epoch 1, step 1", guard.cause)
    assert found is not None
    assert HIGHEST_LOSS < float(found[1]) < math.inf


def test_a_loss_as_it_should_be_stops_nothing() -> None:
    cause, _, steps = stopped()

    assert (cause, steps.taken) == ("", 2 * 3)


# ── arithmetic ──────────────────────────────────────────────────────────────────────────────────────────


class Watched(nn.Linear):
    """Writes down in what type it computes, while training and otherwise."""

    def __init__(self) -> None:
        super().__init__(4, 5)
        self.seen: set[tuple[bool, torch.dtype]] = set()

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = super().forward(inputs)
        self.seen.add((self.training, outputs.dtype))
        return outputs


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_only_training_steps_are_computed_in_the_type_asked_for(dtype: torch.dtype) -> None:
    watched = Watched()
    net = nn.Sequential(watched, nn.Tanh(), nn.Linear(5, 2))

    learner_of(net, dtype=dtype).fit(1, list(RATES))

    assert watched.seen == {(True, dtype), (False, torch.float32)}
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}


def test_what_the_loss_sees_is_float32() -> None:
    net = model()
    learner_of(net, dtype=torch.bfloat16)

    assert net.train()(torch.ones(1, 4)).dtype == torch.float32
    assert torch.equal(net.eval()(torch.ones(1, 4)), model()(torch.ones(1, 4)))


# ── what is frozen ──────────────────────────────────────────────────────────────────────────────────────


def network() -> Network:
    """Return a body of two stages with batch norms, and a head."""
    body = nn.Sequential()
    for name, channels in (("low", 3), ("high", 6)):
        body.add_module(name, nn.Sequential(nn.Conv2d(channels, 6, 3), nn.BatchNorm2d(6), nn.ReLU()))
    return Network(body, make_head(6, 2), {})


def over_pictures(net: Network, callbacks: Sequence[Callback] = (), frozen: int = 0) -> Any:
    images, targets = torch.randn(8, 3, 8, 8), torch.arange(8) % 2
    loaders = [Batches(lambda indices, _: images[indices], targets, 4) for _ in range(2)]
    learner = learner_over_pictures(net, *loaders, config_of(), torch.float32, callbacks)
    learner.freeze_to(frozen)
    return learner


def test_frozen_stages_are_in_eval_mode_while_the_others_train() -> None:
    net, modes = network(), set()
    net.body.high.register_forward_hook(
        lambda *_: modes.add((net.body.low.training, net.body.high.training, net.head.training))
    )

    over_pictures(net, [PretrainedInEval(net.body, keep_statistics=False)], frozen=1).fit(1, 0.01)

    assert modes == {(False, True, True), (False, False, False)}  # in training, and in validation


@pytest.mark.parametrize("kept", [True, False])
def test_batch_norms_of_stages_that_learn_keep_the_pretrained_statistics_when_asked(kept: bool) -> None:
    net = network()
    before = [net.body.get_submodule(f"{name}.1").running_mean.clone() for name in ("low", "high")]

    over_pictures(net, [PretrainedInEval(net.body, keep_statistics=kept)]).fit(1, 0.01)

    after = [net.body.get_submodule(f"{name}.1").running_mean for name in ("low", "high")]
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [kept, kept]


def test_a_learner_over_pictures_has_the_networks_own_groups_and_tensors() -> None:
    net = network()
    learner = over_pictures(net)
    learner.create_opt()

    ours = [list(map(id, group)) for group in parameter_groups(net.body, net.head)]
    assert [list(map(id, group["params"])) for group in learner.opt.opt.param_groups] == ours
    assert set(map(id, learner.model.parameters())) == {i for group in ours for i in group}


def test_fastais_table_of_architectures_is_left_as_it_was() -> None:
    before = dict(model_meta)

    over_pictures(network())

    assert model_meta == before


def test_fastai_is_imported_by_the_learner_alone() -> None:
    package = Path(finetune.__file__).parent
    importing = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(r"^\s*(from|import) fastai\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]

    assert importing == [str(Path("training", "learner.py"))]


# ── history ─────────────────────────────────────────────────────────────────────────────────────────────


def followed(epochs: int) -> tuple[list[Epoch], Reports]:
    history: list[Epoch] = []
    reports = Reports()
    config = config_of(schedule="StepLR", step_epochs=1, gamma=0.5)
    phase = Phase(name="some", epochs=epochs, frozen_groups=0, rates=RATES, rise=0.3)
    callbacks = [schedule(phase, RATES, config), Progress("some", history, reports)]
    learner_of(model(), config).fit(epochs, list(RATES), cbs=callbacks)
    return history, reports


def test_every_epoch_is_a_line_of_the_history_with_the_rate_of_the_head() -> None:
    history, reports = followed(3)

    assert [(line.phase, line.epoch) for line in history] == [("some", 1), ("some", 2), ("some", 3)]
    assert [line.lr for line in history] == pytest.approx([0.01, 0.005, 0.0025])
    assert all(0 < line.valid_loss < 2 and 0 < line.train_loss < 2 and 0 <= line.accuracy <= 1 for line in history)
    assert reports.steps == 3 * 3


def test_short_epochs_are_not_all_said_and_the_last_always_is() -> None:
    _, reports = followed(40)

    assert reports.notes[-1].startswith("some 40/40: loss ")
    assert len(reports.notes) < 40


def epoch(accuracy: float, valid_loss: float) -> Epoch:
    return Epoch(phase="some", epoch=1, train_loss=0.1, valid_loss=valid_loss, accuracy=accuracy, lr=0.1, seconds=1.0)


def kept(*epochs: Epoch) -> float:
    """Return which epoch's weights are restored: their value is its number."""
    history: list[Epoch] = []
    best, net = BestEpoch(history), nn.Linear(1, 1, bias=False)
    best.learn = SimpleNamespace(model=net)
    for number, line in enumerate(epochs, 1):
        nn.init.constant_(net.weight, number)
        history.append(line)
        best.after_epoch()
    nn.init.constant_(net.weight, -1)
    best.restore_into(net)
    return net.weight.item()


def test_the_epoch_with_the_best_accuracy_is_kept() -> None:
    assert kept(epoch(0.5, 0.1), epoch(0.9, 0.9), epoch(0.7, 0.1)) == 2


def test_of_epochs_with_equal_accuracy_the_one_with_the_lower_loss_is_kept() -> None:
    assert kept(epoch(0.9, 0.5), epoch(0.9, 0.3), epoch(0.9, 0.4)) == 2


def test_of_equal_epochs_the_first_is_kept() -> None:
    assert kept(epoch(0.9, 0.5), epoch(0.9, 0.5)) == 1


def test_without_a_finished_epoch_the_weights_stay() -> None:
    assert kept() == -1


# ── the learning rate ───────────────────────────────────────────────────────────────────────────────────


def curve_of(losses: Callable[[int], float], steps: int = 100) -> Any:
    rates = [1e-7 * 10 ** (8 * step / steps) for step in range(steps)]
    return rates, rate_curve(rates, [torch.tensor(losses(step)) for step in range(steps)])


def test_the_rate_that_is_suggested_lies_where_the_loss_falls() -> None:
    rates, curve = curve_of(lambda step: 1 - 0.8 / (1 + math.exp((55 - step) / 4)))

    assert rates[45] < curve.suggestion < rates[85]
    assert (curve.rates, len(curve.losses)) == (tuple(rates[CURVE_ENDS]), len(rates[CURVE_ENDS]))


def test_a_curve_ends_where_the_loss_is_no_number_any_more() -> None:
    rates, curve = curve_of(lambda step: math.nan if step >= 60 else 1 - step / 100)

    assert curve.rates == tuple(rates[:60][CURVE_ENDS])
    assert all(map(math.isfinite, curve.losses))


def test_a_loss_that_never_is_a_number_suggests_no_rate() -> None:
    with pytest.raises(DivergedError, match=r"^No learning rate keeps the loss finite; check the pictures, or start"):
        curve_of(lambda _: math.nan)
