"""What is trained when, and how fast: a strategy is a list of phases.

Two-stage fine-tuning follows fastai's ``Learner.fine_tune``: the new head alone at the full rate, then the whole
network at a thirtieth of it, each group of layers slower than the one above it (discriminative rates, Howard & Ruder
2018). fastai takes half of it, which on a few hundred pictures undid what the first phase had learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetune.clock import Clock
from finetune.config import RunConfig
from finetune.errors import ConfigError

if TYPE_CHECKING:
    from finetune.training.learner import Trainer

RATE_SPAN = 100
"""How many times slower the lowest group learns than the head."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Some epochs with the lowest ``frozen_groups`` frozen, on a one-cycle schedule (Smith 2018).

    ``rates`` are the highest learning rates, per parameter group from the stem to the head, 0 where frozen.
    ``rise`` is the share of steps in which the rate rises from a ``start_divisor``-th of that to all of it.
    """

    name: str
    epochs: int
    frozen_groups: int
    rates: tuple[float, ...]
    rise: float
    start_divisor: float = 25.0


def plan(config: RunConfig, groups: Sequence[str], lr: float, from_scratch: bool) -> tuple[Phase, ...]:
    """Return the phases of a run over the named parameter groups, the head last.

    A body with random weights has nothing worth freezing, so from scratch everything learns at one rate.
    Raises ``ConfigError`` when nothing would be trained or more stages are to be unfrozen than there are.
    """
    stages = len(groups) - 1
    if config.unfreeze is not None and config.unfreeze > stages:
        raise ConfigError(
            f"--unfreeze {config.unfreeze} is not allowed; {config.backbone} has {stages} stages: "
            f"{', '.join(groups[:-1])}."
        )
    if from_scratch:
        phases = [
            Phase(name="from scratch", epochs=config.epochs, frozen_groups=0, rates=(lr,) * len(groups), rise=0.25)
        ]
    else:
        phases = [_frozen(config, stages, lr), _unfrozen(config, stages, lr)]
    planned = tuple(phase for phase in phases if phase.epochs)
    if not planned:
        raise ConfigError(
            "Nothing would be trained; give --epochs (or, with pretrained weights, --freeze-epochs) at least 1."
        )
    return planned


def phase_to_measure(config: RunConfig, groups: Sequence[str], from_scratch: bool) -> Phase:
    """Return the phase whose best rate ``--lr`` is: the one in which the head learns alone, or the only one.

    Raises ``ConfigError`` where there is no such phase, and what ``plan`` raises.
    """
    if not from_scratch and not config.freeze_epochs:
        raise ConfigError(
            "--lr is the head's rate while the body is frozen, and --freeze-epochs 0 leaves nothing to measure it in; "
            "give --freeze-epochs at least 1, or a number as --lr."
        )
    return plan(config, groups, 1.0, from_scratch)[0]


def _frozen(config: RunConfig, stages: int, lr: float) -> Phase:
    # fine_tune ends this phase at its highest rate; ours may be the one that is kept, and comes to rest.
    rates = (*[0.0] * stages, lr)
    return Phase(name="frozen", epochs=config.freeze_epochs, frozen_groups=stages, rates=rates, rise=0.3)


def _unfrozen(config: RunConfig, stages: int, lr: float) -> Phase:
    frozen = stages - (stages if config.unfreeze is None else config.unfreeze)
    top = config.unfrozen_lr or lr / 30
    rates = discriminative_rates(top, stages + 1)
    return Phase(
        name="unfrozen",
        epochs=config.epochs,
        frozen_groups=frozen,
        rates=(*[0.0] * frozen, *rates[frozen:]),
        rise=0.3,
        start_divisor=5.0,
    )


def discriminative_rates(top: float, groups: int) -> tuple[float, ...]:
    """Return one rate per group, rising geometrically from ``top / RATE_SPAN`` at the stem to ``top`` at the head."""
    return tuple(top * RATE_SPAN ** (-below / max(groups - 1, 1)) for below in reversed(range(groups)))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The validation accuracy (0..1) at the end of each phase, and the phase whose weights were kept."""

    accuracies: dict[str, float]
    kept: str


def follow(phases: Sequence[Phase], trainer: Trainer, clock: Clock) -> Outcome:
    """Train the phases in turn and keep the weights of the best; of equals, the later.

    Unfreezing can cost accuracy on few pictures; then the frozen phase's network is the one to deploy.
    """
    accuracies: dict[str, float] = {}
    kept, best = "", None
    for phase in phases:
        with clock(phase.name):
            accuracies[phase.name] = trainer.train(phase)
        if not kept or accuracies[phase.name] >= accuracies[kept]:
            kept, best = phase.name, trainer.snapshot()
    if best is not None and kept != phases[-1].name:
        trainer.restore(best)
    return Outcome(accuracies=accuracies, kept=kept)
