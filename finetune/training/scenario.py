"""Which strategy suits a data set: its size, and its likeness to what the backbone was trained on, both measured.

The four scenarios of transfer learning, as Stanford's course CS231n and many articles after it teach them, with a
measurement where they ask for a guess. Shapes: ``N`` pictures, ``D`` features of a stage, ``K`` classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from finetune.evaluation.transferability import CrossValidated, Targets, cross_validated_accuracy, log_me

Size = Literal["small", "large"]
Likeness = Literal["alike", "unlike"]
Recommended = Literal["probe", "svm", "logreg", "finetune", "partial", "gradual", "scratch"]

ALIKE_FROM = 2.0
"""Data are like the pretraining data if the last stage at least doubles the earlier stages' odds of being right.

What a network learns last is made of its pretraining classes: on pictures like those it separates new classes far
better than any stage before, on others it has thrown away what the middle stages still see. Odds p / (1 - p) of a
cross-validated logistic regression; measured on up to 1,000 pictures, ImageNet weights, 224 px, as mobilenet_v2 /
squeezenet1_1:

- alike: dog breeds 28 / 9.4, ants and bees 5.8 / 2.6, cats and dogs 6.0 / 5.0, drawn dogs 5.7 / 7.1
- unlike: CIFAR-10 1.3 / 1.8, stripes 1.0 / 0.6, noise 1.0 / 1.0, cats and dogs as jumbled negatives 0.8 / 0.9,
  blobs 0.6 / 0.5, spectrograms 0.4 / 0.1, letters 0.4 / 0.1

Over eight seeds the nearest two, ants and bees and CIFAR-10 by squeezenet1_1, kept to 2.2 or more and to less than 2.0.
The distance of mobilenet_v2's batch-norm statistics separates the two lists, too, but not every backbone has any.
"""

LARGE_FROM_PER_CLASS = 100
LARGE_FROM = 1_000
"""Many pictures: as many per class (the median of the classes) *and* in all.

1,000 in all is what the benchmark VTAB calls few (Zhai et al. 2019); 100 per class is our judgement.
"""

HUGE_FROM_PER_CLASS = 1_000
HUGE_FROM = 100_000
"""So many that random weights catch up (He et al. 2019, "Rethinking ImageNet Pre-training"); the figures are ours."""

ENOUGH = 1_000
"""Pictures to measure on: as many as the figures of ``ALIKE_FROM`` come from, and one short pass of the backbone."""

SURE_FROM = 100
"""Pictures from which likeness can be told: with 20 to 60 of ants and bees the ratio was anything from 0.5 to 20."""

SCENARIOS: dict[tuple[Size, Likeness], str] = {
    ("small", "alike"): "few pictures, like what the backbone knows",
    ("small", "unlike"): "few pictures, unlike what the backbone knows",
    ("large", "alike"): "many pictures, like what the backbone knows",
    ("large", "unlike"): "many pictures, unlike what the backbone knows",
}

_BECAUSE: dict[Recommended, str] = {
    "probe": "Train only the classifier: the features fit as they are, and more could only overfit so few pictures.",
    "svm": "Fit a linear SVM to the output of {layer}: later stages have specialised in other things.",
    "partial": "Train the classifier and the last stages, slowly: no stage fits as it is, and all would overfit.",
    "finetune": "Fine-tune everything with a small rate: there are pictures enough to improve what already fits.",
    "gradual": "Unfreeze stage by stage from the top: what later stages see has to change, and there is data for that.",
    "scratch": "Train all layers from random weights: so many pictures need no help from unlike ones.",
}


@dataclass(frozen=True, kw_only=True)
class StageScore:
    """How well a stage's features suit the task; ``accuracy`` is None where too few pictures could be held out."""

    stage: str
    log_me: float
    accuracy: CrossValidated | None


@dataclass(frozen=True, kw_only=True)
class Advice:
    """A strategy and what it rests on.

    ``odds_ratio`` is how many times the last stage's odds of being right exceed the best earlier stage's; likeness is
    ``alike`` from ``ALIKE_FROM`` on. It is None where nothing could be compared; then data count as alike. ``layer``
    is the stage whose output to classify, None for the last. ``reasons`` are sentences for the user, ``scores`` in
    the order of the stages.
    """

    size: Size
    likeness: Likeness
    odds_ratio: float | None
    scenario: str
    strategy: Recommended
    layer: str | None
    reasons: tuple[str, ...]
    scores: tuple[StageScore, ...]


def pictures_to_measure(targets: Targets, seed: int, most: int = ENOUGH) -> NDArray[np.int64]:
    """Return the sorted indices of at most so many pictures, as even over the classes as they allow."""
    shuffled = np.random.default_rng(seed).permutation(len(targets))
    turn = np.empty(len(targets), dtype=np.int64)
    for label in np.unique(targets):
        members = shuffled[targets[shuffled] == label]
        turn[members] = np.arange(len(members))
    chosen = shuffled[np.argsort(turn[shuffled], kind="stable")][:most]
    return np.sort(chosen).astype(np.int64)


def advise(
    stages: Mapping[str, NDArray[np.float32]], targets: Targets, class_counts: Sequence[int], seed: int
) -> Advice:
    """Return which strategy suits the data, and why.

    ``stages`` maps each stage's name, from the stem on, to its pooled features float32 (N, D) with the backbone
    frozen, the last being what the head sees; ``targets`` are int64 (N,). These may be a sample; ``class_counts``
    are the training pictures of every class. Raises ``ValueError`` without stages and as ``log_me``.
    """
    if not stages:
        raise ValueError("advice needs the features of at least one stage")
    scores = tuple(_scores(stages, targets, seed))
    size, ratio = _size(class_counts), _odds_ratio(scores, len(targets))
    likeness: Likeness = "alike" if ratio is None or ratio >= ALIKE_FROM else "unlike"
    strategy, layer = _strategy(size, likeness, scores, class_counts)
    reasons = [
        _size_reason(size, class_counts),
        *_likeness_reasons(ratio, scores, targets),
        _BECAUSE[strategy].format(layer=layer),
    ]
    return Advice(
        size=size,
        likeness=likeness,
        odds_ratio=ratio,
        scenario=SCENARIOS[size, likeness],
        strategy=strategy,
        layer=layer,
        reasons=tuple(reasons),
        scores=scores,
    )


# ── measuring ───────────────────────────────────────────────────────────────────────────────────────


def _scores(stages: Mapping[str, NDArray[np.float32]], targets: Targets, seed: int) -> list[StageScore]:
    """Score every stage; what cannot be held out, the only picture of a class, is left out of the accuracy."""
    testable = np.bincount(targets)[targets] > 1
    compared = len(np.unique(targets[testable])) > 1
    return [
        StageScore(
            stage=stage,
            log_me=log_me(features, targets),
            accuracy=cross_validated_accuracy(features[testable], targets[testable], seed) if compared else None,
        )
        for stage, features in stages.items()
    ]


def _odds_ratio(scores: Sequence[StageScore], pictures: int) -> float | None:
    rival = _rival(scores)
    last = scores[-1].accuracy
    if rival is None or rival.accuracy is None or last is None:
        return None
    return _odds(last.accuracy, pictures) / _odds(rival.accuracy.accuracy, pictures)


def _rival(scores: Sequence[StageScore]) -> StageScore | None:
    """Return the best of the lower three quarters; of a network cut finely, the last stages are nearly the same."""
    lower = [score for index, score in enumerate(scores[:-1]) if 4 * index <= 3 * (len(scores) - 1)]
    return max(lower, key=_merit, default=None)


def _merit(score: StageScore) -> tuple[float, float]:
    return (score.accuracy.accuracy if score.accuracy else 0.0, score.log_me)


def _odds(accuracy: float, pictures: int) -> float:
    # Half a picture more on either side, so that odds are finite where all are right (Haldane 1956).
    return (accuracy * pictures + 0.5) / ((1 - accuracy) * pictures + 0.5)


def _size(class_counts: Sequence[int]) -> Size:
    many = float(np.median(class_counts)) >= LARGE_FROM_PER_CLASS and sum(class_counts) >= LARGE_FROM
    return "large" if many else "small"


# ── concluding ──────────────────────────────────────────────────────────────────────────────────────


def _strategy(
    size: Size, likeness: Likeness, scores: Sequence[StageScore], class_counts: Sequence[int]
) -> tuple[Recommended, str | None]:
    """Return the strategy, and the stage to classify where that is not the last."""
    if likeness == "alike":
        return ("probe" if size == "small" else "finetune"), None
    if size == "large":
        huge = float(np.median(class_counts)) >= HUGE_FROM_PER_CLASS and sum(class_counts) >= HUGE_FROM
        return ("scratch" if huge else "gradual"), None
    best = max(scores, key=_merit)
    return ("partial", None) if best is scores[-1] else ("svm", best.stage)


def _size_reason(size: Size, class_counts: Sequence[int]) -> str:
    word = "many" if size == "large" else "few"
    return (
        f"{sum(class_counts):,} pictures, {np.median(class_counts):,.0f} in the typical class, are {word}; "
        f"many begin at {LARGE_FROM:,} in all and {LARGE_FROM_PER_CLASS} per class."
    )


def _likeness_reasons(ratio: float | None, scores: Sequence[StageScore], targets: Targets) -> list[str]:
    rival, last = _rival(scores), scores[-1].accuracy
    if ratio is None or rival is None or rival.accuracy is None or last is None:
        return ["Likeness could not be measured, for want of pictures or stages to compare: taken as alike."]
    word = "like" if ratio >= ALIKE_FROM else "unlike"
    reasons = [
        f"The last stage is right in {last.accuracy:.3f}, {rival.stage} in {rival.accuracy.accuracy:.3f} of held-out "
        f"pictures: {ratio:.2g} times the odds, where from {ALIKE_FROM:.2g} on pictures are like what the backbone "
        f"knows; these are {word} it."
    ]
    if len(targets) < SURE_FROM:
        reasons.append(f"From {len(targets)} pictures that is a rough guess; it takes {SURE_FROM} to tell.")
    guessing = float(np.bincount(targets).max()) / len(targets)
    if all(score.accuracy.accuracy <= guessing for score in scores if score.accuracy):
        reasons.append("No stage tells the classes apart better than always naming the largest: check the labels.")
    return reasons
