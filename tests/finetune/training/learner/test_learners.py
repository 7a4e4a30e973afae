"""The door to fastai: learners with the network's own groups and tensors, in the arithmetic asked for, and the rate."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fastai.vision.learner import model_meta
from torch import Tensor, nn

import finetune
from finetune.errors import DivergedError
from finetune.networks.network import parameter_groups
from finetune.training.learner.rates import CURVE_ENDS, rate_curve

from .conftest import RATES, learner_of, model, network, over_pictures

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


def test_fastai_is_imported_by_one_package_alone() -> None:
    package = Path(finetune.__file__).parent
    importing = {
        path.parent.relative_to(package)
        for path in package.rglob("*.py")
        if re.search(r"^\s*(from|import) fastai\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    }

    assert importing == {Path("training", "learner")}


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
