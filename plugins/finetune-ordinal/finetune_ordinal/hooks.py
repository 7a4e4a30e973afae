"""What the plugin offers: three metrics. Light: what measures them is imported on use."""

from __future__ import annotations

from collections.abc import Callable

from finetune.hookspecs import hookimpl
from finetune.types import Metric

FINETUNE_API = "1.0"
"""The version of finetune's hooks that this was written for."""

METRICS = (
    Metric(
        name="quadratic-kappa",
        summary="agreement beyond chance, a mistake weighed by the square of the ranks it is off; at most 1",
        tasks=("single-label",),
        measure="finetune_ordinal.ranks:quadratic_kappa",
    ),
    Metric(
        name="rank-error",
        summary="mean number of ranks that an answer is off",
        tasks=("single-label",),
        measure="finetune_ordinal.ranks:rank_error",
        higher_is_better=False,
    ),
    Metric(
        name="within-one",
        summary="share of pictures whose answer is right, or one rank off",
        tasks=("single-label",),
        measure="finetune_ordinal.ranks:within_one",
        is_share=True,
    ),
)


@hookimpl
def finetune_register_metrics(register: Callable[[Metric], None]) -> None:
    """Offer ``quadratic-kappa``, ``rank-error`` and ``within-one``."""
    for metric in METRICS:
        register(metric)
