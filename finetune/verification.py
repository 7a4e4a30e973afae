"""Proof that an artifact answers like the trained network, from picture file to label."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finetune.data.targets import Targets
from finetune.evaluation.catalogue import HEADLINE
from finetune.evaluation.metrics import score
from finetune.types import Artifact, ExportTarget, Verification
from finetune_export.contract import Contract
from finetune_export.verify import compare

_ROUNDING = 1e-9  # so that a drop of exactly what is allowed is allowed


def verify(
    artifact: Artifact,
    target: ExportTarget,
    pictures: Sequence[Path],
    targets: Targets,
    reference: NDArray[np.float32],
    contract: Contract,
    max_drop: float,
) -> Verification:
    """Ask the artifact about every picture file and hold its answers against the trained network's.

    ``reference`` is float32 (N, K), the network's answers to the same pictures in the same order, ``targets`` what
    they show. The target says what decides: the answers themselves, or the headline metric of the task, of which
    ``max_drop`` (0..1) may be lost.
    """
    started = time.perf_counter()
    answers = artifact.answers(pictures)
    seconds = time.perf_counter() - started
    found = compare(reference, answers, contract)
    metric = HEADLINE[contract.task]
    by_answers = target.judged_by == "answers"
    verification = Verification(
        target=target.name,
        file=artifact.path.name,
        compared=found.compared,
        agreement=found.agreement,
        min_agreement=target.min_agreement if by_answers else None,
        max_difference=found.max_difference,
        max_difference_allowed=target.max_difference if by_answers else None,
        worst=str(pictures[found.worst]),
        metric=metric,
        value=score(metric, contract.task, reference, targets),
        exported_value=score(metric, contract.task, answers, targets),
        max_drop_allowed=None if by_answers else max_drop,
        seconds=round(seconds, 3),
    )
    return replace(verification, problems=tuple(_problems(verification)))


def _problems(found: Verification) -> Iterator[str]:
    if not np.isfinite(found.max_difference):
        yield f"an answer is not a finite number ({found.worst})"
    if found.min_agreement is not None and not found.agreement >= found.min_agreement:
        asked = f"at least {found.min_agreement:.2%} is asked for"
        yield f"the same answer on {found.agreement:.2%} of the pictures, {asked}"
    if found.max_difference_allowed is not None and not found.max_difference <= found.max_difference_allowed:
        allowed = f"at most {found.max_difference_allowed:.3g} is allowed"
        yield f"an answer differs by {found.max_difference:.3g}, {allowed} ({found.worst})"
    if found.metric == "accuracy" and found.min_agreement == 1.0 and found.exported_value != found.value:
        yield f"the exported accuracy is {found.exported_value:.4f}, the trained one {found.value:.4f}"
    if found.max_drop_allowed is not None and found.value - found.exported_value > found.max_drop_allowed + _ROUNDING:
        lost = f"{found.metric} falls from {found.value:.4f} to {found.exported_value:.4f}"
        yield f"{lost}, a drop of {found.max_drop_allowed:g} is allowed (--max-drop)"
