"""Which labels are likely wrong: confident learning, on answers of what has not learned from these labels.

Northcutt, Jiang and Chuang 2021, as the library cleanlab has it. Shapes: ``N`` pictures, ``D`` features, ``K`` labels.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from finetune.data.targets import Targets, text_of
from finetune.evaluation.threads import on_one_thread
from finetune.types import Example, LabelError, LabelErrors, Task

FEWEST_PICTURES = 20
"""Among fewer pictures, what a label's pictures have in common is chance, and nothing is looked for."""
MOST_FITTED = 4e8
"""Pictures × features × classes up to which a logistic regression is fitted for this: some seconds' worth."""
MOST_LISTED = 100
FOLDS = 5
"""Each picture is answered for by what was fitted to the other four fifths."""
LOGREG_C = 1e-2
"""Strict enough that a wrong label is not learned by heart; of what was tried, it found most with fewest besides."""
_MOST_STEPS = 100

BY_FEATURES = (
    "A logistic regression on what the pretrained network makes of them answered for all training and validation "
    "pictures, each time fitted to the other four fifths."
)
BY_ANSWERS = "The trained network answered for the validation pictures, which it has not learned from."
OF_SEVERAL = " The probabilities are those of the label that is most in doubt."


class Doubt(NamedTuple):
    """A picture by its index, what it likely shows as a row of targets, and how likely both are."""

    picture: int
    likely: NDArray[np.int64]
    given_probability: float
    likely_probability: float


def held_out_probabilities(
    features: NDArray[np.float32], targets: NDArray[np.int64], classes: int, seed: int
) -> NDArray[np.float64]:
    """Return the probability of each class for each picture, by classifiers fitted without it: (N, D) to (N, K).

    A picture without a second one of its class is taken at its word: nobody else could have learned the class.
    Raises ``ValueError`` for features that are not finite.
    """
    found = np.eye(classes)[targets]
    several = np.bincount(targets, minlength=classes) > 1
    shared = several[targets]
    if several.sum() > 1:
        found[np.ix_(shared, several)] = _cross_validated(features[shared], targets[shared], seed)
    return found


@on_one_thread()
def _cross_validated(features: NDArray[np.float32], targets: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Return probabilities, a column for each class that there is.

    A class of fewer pictures than folds is in as many of them as it has pictures, so that each is learned from others.
    """
    folds = min(FOLDS, int(np.bincount(targets).max()))
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=LOGREG_C, max_iter=_MOST_STEPS))
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is regularisation, too
        warnings.filterwarnings("ignore", message="The least populated class")
        return np.asarray(cross_val_predict(classifier, features, targets, cv=parts, method="predict_proba"))


def find_errors(
    task: Task,
    labels: Sequence[str],
    pictures: Sequence[tuple[str, Example]],
    probabilities: NDArray[np.float64] | NDArray[np.float32],
    targets: Targets,
    method: str,
) -> LabelErrors | None:
    """Return the pictures, each with its part, whose labels are likely wrong: the ``MOST_LISTED`` likeliest first.

    ``probabilities`` (N, K) are of something that has not learned from these pictures; ``method`` says of what.
    Returns None where there is nothing to go by: for values, for fewer than ``FEWEST_PICTURES``, and where all
    pictures show the same.
    """
    if task == "regression" or len(pictures) < FEWEST_PICTURES or (targets == targets[0]).all():
        return None
    # Adding up to 1 in float32 is not enough for the library.
    doubts = (_doubts if task == "single-label" else _doubts_of_several)(probabilities.astype(np.float64), targets)
    return LabelErrors(
        pictures=len(pictures),
        doubted=len(doubts),
        method=method + (OF_SEVERAL if task == "multi-label" else ""),
        found=tuple(_error(task, labels, *pictures[doubt.picture], doubt) for doubt in doubts[:MOST_LISTED]),
    )


def _error(task: Task, labels: Sequence[str], part: str, example: Example, doubt: Doubt) -> LabelError:
    likely = tuple(labels[index] for index in doubt.likely)
    shown = replace(example, label=likely[0]) if task == "single-label" else replace(example, labels=likely)
    return LabelError(
        path=str(example.path),
        part=part,
        given=text_of(example, task),
        likely=text_of(shown, task),
        given_probability=round(doubt.given_probability, 6),
        likely_probability=round(doubt.likely_probability, 6),
    )


def _doubts(probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> list[Doubt]:
    from cleanlab.filter import find_label_issues  # takes a second, and most processes never come here

    with _few_pictures_allowed():
        ranked = find_label_issues(targets, probabilities, return_indices_ranked_by="normalized_margin", n_jobs=1)
    likely = probabilities.argmax(axis=1)
    return [
        Doubt(int(at), likely[[at]], float(probabilities[at, targets[at]]), float(probabilities[at].max()))
        for at in ranked
    ]


def _doubts_of_several(probabilities: NDArray[np.float64], targets: NDArray[np.float32]) -> list[Doubt]:
    """Return doubts of pictures with several labels, each looked at by itself; of the most doubtful comes the rank."""
    from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class

    shown, wrong = targets > 0, np.zeros(targets.shape, dtype=bool)
    varied = shown.any(axis=0) & ~shown.all(axis=0)  # of what all pictures show, or none, nothing was learned
    given = [np.flatnonzero(row).tolist() for row in shown[:, varied]]
    with _few_pictures_allowed():
        wrong[:, varied] = find_multilabel_issues_per_class(given, probabilities[:, varied], n_jobs=1)
    least = np.where(wrong, np.where(shown, probabilities, 1 - probabilities), np.inf).min(axis=1)
    return [
        Doubt(int(at), np.flatnonzero(shown[at] ^ wrong[at]), float(least[at]), float(1 - least[at]))
        for at in np.argsort(least, kind="stable")[: wrong.any(axis=1).sum()]
    ]


@contextmanager
def _few_pictures_allowed() -> Iterator[None]:
    """Silence cleanlab about labels with a single picture: it leaves them as they are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="May not flag all label issues")
        yield
