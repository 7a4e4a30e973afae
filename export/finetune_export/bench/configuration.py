"""What is compared: every artifact on every execution provider, with each number of threads and each batch size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from finetune_export.session import installed_providers, short_name

ALL_PROVIDERS = "all"
_ELSEWHERE = "Azure"
"""Runs networks that are on other machines; ours it leaves to the CPU, whose figures it would only repeat."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """One row of the comparison.

    ``model`` is a path as it was given, ``provider`` onnxruntime's short name; ``threads`` and ``batch`` are the number
    of threads and of pictures of one run.
    """

    model: str
    provider: str
    threads: int
    batch: int


def configurations(
    models: Sequence[str], providers: Sequence[str], threads: Sequence[int], batches: Sequence[int]
) -> list[Configuration]:
    """Return every combination once, in the order given; ``all`` providers are those that are installed."""
    asked = [name for asked in providers for name in (installed() if asked == ALL_PROVIDERS else [short_name(asked)])]
    return [
        Configuration(model=model, provider=provider, threads=count, batch=batch)
        for model, provider in product(dict.fromkeys(models), dict.fromkeys(asked))
        for count, batch in product(dict.fromkeys(threads), dict.fromkeys(batches))
    ]


def installed() -> list[str]:
    """Return the short names of the execution providers of this machine that onnxruntime has, best first."""
    return [name for name in installed_providers() if name != _ELSEWHERE]
