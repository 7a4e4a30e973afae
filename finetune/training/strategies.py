"""What is trained when, and how fast: a strategy is a list of steps.

The ways of reusing a pretrained network that the field teaches. Two-stage fine-tuning follows fastai's
``Learner.fine_tune``: the new head alone at the full rate, then the layers below it at a tenth of it, each group
slower than the one above it (discriminative rates, Howard & Ruder 2018). fastai takes half of it, which on a few
hundred pictures undid what the first phase had learned; so did batch norms that learn from few pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from finetune.config import RunConfig, Strategy
from finetune.errors import ConfigError
from finetune.intent import Intent
from finetune.preparation import Job, PicturesRead, prepare
from finetune.types import Reporter, Task

PROBE = "frozen"
"""The phase in which the head learns alone: what fine-tuning has to beat."""
PROBES = (PROBE, "logreg", "svm")
"""All steps that leave the body as it is."""
FEW_STAGES = 2
"""How many of the last stages 'partial' unfreezes unless it is told."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Some epochs with the lowest ``frozen_groups`` frozen, the rates on a course with a peak or a start.

    ``rates`` are the highest learning rates, per parameter group from the stem to the head, 0 where frozen.
    On a one-cycle schedule (Smith 2018), ``rise`` is the share of steps in which the rate rises from a
    ``start_divisor``-th of that to all of it.
    """

    name: str
    epochs: int
    frozen_groups: int
    rates: tuple[float, ...]
    rise: float
    start_divisor: float = 25.0


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A classic classifier, fitted to frozen features in one go: ``name`` is 'svm' or 'logreg'."""

    name: str


Step = Phase | Fit


def ready(intent: Intent, reporter: Reporter, read: PicturesRead | None = None) -> Job:
    """Return a job whose steps can be taken: all that can be known to be wrong before training is refused here.

    Nothing is written. Raises what ``prepare`` does, for each of ``folds`` where no ``fold`` is named, and
    ``ConfigError`` for a strategy that cannot be followed, or has no rate to find.
    """
    job = prepare(intent, reporter, read)
    plan(job.config, job.groups, 1.0, job.strategy, job.dataset.task)
    if job.config.lr == "find":
        phase_to_measure(job.config, job.groups, job.strategy)
    return job


def plan(
    config: RunConfig, groups: Sequence[str], lr: float, strategy: Strategy, task: Task = "single-label"
) -> tuple[Step, ...]:
    """Return the steps of a strategy over the named parameter groups, the head last.

    Those of 'auto' are all that it may take, the ones that leave the body as it is first; classic classifiers are for
    single labels. A body with random weights has nothing worth freezing, so from scratch everything learns at one rate.
    Raises ``ConfigError`` when nothing would be trained, or more stages are to be unfrozen than there are.
    """
    _refuse_impossible(config, groups, strategy)
    if strategy in ("svm", "logreg"):
        return (Fit(name=strategy),)
    planned = tuple(phase for phase in _phases(config, len(groups) - 1, lr, strategy) if phase.epochs)
    if strategy == "auto" and config.freeze_epochs and config.head == "linear" and task == "single-label":
        return (planned[0], Fit(name="logreg"), *planned[1:])
    if not planned:
        counted = {"scratch": "--epochs", "probe": "--freeze-epochs"}.get(strategy, "--freeze-epochs or --epochs")
        raise ConfigError(f"Nothing would be trained; give {counted} at least 1.")
    return planned


def phase_to_measure(config: RunConfig, groups: Sequence[str], strategy: Strategy) -> Phase:
    """Return the phase whose best rate ``--lr`` is: the one in which the head learns alone, or the only one.

    Raises ``ConfigError`` where there is no such phase, and what ``plan`` raises.
    """
    first = plan(config, groups, 1.0, strategy)[0]
    if isinstance(first, Fit):
        raise ConfigError(f"--strategy {strategy} has no learning rate to find; leave out --lr find.")
    if strategy != "scratch" and not config.freeze_epochs:
        raise ConfigError(
            "--lr is the head's rate while the body is frozen, and --freeze-epochs 0 leaves nothing to measure it in; "
            "give --freeze-epochs at least 1, or a number as --lr."
        )
    return first


def _refuse_impossible(config: RunConfig, groups: Sequence[str], strategy: Strategy) -> None:
    stages = len(groups) - 1
    if config.unfreeze is not None and config.unfreeze > stages:
        raise ConfigError(
            f"--unfreeze {config.unfreeze} is not allowed; {config.backbone} has {stages} stage{'s' * (stages > 1)}: "
            f"{', '.join(groups[:-1])}."
        )
    if strategy == "gradual" and stages < 2:
        raise ConfigError(
            f"--strategy gradual unfreezes stage by stage, and {config.backbone} has one; take --strategy finetune."
        )
    if strategy in ("svm", "logreg") and config.head != "linear":
        raise ConfigError(f"--head {config.head} is not allowed with --strategy {strategy}, which is linear.")


def _phases(config: RunConfig, stages: int, lr: float, strategy: Strategy) -> list[Phase]:
    frozen = _frozen(config, stages, lr)
    few = min(stages, config.unfreeze or FEW_STAGES)
    match strategy:
        case "scratch":
            rates = (lr,) * (stages + 1)
            return [Phase(name="from scratch", epochs=config.epochs, frozen_groups=0, rates=rates, rise=0.25)]
        case "probe":
            return [frozen]
        case "partial":
            return [frozen, _unfrozen(config, stages, few, lr)]
        case "gradual":
            return [frozen, *_gradual(config, stages, lr)]
        case "finetune":
            return [frozen, _unfrozen(config, stages, config.unfreeze or stages, lr)]
    # 'auto'
    return [frozen, *(_unfrozen(config, stages, count, lr) for count in sorted({few, config.unfreeze or stages}))]


def _frozen(config: RunConfig, stages: int, lr: float) -> Phase:
    # fine_tune ends this phase at its highest rate; ours may be the one that is kept, and comes to rest.
    rates = (*[0.0] * stages, lr)
    return Phase(name=PROBE, epochs=config.freeze_epochs, frozen_groups=stages, rates=rates, rise=0.3)


def _unfrozen(config: RunConfig, stages: int, count: int, lr: float, epochs: int | None = None) -> Phase:
    """Return the phase in which the last ``count`` stages learn, too."""
    frozen = stages - count
    rates = discriminative_rates(config.unfrozen_lr or lr / 10, config.rate_span, stages + 1)
    return Phase(
        name="unfrozen" if count == stages else f"last {count} stage{'s' * (count > 1)}",
        epochs=config.epochs if epochs is None else epochs,
        frozen_groups=frozen,
        rates=(*[0.0] * frozen, *rates[frozen:]),
        rise=0.3,
        start_divisor=5.0,
    )


def _gradual(config: RunConfig, stages: int, lr: float) -> list[Phase]:
    """Return phases that unfreeze from the top in even shares, an epoch or more for each (Howard & Ruder 2018)."""
    count = min(config.epochs, stages)
    shares = [(number * stages // count, number * config.epochs // count) for number in range(count and count + 1)]
    return [
        _unfrozen(config, stages, unfrozen, lr, epochs - before) for (_, before), (unfrozen, epochs) in pairwise(shares)
    ]


def discriminative_rates(top: float, span: float, groups: int) -> tuple[float, ...]:
    """Return one rate per group, rising geometrically from ``top / span`` at the stem to ``top`` at the head."""
    return tuple(top * span ** (-below / max(groups - 1, 1)) for below in reversed(range(groups)))
