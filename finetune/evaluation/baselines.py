"""The answer that looks at no picture: what every model has to beat.

Shapes: ``N`` pictures, ``K`` labels. Targets are those of ``finetune.data.targets``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from finetune.evaluation.catalogue import HEADLINE
from finetune.evaluation.decisions import Answers, Targets
from finetune.evaluation.metrics import score
from finetune.types import Task


class Baseline(NamedTuple):
    """The same ``answers`` for every picture, float32 (N, K) for reading only, and their headline ``metric``.

    ``value`` is NaN where these targets leave the metric undefined.
    """

    answers: Answers
    metric: str
    value: float


def constant_answer(task: Task, train_targets: Targets, labels: int) -> Answers:
    """Return the one answer that the training pictures alone suggest, float32 (K,).

    Of single labels, the share of pictures of each, the most frequent of which it says ("majority class"); of several
    labels, the share of the pictures that show each; of values, the mean of each. Raises ``ValueError`` for no
    pictures.
    """
    if not len(train_targets):
        raise ValueError("without training pictures there is no frequency to answer with")
    if task == "single-label":
        frequencies = np.bincount(train_targets, minlength=labels) / len(train_targets)
    else:
        frequencies = np.asarray(train_targets).mean(axis=0, dtype=np.float64)
    return np.asarray(frequencies, dtype=np.float32)


def baseline(task: Task, answer: Answers, targets: Targets) -> Baseline:
    """Return one answer, float32 (K,), to all pictures that ``targets`` (N) are of, and what it is worth.

    Raises ``ValueError`` for no pictures.
    """
    answers = np.broadcast_to(answer, (len(targets), len(answer)))
    metric = HEADLINE[task]
    return Baseline(answers, metric, score(metric, task, answers, targets))
