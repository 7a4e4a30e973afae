"""How far off answers are where classes have an order; a class's rank is its place among the labels.

An answer is the most probable class. All raise ``DataError`` for labels that are sorted as text and have numbers in
them that are then out of order, such as '10' before '2': their places are no ranks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from finetune.errors import DataError
from finetune.types import Answered

_NUMBER = re.compile(r"((?:^-)?\d+)")


def quadratic_kappa(about: Answered) -> float:
    """Return Cohen's kappa with quadratic weights (Cohen 1968): 1 for right answers, about 0 for those of chance.

    At least -1. NaN where all pictures show one class and are given it: chance would be right, too.
    """
    answers, ranks = _answers(about), np.asarray(about.targets)
    if (answers == ranks).all() and len(np.unique(ranks)) == 1:
        return float("nan")
    return float(cohen_kappa_score(ranks, answers, labels=np.arange(len(about.labels)), weights="quadratic"))


def rank_error(about: Answered) -> float:
    """Return the mean absolute difference between an answer's rank and the right one: 0 to K - 1 of K labels."""
    return float(_ranks_off(about).mean())


def within_one(about: Answered) -> float:
    """Return the share (0..1) of answers that are at most one rank off."""
    return float((_ranks_off(about) <= 1).mean())


def _ranks_off(about: Answered) -> NDArray[np.int64]:
    off: NDArray[np.int64] = np.abs(_answers(about) - about.targets).astype(np.int64)
    return off


def _answers(about: Answered) -> NDArray[np.int64]:
    refuse_disorder(about.labels)
    return np.asarray(about.answers.argmax(axis=1), dtype=np.int64)


def refuse_disorder(labels: Sequence[str]) -> None:
    """Raise ``DataError`` for labels that are in the order of text, where their numbers would be in another."""
    if list(labels) != sorted(labels):
        return  # somebody chose their order
    for before, after in pairwise(labels):
        if _natural(before) > _natural(after):
            raise DataError(
                f"The order of the labels is their rank, and '{before}' comes before '{after}': sorted as text. "
                "Write all their numbers with the same number of digits, such as 02 and 10."
            )


def _natural(label: str) -> list[str | int]:
    """Return a label so that it compares as people count: texts and numbers in turn, a text first."""
    return [int(part) if place % 2 else part for place, part in enumerate(_NUMBER.split(label))]
